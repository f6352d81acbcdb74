"""Every setting of a training run, declared once: default, meaning, range and who it is for."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maml.system.errors import UserError

METHODS = ("maml", "reptile", "protonet", "matching", "siamese")
METRIC = ("protonet", "matching", "siamese")
"""methods that compare embeddings: once trained, they serve any number of classes and shots"""
GRADIENT = ("maml", "reptile")
"""methods that adapt the network's weights to a task by gradient steps"""
MODES = ("transductive", "inductive")
"""of batch normalisation in validation and test"""
DATA_FOLDER, OWN_WEIGHTS = ".", "checkpoints/own"


def option(
    default: Any,
    group: str,
    help: str,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    choices: Sequence[str] | None = None,
    only_for: Sequence[str] = METHODS,
    only_with: Mapping[str, Sequence[str]] | None = None,
    alias: str | None = None,
) -> Any:
    """Declare a setting.

    Args:
        default: its value where nothing is stated; the type is the setting's.
        group (str): the heading of `--help` that it belongs to.
        help (str): what it means.
        low, high (float): the allowed range, both ends included.
        choices (Sequence[str] | None): the allowed values of a text.
        only_for (Sequence[str]): the methods that use it; the others refuse it.
        only_with (Mapping[str, Sequence[str]] | None): another setting, with the values of it that
            go together with this one; the others refuse it.
        alias (str | None): another name, of flags, YAML keys and old checkpoints.
    """
    metadata = dict(group=group, help=help, low=low, high=high, choices=choices)
    metadata |= dict(only_for=only_for, only_with=only_with or {}, alias=alias)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Config:
    """The settings of one training run.

    Each field is a flag of `train.py` and a key of configuration files; `train.py --help` explains
    them. A value of the wrong type, out of range, or for another method is refused.

    Raises:
        UserError: if a value is refused. The sentence names the setting.

    Example:
        >>> from maml import Config
        >>> Config(algorithm="reptile", way=20, inner_lr=0.1).bn_mode
        'transductive'
    """

    algorithm: str = option("maml", "method", "the method to train", choices=METHODS)
    first_order: bool = option(
        False,
        "method",
        "leave the second derivatives out of the meta-gradient (FOMAML)",
        only_for=["maml"],
    )
    network: str = option(
        "auto",
        "method",
        "the embedding. strided, pooled: four 3x3 convolutions, with stride 2 or 2x2 max-pooling; "
        "dense: 256-128-64-64 units, as in the MAML paper; perceptron: 64-64 units without batch "
        "normalisation; keras: strided as in Keras's Reptile example, with biases and without "
        "normalisation; koch: the Siamese network as published, meant for images of 105 x 105 "
        "pixels; auto: strided for maml and reptile, pooled for the others; path/to/file.py:build: "
        "what your own function build(way, image_size, channels) returns, any paddle.nn.Layer",
        choices=[
            "auto",
            "strided",
            "pooled",
            "dense",
            "perceptron",
            "keras",
            "koch",
            "FILE.py:FUNCTION",
        ],
    )
    filters: int = option(
        64,
        "method",
        "filters of each convolution of strided and pooled; the papers use 64",
        1,
        4096,
        only_with={"network": ["auto", "strided", "pooled"]},
    )
    distance: str = option(
        "auto",
        "method",
        "similarity of a query to prototypes (protonet) or to support images (matching); "
        "euclidean is the squared distance; auto: euclidean for protonet, cosine for matching",
        choices=["auto", "euclidean", "cosine", "dot"],
        only_for=["protonet", "matching"],
    )
    context_steps: int = option(
        0,
        "method",
        "attention steps of full context embeddings; 0: no full context embeddings",
        0,
        1000,
        only_for=["matching"],
    )
    objective: str = option(
        "pairs",
        "method",
        "what the Siamese network is trained on",
        choices=["pairs", "triplets"],
        only_for=["siamese"],
    )
    negatives: str = option(
        "semi-hard",
        "method",
        "how the negative of a triplet is chosen",
        choices=["random", "semi-hard"],
        only_for=["siamese"],
        only_with={"objective": ["triplets"]},
    )
    margin: float = option(
        0.5,
        "method",
        "margin of the triplet loss, between squared distances of 0 to 4",
        0,
        only_for=["siamese"],
        only_with={"objective": ["triplets"]},
    )
    dense_deviation: float = option(
        0.2,
        "method",
        "standard deviation of the initial weights of koch's dense layer; the default is the "
        "paper's and saturates nearly all of its units",
        0,
        only_for=["siamese"],
        only_with={"network": ["koch"]},
    )
    every_support: bool = option(
        False,
        "method",
        "in training, let each drawing of an episode be the support in turn",
        only_for=["protonet"],
    )
    refine: int = option(
        0,
        "method",
        "in validation and test, let the queries refine the prototypes in this number of steps of "
        "soft k-means, which is transductive; 0: no refinement",
        0,
        1000,
        only_for=["protonet"],
    )
    bn: str = option(
        "auto",
        "method",
        "statistics of batch normalisation in validation and test. transductive: those of the "
        "query batch; inductive: none of other queries; auto: as in the method's paper",
        choices=["auto", *MODES],
    )

    way: int = option(5, "tasks", "classes in a task", 2, 10_000, alias="n_way")
    shot: int = option(1, "tasks", "support images of each class", 1, 10_000, alias="k_spt")
    query: int = option(15, "tasks", "query images of each class", 1, 10_000, alias="k_query")
    train_way: int = option(-1, "tasks", "way in training; -1: the same as in tests", -1, 10_000)
    train_shot: int = option(-1, "tasks", "shot in training; -1: the same as in tests", -1, 10_000)
    train_query: int = option(
        -1,
        "tasks",
        "query in training; -1: the same as in tests; 0 is enough for reptile",
        -1,
        10_000,
    )
    meta_batch_size: int = option(
        32,
        "tasks",
        "tasks in a meta-batch, that is, in one outer update",
        1,
        10_000,
        alias="task_num",
    )
    rotations: bool = option(
        True,
        "tasks",
        "in training, use characters turned by 90, 180 and 270 degrees as classes of their own; "
        "train.py leaves them out for folders of images, unless they are asked for",
    )
    replacement: bool = option(
        False,
        "tasks",
        "in training, draw classes and drawings with replacement, as Keras's Reptile example does: "
        "two labels of a task can be of one character",
    )
    within_alphabets: bool = option(
        False,
        "tasks",
        "fill a training task with all classes of one random alphabet, then of another, until it "
        "has enough classes",
    )
    distortions: int = option(
        0,
        "tasks",
        "slightly distorted copies of each training image; a copy or the image itself is drawn "
        "at random; 0: no copies",
        0,
        50,
    )
    distortions_test: int = option(
        0,
        "tasks",
        "in validation and test, slightly distorted copies of each image. protonet, matching, "
        "siamese: an embedding is the mean over the image and its copies; maml, reptile: the "
        "copies of the support join the inner loop; 0: no copies",
        0,
        50,
    )

    inner_steps: int = option(
        5,
        "inner loop",
        "gradient steps on the support in training",
        1,
        1000,
        only_for=GRADIENT,
        alias="glob_update_step",
    )
    inner_steps_test: int = option(
        5,
        "inner loop",
        "gradient steps on the support in validation and test",
        0,
        1000,
        only_for=GRADIENT,
        alias="glob_update_step_test",
    )
    inner_lr: float = option(
        0.1,
        "inner loop",
        "learning rate of the inner loop (alpha in the MAML paper)",
        0,
        only_for=GRADIENT,
        alias="glob_base_lr",
    )
    inner_loss: str = option(
        "mean",
        "inner loop",
        "what a gradient step descends: the mean or, as in Keras's Reptile example, the sum of the "
        "losses of its images",
        choices=["mean", "sum"],
        only_for=["reptile"],
    )
    adapt: str = option(
        "",
        "inner loop",
        "patterns of the parameters that the inner loop adapts, with commas between them; "
        "classifier.* alone is ANIL; by default all parameters adapt",
        only_for=["maml"],
    )
    learned_rates: bool = option(
        False,
        "inner loop",
        "learn inner learning rates, one for each step and each weight tensor, from inner_lr on",
        only_for=["maml"],
    )
    per_step_norm: bool = option(
        False,
        "inner loop",
        "batch normalisation's scale and shift apart for each inner step; the outer loop alone "
        "learns them, and they do not adapt (MAML++)",
        only_for=["maml"],
        only_with={"network": ["auto", "strided", "pooled", "dense"]},
    )
    inner_optimizer: str = option(
        "sgd",
        "inner loop",
        "optimizer of the inner loop; adam has no first moment",
        choices=["sgd", "adam"],
        only_for=["reptile"],
    )
    inner_batch: int = option(
        10,
        "inner loop",
        "support images in a gradient step, in training",
        1,
        10_000,
        only_for=["reptile"],
    )
    inner_batch_test: int = option(
        5,
        "inner loop",
        "support images in a gradient step, in validation and test; 0: the whole support",
        0,
        10_000,
        only_for=["reptile"],
    )
    clip: float = option(
        0.0,
        "inner loop",
        "largest norm of a task's contribution to the meta-gradient; 0: no limit",
        0,
        only_for=["maml"],
    )

    temperature: float = option(
        1.0,
        "outer loop",
        "divides the scores of queries, in the outer loss and in tests; 1: the paper's. maml, "
        "below 1: the inner loop, whose scores stay as they are, need not make the support "
        "certain, after which no gradient is left; protonet, matching, above 1: the softmax over "
        "distances is not certain from the beginning, when many queries are wrong",
        0.001,
        1000,
        only_for=["maml", "protonet", "matching"],
    )
    outer_optimizer: str = option(
        "sgd",
        "outer loop",
        "optimizer of the outer loop, along phi - W; the other methods use adam",
        choices=["sgd", "adam"],
        only_for=["reptile"],
    )
    outer_lr: float = option(
        0.001,
        "outer loop",
        "learning rate of the outer loop: Adam's, or Reptile's epsilon",
        0,
        alias="glob_meta_lr",
    )
    multi_step_loss: int = option(
        0,
        "outer loop",
        "meta-iterations in which the query loss after every inner step counts, the early ones "
        "less and less (MAML++); 0: only the loss after the last step ever counts",
        0,
        only_for=["maml"],
    )
    first_order_until: int = option(
        0,
        "outer loop",
        "meta-iterations at the start that leave the second derivatives out of the meta-gradient "
        "(MAML++)",
        0,
        only_for=["maml"],
    )
    schedule: str = option(
        "constant",
        "outer loop",
        "how the outer learning rate falls: not at all, to outer_lr_end along a cosine or a line, "
        "or by half every halve_every meta-iterations",
        choices=["constant", "cosine", "linear", "halving"],
    )
    outer_lr_end: float = option(
        0.0,
        "outer loop",
        "where the outer learning rate of cosine and linear ends",
        0,
        only_with={"schedule": ["cosine", "linear"]},
    )
    halve_every: int = option(
        2000,
        "outer loop",
        "meta-iterations between two halvings of schedule halving",
        1,
        only_with={"schedule": ["halving"]},
    )
    schedule_from: int = option(
        0,
        "outer loop",
        "meta-iteration at which the schedule begins; before, the rate is outer_lr. Where a "
        "finished run goes on (--resume with more meta_iterations), 0 stretches the schedule over "
        "all of them, and the number of those done restarts it",
        0,
        only_with={"schedule": ["cosine", "linear", "halving"]},
    )
    patience: int = option(
        0,
        "outer loop",
        "stop after this number of validations without a new best; 0: never stop early",
        0,
        2000,
    )
    train_on_val: bool = option(
        False,
        "outer loop",
        "train on the validation characters too, and keep the last weights instead of the best",
    )
    meta_iterations: int = option(
        10000, "outer loop", "outer updates, one for each meta-batch", 1, alias="epochs"
    )
    start: str = option(
        "",
        "outer loop",
        "checkpoint to take the initial weights from; weights that it lacks, such as those of a "
        "larger classifier, are initialised at random",
    )

    seed: int = option(0, "run", "seed of initial weights and tasks", 0, 2**32 - 1)
    print_every: int = option(
        100, "run", "meta-iterations between two lines of training accuracies", 1
    )
    val_every: int = option(1000, "run", "meta-iterations between two validations", 1)
    val_tasks: int = option(992, "run", "tasks in a validation", 1)
    save_every: int = option(
        500, "run", "meta-iterations between two saves of the state that --resume needs", 1
    )
    name: str = option(
        "",
        "run",
        "name of the run's files; by default that of the configuration file, or like maml_5w1s",
    )
    data: str = option(DATA_FOLDER, "run", "folder with the arrays that make_data.py wrote")
    logdir: str = option("log", "run", "folder for VisualDL's logs and the state for --resume")
    checkpoints: str = option(OWN_WEIGHTS, "run", "folder for the best weights")
    keep_best: int = option(
        0,
        "run",
        "keep the weights of this number of best validations in a folder of the run's name too, "
        "each by its meta-iteration, for evaluations by several checkpoints; 0: the best alone",
        0,
        100,
    )
    gpu: bool = option(False, "run", "compute on a GPU", alias="use_gpu")
    workers: int = option(
        0,
        "run",
        "processes that share each meta-batch; 0: one for each GPU, or else for each core",
        0,
        1024,
    )

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            object.__setattr__(self, f.name, checked(f, getattr(self, f.name)))
            if getattr(self, f.name) != f.default:
                check_method(f, self.algorithm)
        self._check_companions()
        self._check_tasks()
        self._check_network()
        self._check_outer_loop()
        too_long = len(self.name.encode("utf-8", "replace")) > 200
        if "/" in self.name or "\0" in self.name or self.name in (".", "..") or too_long:
            raise UserError(
                "name is part of a file name, so it can have no slash and at most 200 bytes, "
                f"not {self.name!r}"
            )

    def _check_companions(self) -> None:
        """Refuse what only goes with other values of another setting."""
        for f in dataclasses.fields(self):
            for name, values in f.metadata["only_with"].items():
                value = getattr(self, name)
                if getattr(self, f.name) != f.default and value not in values:
                    raise UserError(
                        f"{f.name} is for {name} {' or '.join(values)}, not for {self.algorithm} "
                        f"with {name} {value}; drop it"
                    )

    def _check_tasks(self) -> None:
        way, shot, query = self.train_task
        if way < 2 or shot < 1 or (query < 1 and self.algorithm != "reptile"):
            raise UserError(
                "train_way must be at least 2, train_shot 1 and train_query 1 (0 for reptile), or "
                "-1 for the same as in tests"
            )
        if self.algorithm == "siamese" and (shot, query) != (1, 1):
            raise UserError(
                "siamese is trained on pairs and triplets: train_shot and train_query must be 1"
            )
        if self.replacement and self.within_alphabets:
            raise UserError(
                "within_alphabets fills a task with different classes of an alphabet, so it goes "
                "without replacement; drop one of the two"
            )

    def _check_network(self) -> None:
        metric = self.algorithm in METRIC
        if not metric and self.network == "koch":
            raise UserError(
                f"network koch is for siamese; {self.algorithm} takes strided, pooled, dense, "
                "perceptron or keras"
            )
        if metric and self.network in ("dense", "perceptron"):
            raise UserError(
                f"network {self.network} is for maml and reptile; {self.algorithm} takes strided, "
                "pooled or keras"
            )

    def _check_outer_loop(self) -> None:
        if self.keep_best and self.train_on_val:
            raise UserError(
                "keep_best compares validations, which say nothing with train_on_val; drop one of "
                "the two"
            )
        if self.schedule_from >= self.meta_iterations:
            raise UserError(
                f"schedule_from is {self.schedule_from}, so it must be below meta_iterations, "
                f"which is {self.meta_iterations}"
            )
        if self.learned_rates and self.first_order:
            raise UserError(
                "learned_rates needs maml's second derivatives: drop it, or first_order"
            )
        if self.first_order_until and self.first_order:
            raise UserError(
                "first_order_until has second derivatives begin, which first_order leaves out; "
                "drop one of them"
            )
        if self.outer_lr_end > self.outer_lr:
            raise UserError(
                f"outer_lr_end must be at most outer_lr, which is {self.outer_lr:g}, not "
                f"{self.outer_lr_end:g}"
            )

    @property
    def bn_mode(self) -> str:
        """The mode of batch normalisation, "transductive" or "inductive"."""
        if self.bn != "auto":
            return self.bn
        return "inductive" if self.algorithm in METRIC else "transductive"

    @property
    def test_task(self) -> tuple[int, int, int]:
        """Way, shot and query in validation and test."""
        return self.way, self.shot, self.query

    @property
    def train_task(self) -> tuple[int, int, int]:
        """Way, shot and query in training."""
        stated = zip((self.train_way, self.train_shot, self.train_query), self.test_task)
        way, shot, query = (usual if own == -1 else own for own, usual in stated)
        return way, shot, query

    @property
    def episode_images(self) -> int:
        """Images of a training episode of a metric method, which processes can share; else 0."""
        way, shot, query = self.train_task
        return way * (shot + query) if self.algorithm in METRIC else 0

    def shares_images(self, processes: int) -> bool:
        """Whether processes share the images of each training task, instead of having tasks each.

        They do where there is no equal number of tasks for each process.
        """
        return self.meta_batch_size % processes > 0 and processes <= self.episode_images


OWN_NETWORK = re.compile(r".+\.py:[A-Za-z_]\w*")
_NUMBER = re.compile(r"[-+]?[0-9]+([.][0-9]*)?[eE][-+]?[0-9]+")
FIELDS = {f.name: f for f in dataclasses.fields(Config)}
ALIASES = {f.metadata["alias"]: name for name, f in FIELDS.items() if f.metadata["alias"]}


def check_method(f: dataclasses.Field, algorithm: str) -> None:
    """Raise a `UserError` where the method `algorithm` has no use for the setting."""
    methods = f.metadata["only_for"]
    if algorithm not in methods:
        raise UserError(f"{f.name} is for {' and '.join(methods)}, not for {algorithm}; drop it")


def users(f: dataclasses.Field) -> str:
    """Who uses a setting, in words: methods, and what else it goes with; empty for everybody."""
    methods = f.metadata["only_for"]
    words = [] if tuple(methods) == METHODS else [", ".join(methods)]
    for name, values in f.metadata["only_with"].items():
        words.append(f"with {name} {', '.join(values)}")
    return " ".join(words)


def checked(f: dataclasses.Field, value: Any) -> Any:
    """Return `value` as the setting's type, or raise a `UserError` that names the setting."""
    kind: Any = type(f.default)
    low, high = f.metadata["low"], f.metadata["high"]
    if kind is float and isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)  # YAML reads 1e-3 as text
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise UserError(f"{f.name} must be of type {kind.__name__}, not {value!r}")
    if kind is float and not math.isfinite(value):
        raise UserError(f"{f.name} must be a finite number, not {value}")
    if kind in (int, float) and not low <= value <= high:
        bounds = f"at least {low:g}" if value < low else f"at most {high:g}"
        raise UserError(f"{f.name} must be {bounds}, not {value}")
    own_network = f.name == "network" and OWN_NETWORK.fullmatch(value)
    if f.metadata["choices"] and value not in f.metadata["choices"] and not own_network:
        choices = ", ".join(f.metadata["choices"])
        raise UserError(f"{f.name} must be one of {choices}, not {value!r}")
    return value


def make(values: dict[str, Any], source: str) -> Config:
    """Return the `Config` of `values`; a `UserError` names `source` and what is wrong."""
    values = standard(values, source)
    try:
        return Config(**values)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None


def standard(values: dict[str, Any], source: str) -> dict[str, Any]:
    """Return `values` under their standard names, each checked by itself.

    Raises a `UserError` that names `source` and the key where a key is unknown, is stated under
    two names, or has a value of the wrong type or out of range.
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = ALIASES.get(key, key)
        if name not in FIELDS:
            raise UserError(f"{source}: unknown setting {key!r}; train.py --help lists them all")
        if name in found:
            raise UserError(f"{source}: {key} and {_other(key)} are one setting; drop one of them")
        try:
            found[name] = checked(FIELDS[name], value)
        except UserError as error:
            raise UserError(f"{source}: {str(error).replace(name, key, 1)}") from None
    return found


def _other(key: str) -> str:
    """The other name of a setting that has two."""
    return ALIASES[key] if key in ALIASES else FIELDS[key].metadata["alias"]


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Return the settings that a YAML file states, under their standard names.

    Each is checked by itself: flags may still change the settings beside it.
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
    return standard(values, str(path))


def stored(values: dict[str, Any], source: str) -> Config:
    """Return the `Config` of a checkpoint; older ones state more than they use."""
    values = standard(values, source)
    stated = {**{name: f.default for name, f in FIELDS.items()}, **values}

    def used(f: dataclasses.Field) -> bool:
        return stated["algorithm"] in f.metadata["only_for"] and all(
            stated[name] in fitting for name, fitting in f.metadata["only_with"].items()
        )

    return make({k: v for k, v in values.items() if used(FIELDS[k])}, source)
