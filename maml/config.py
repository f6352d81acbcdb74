"""Every setting, declared once: its default, meaning, unit and range. YAML files and command lines
are read against it.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maml.system.errors import UserError

ALGORITHMS = ["maml", "reptile", "protonet", "matching", "siamese"]
ANY_WAY = {
    "protonet",
    "matching",
    "siamese",
}  # algorithms whose learners, once trained, serve any number of classes and shots
MODES = ["transductive", "inductive"]  # of batch normalisation in validation and test
# algorithms whose papers test them with running averages of batch normalisation's statistics
INDUCTIVE = ANY_WAY


def option(
    default: Any,
    group: str,
    help: str,
    low: float = -math.inf,
    high: float = math.inf,
    choices: Sequence[str] | None = None,
) -> Any:
    """A documented dataclass field; `low` and `high` are both allowed."""
    return field(
        default=default,
        metadata={"group": group, "help": help, "low": low, "high": high, "choices": choices},
    )


@dataclass(frozen=True)
class Config:
    """The settings of one training run. The names are those of the command line and of the YAML
    files.
    """

    algorithm: str = option("maml", "method", "what to train", choices=ALGORITHMS)
    first_order: bool = option(
        False, "method", "drop the second derivatives from the meta-gradient (FOMAML)"
    )
    network: str = option(
        "auto",
        "method",
        "embedding: four convolutions, strided or max-pooled; MAML's dense 256-128-64-64; a 64-64"
        " perceptron; the Siamese network as published, for 105 x 105 pixels; auto: the algorithm's"
        " usual one",
        choices=["auto", "strided", "pooled", "dense", "perceptron", "koch"],
    )
    filters: int = option(
        64,
        "method",
        "of each convolution of strided and pooled; 64 in the papers",
        low=1,
        high=4096,
    )
    distance: str = option(
        "auto",
        "method",
        "of queries from prototypes (protonet) or support images (matching); euclidean is squared; "
        "auto: euclidean for protonet, cosine for matching",
        choices=["auto", "euclidean", "cosine", "dot"],
    )
    context_steps: int = option(
        0,
        "method",
        "full context embeddings of matching with so many steps of attention; 0: none",
        low=0,
        high=1000,
    )
    objective: str = option("pairs", "method", "of siamese", choices=["pairs", "triplets"])
    negatives: str = option(
        "semi-hard", "method", "of siamese's triplets", choices=["random", "semi-hard"]
    )
    dense_deviation: float = option(
        0.2,
        "method",
        "standard deviation of the initial values of koch's dense weights; the default is the "
        "paper's, which saturates nearly all of its units",
        low=0,
    )
    every_support: bool = option(
        False,
        "method",
        "in protonet's training, let each drawing of an episode be support in its turn",
    )
    refine: int = option(
        0,
        "method",
        "how often the queries of validation and test refine protonet's prototypes, which is"
        " transductive",
        low=0,
        high=1000,
    )
    margin: float = option(
        0.5, "method", "of siamese's triplets, between squared distances of 0 to 4", low=0
    )

    bn: str = option(
        "auto",
        "method",
        "statistics of batch normalisation at validation and test: transductive, the query batch's"
        " own; inductive, without other queries; auto: as the algorithm's paper",
        choices=["auto", *MODES],
    )

    n_way: int = option(5, "tasks", "classes in a task", low=2, high=10_000)
    k_spt: int = option(1, "tasks", "support images a class (shots)", low=1, high=19)
    k_query: int = option(15, "tasks", "query images a class", low=1, high=19)
    train_way: int = option(-1, "tasks", "n_way in training; -1: the same", low=-1, high=10_000)
    train_shot: int = option(-1, "tasks", "k_spt in training; -1: the same", low=-1, high=20)
    train_query: int = option(
        -1, "tasks", "k_query in training; -1: the same; 0 will do for reptile", low=-1, high=19
    )
    task_num: int = option(32, "tasks", "tasks in a meta-batch", low=1, high=10_000)
    rotations: bool = option(
        True,
        "tasks",
        "turn training characters by 90, 180 and 270 degrees into classes of their own",
    )
    within_alphabets: bool = option(
        False,
        "tasks",
        "give a training task all classes of one random alphabet after the "
        "other until it has enough",
    )
    distortions: int = option(
        0,
        "tasks",
        "training images: slightly distorted copies of each, drawn in its place; 0: none",
        low=0,
        high=50,
    )

    distortions_test: int = option(
        0,
        "tasks",
        "in validation and test, so many slightly distorted copies: metric methods' embeddings are "
        "means over an image and them; maml and reptile adapt to those of the support, too",
        low=0,
        high=50,
    )

    glob_update_step: int = option(
        5, "inner loop", "gradient steps on the support, in training", low=1, high=1000
    )
    glob_update_step_test: int = option(
        5, "inner loop", "gradient steps on the support, in validation and test", low=0, high=1000
    )
    glob_base_lr: float = option(0.1, "inner loop", "inner learning rate, alpha", low=0)
    learned_rates: bool = option(
        False,
        "inner loop",
        "let maml learn alpha, one for each update and each weight tensor, from glob_base_lr",
    )
    inner_optimizer: str = option(
        "sgd", "inner loop", "of Reptile; adam is without first moments", choices=["sgd", "adam"]
    )
    inner_batch: int = option(
        10,
        "inner loop",
        "support images in a gradient step of Reptile, in training",
        low=1,
        high=10_000,
    )
    inner_batch_test: int = option(
        5,
        "inner loop",
        "the same in validation and test; 0: all of the support",
        low=0,
        high=10_000,
    )
    clip: float = option(
        0.0,
        "inner loop",
        "largest norm of a task's contribution to the meta-gradient; 0 is off",
        low=0,
    )

    outer_optimizer: str = option(
        "sgd",
        "outer loop",
        "of Reptile, along phi - W; the other algorithms have Adam",
        choices=["sgd", "adam"],
    )
    glob_meta_lr: float = option(
        0.001, "outer loop", "outer learning rate: beta of Adam, epsilon of Reptile", low=0
    )
    schedule: str = option(
        "constant",
        "outer loop",
        "of the outer learning rate: constant; cosine or linear to 0; halving",
        choices=["constant", "cosine", "linear", "halving"],
    )
    halve_every: int = option(
        2000, "outer loop", "epochs between two halvings of that schedule", low=1
    )
    patience: int = option(
        0, "outer loop", "stop after so many validations without a new best; 0: never", low=0
    )
    train_on_val: bool = option(
        False, "outer loop", "train on the validation characters too, and keep the last weights"
    )
    epochs: int = option(10000, "outer loop", "meta-batches to train on", low=1)

    start: str = option(
        "",
        "outer loop",
        "checkpoint whose weights to start from; what it lacks, such as a classifier of enough "
        "classes, stays initial",
    )

    seed: int = option(0, "run", "of initial weights and tasks", low=0, high=2**32 - 1)
    print_every: int = option(100, "run", "epochs between two lines of training accuracies", low=1)
    val_every: int = option(1000, "run", "epochs between two validations", low=1)
    val_tasks: int = option(992, "run", "tasks in a validation", low=1)
    save_every: int = option(500, "run", "epochs between two saves of what --resume needs", low=1)
    name: str = option(
        "",
        "run",
        "of the run, in log/ and checkpoints/; by default the configuration file's, or like"
        " maml_5w1s",
    )
    data: str = option(".", "run", "folder with the arrays that make_data.py wrote")
    logdir: str = option("log", "run", "folder for VisualDL's logs and the state for --resume")
    checkpoints: str = option("checkpoints", "run", "folder for the best weights")
    use_gpu: bool = option(False, "run", "train on a GPU")
    workers: int = option(
        0,
        "run",
        "processes that share each meta-batch; 0: as many as there are GPUs, else cores",
        low=0,
        high=1024,
    )

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            object.__setattr__(self, f.name, _checked(f, getattr(self, f.name)))
        if (
            self.train_task[0] < 2
            or self.train_task[1] < 1
            or (self.train_task[2] < 1 and self.algorithm != "reptile")
        ):
            raise UserError(
                "train_way must be at least 2, train_shot 1 and train_query 1 (0 for reptile), or"
                " -1 for the same as in tests"
            )
        if (
            "/" in self.name
            or "\0" in self.name
            or self.name in (".", "..")
            or len(self.name.encode("utf-8", "replace")) > 200
        ):
            raise UserError(
                "name must do for a file, without slashes and with up to 200 bytes, not"
                f" {self.name!r}"
            )
        if self.algorithm == "siamese" and self.train_task[1:] != (1, 1):
            raise UserError(
                "siamese is trained on pairs and triplets: train_shot and train_query must be 1"
            )
        if self.learned_rates and (self.algorithm != "maml" or self.first_order):
            raise UserError(
                "learned_rates is for maml with its second derivatives: drop it, or first_order"
            )
        if self.algorithm not in ANY_WAY and self.network == "koch":
            raise UserError(
                f"network koch is for siamese; {self.algorithm} takes strided, pooled, dense or"
                " perceptron"
            )
        if self.filters != Config.filters and self.network not in ("auto", "strided", "pooled"):
            raise UserError(f"filters is for networks strided and pooled, not for {self.network}")
        if self.refine and self.algorithm != "protonet":
            raise UserError(f"refine is for protonet, not for {self.algorithm}")
        if self.algorithm in ANY_WAY and self.network in ("dense", "perceptron"):
            raise UserError(
                f"network {self.network} is for maml and reptile; {self.algorithm} takes strided or"
                " pooled"
            )
        for where, (_, shot, query) in (
            ("k_spt + k_query", self.test_task),
            ("train_shot + train_query", self.train_task),
        ):
            if shot + query > 20:
                raise UserError(
                    f"{where} is {shot + query}, but each character has 20 drawings; lower one of"
                    " them"
                )

    @property
    def bn_mode(self) -> str:
        """transductive or inductive"""
        return (
            self.bn
            if self.bn != "auto"
            else "inductive"
            if self.algorithm in INDUCTIVE
            else "transductive"
        )

    @property
    def test_task(self) -> tuple[int, int, int]:
        """Way, shot and query in validation and test."""
        return self.n_way, self.k_spt, self.k_query

    @property
    def train_task(self) -> tuple[int, int, int]:
        """Way, shot and query in training."""
        asked = zip((self.train_way, self.train_shot, self.train_query), self.test_task)
        way, shot, query = (usual if own == -1 else own for own, usual in asked)
        return way, shot, query


_NUMBER = re.compile(r"[-+]?[0-9]+([.][0-9]*)?[eE][-+]?[0-9]+")


def _checked(f: dataclasses.Field, value: Any) -> Any:
    """`value` as the field's type, or a `UserError` that names the setting."""
    kind = type(f.default)
    if kind is float and (
        type(value) is int or isinstance(value, str) and _NUMBER.fullmatch(value)
    ):
        value = float(value)  # YAML reads 1e-3 as text
    if type(value) is not kind:
        raise UserError(f"{f.name} must be of type {kind.__name__}, not {value!r}")
    if kind is float and not math.isfinite(value):
        raise UserError(f"{f.name} must be a finite number, not {value}")
    low, high, choices = f.metadata["low"], f.metadata["high"], f.metadata["choices"]
    if kind in (int, float) and not low <= value <= high:
        bounds = f"at least {low:g}" if value < low else f"at most {high:g}"
        raise UserError(f"{f.name} must be {bounds}, not {value}")
    if choices and value not in choices:
        raise UserError(f"{f.name} must be one of {', '.join(choices)}, not {value!r}")
    return value


def make(values: dict[str, Any], source: str) -> Config:
    """A `Config` from `values`; a `UserError` names `source` and what is wrong, by itself or beside
    the others.
    """
    check(values, source)
    try:
        return Config(**values)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None


def check(values: dict[str, Any], source: str) -> None:
    """Raise a `UserError` that names `source` and the key where one is unknown or ill-typed."""
    known = {f.name: f for f in dataclasses.fields(Config)}
    for key, value in values.items():
        if key not in known:
            raise UserError(f"{source}: unknown setting {key!r}; train.py --help lists them all")
        try:
            _checked(known[key], value)
        except UserError as error:
            raise UserError(f"{source}: {error}") from None


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The settings that a YAML file states, each checked by itself, for flags may change those
    beside it.
    """
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not YAML ({str(error).splitlines()[0]})") from None
    values = {} if values is None else values
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise UserError(f"{path}: must be lines of 'setting: value'")
    check(values, str(path))
    return values
