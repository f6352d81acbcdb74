"""Trained learners out of checkpoints, and whether data may be used to measure them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from maml import checkpoint
from maml.config import ANY_WAY, Config, make
from maml.errors import UserError
from maml.omniglot import Index, character_of, check_index

if TYPE_CHECKING:  # so that who only reads checkpoints need not wait for Paddle
    from maml.algorithms.finetune import FineTune
    from maml.algorithms.metric import MetricLearner
    from maml.learner import Learner


class Trained(NamedTuple):
    """A checkpoint: its file, its contents, and the configuration it was trained with."""

    path: Path
    state: dict[str, Any]
    config: Config


def read(path: str | Path) -> Trained:
    """The checkpoint at `path`; a `UserError` where it is none."""
    state = checkpoint.load(
        path,
        {
            "weights": list,
            "running": list,
            "config": dict,
            "data": dict,
            "best": dict,
            "history": list,
        },
    )
    if not all(_is_measurement(h) for h in state["history"]):
        raise UserError(
            f"{path}: is not a checkpoint of train.py's, its history does not list accuracies"
        )
    if not isinstance(state["best"].get("accuracy"), float):
        raise UserError(f"{path}: is not a checkpoint of train.py's, it lacks the best accuracy")
    if not all(isinstance(w, np.ndarray) for w in state["weights"]):
        raise UserError(f"{path}: holds weights that are no arrays")
    if not isinstance(state.get("machine", ""), str):
        raise UserError(f"{path}: is not a checkpoint of train.py's, its machine has no name")
    check_index(state["data"], str(path), parts=("train", "val"))
    return Trained(Path(path), state, make(state["config"], str(path)))


def _is_measurement(h: Any) -> bool:
    return (
        isinstance(h, dict)
        and isinstance(h.get("epoch"), int)
        and isinstance(h.get("part"), str)
        and isinstance(h.get("accuracies"), list)
        and len(h["accuracies"]) > 0
        and all(isinstance(a, float) for a in h["accuracies"])
    )


def find(
    folder: str | Path,
    n_way: int,
    k_spt: int,
    algorithm: str | None = None,
    data: Index | None = None,
    split: str | None = None,
) -> Trained:
    """The checkpoint in `folder` for this task (and of this algorithm, and for this split of these
    data).

    One that was validated on it, else with as many classes, else one that serves them; of several,
    the best on validation characters; what was trained on those too comes last, for its accuracy
    there says nothing. Before all that, one of `split`, if that is given.
    """

    def place(t: Trained) -> tuple[bool, bool, bool, bool, float]:
        return (
            t.state["data"]["split"] == split,
            (t.config.n_way, t.config.k_spt) == (n_way, k_spt),
            t.config.n_way == n_way,
            not t.config.train_on_val,
            t.state["best"]["accuracy"],
        )

    candidates = [
        t
        for t in map(read, sorted(Path(folder).glob("*.pkl")))
        if algorithm in (None, t.config.algorithm)
        and (
            data is None
            or (t.state["data"]["source"], t.state["data"]["split"]) == (data.source, data.split)
        )
        and serves(t.config, n_way)
        and (t.config.algorithm in ANY_WAY or t.config.k_spt == k_spt)
    ]
    if not candidates:
        raise UserError(
            f"{folder}: no checkpoint for n_way {n_way} and k_spt {k_spt}"
            + (f" of {algorithm}" if algorithm else "")
            + (f" and the {data.split} split" if data else "")
            + "; train one, or name any by --checkpoint"
        )
    return max(candidates, key=place)


def serves(config: Config, n_way: int) -> bool:
    """Whether what was trained so can tell `n_way` classes apart: any number, or, with a
    classifier, up to those it was trained for.
    """
    return config.algorithm in ANY_WAY or n_way <= config.n_way


def learner(trained: Trained, n_way: int | None = None, **changes: Any) -> Learner:
    """The learner with the checkpoint's weights, for `n_way` classes; a `UserError` where it does
    not serve so many.

    `changes` to its configuration, such as glob_update_step_test, do not touch the weights. With
    fewer classes than in training, inner steps are shorter (`share`).
    """
    from maml import learner as learners
    from maml import training

    way = n_way or trained.config.n_way
    if not serves(trained.config, way):
        raise UserError(
            f"{trained.path}: was trained for n_way {trained.config.n_way} and a classifier of as"
            f" many classes, not {way}"
        )
    rate = trained.config.glob_base_lr * share(trained.config, way)
    as_trained = dict(
        zip(("train_way", "train_shot", "train_query"), trained.config.train_task)
    )  # whatever the test tasks become
    config = dataclasses.replace(
        trained.config, **{**as_trained, "glob_base_lr": rate, **changes, "n_way": way}
    )
    made = learners.make(config, trained.state["data"]["image_size"])
    training.set_weights(made, {**trained.state, "weights": fitting(made, trained)}, trained.path)
    return made


def share(config: Config, way: int) -> float:
    """What inner rates trained by `config` are to be multiplied by for tasks of `way` classes.

    The inner loss is a mean over the support, so that each class is a larger part of it the fewer
    they are: rates as (way / n_way) would keep its steps. From 20 to 5 classes they are best still
    shorter, on validation characters (benchmarks/experiments.md). With more classes, which weights
    may only start from, they stay.
    """
    return min(1.0, way / config.n_way) ** 2


def fitting(made: Learner, trained: Trained) -> list[np.ndarray]:
    """The checkpoint's weights for the classes that `made` is for: of a classifier of more, the
    first; learned rates as `share` says.
    """
    weights, way, end = list(trained.state["weights"]), made.network.way, len(made.network.theta)
    if way is not None and way < trained.config.n_way:
        weights[end - 2 : end] = [
            w[..., :way] if w.ndim else w for w in weights[end - 2 : end]
        ]  # a scalar is refused by `set_weights`
    if way is not None and trained.config.learned_rates:
        weights[end:] = [w * np.float32(share(trained.config, way)) for w in weights[end:]]
    return weights


def start(made: Learner, trained: Trained) -> None:
    """Give a new learner the checkpoint's weights: of a classifier of more classes the first
    outputs; what it lacks, such as a classifier of enough classes, stays initial. A `UserError` for
    another network.
    """
    from maml import training

    weights, body = (
        fitting(made, trained),
        len(made.network.theta) - (0 if made.network.way is None else 2),
    )
    fits = [
        i < len(weights) and weights[i].shape == tuple(p.shape) for i, p in enumerate(made.theta)
    ]
    if not all(fits[:body]):
        raise UserError(
            f"{trained.path}: its network is not that of this run, which cannot start from there"
        )
    training.set_weights(
        made,
        {
            **trained.state,
            "weights": [weights[i] if fit else made.theta[i].numpy() for i, fit in enumerate(fits)],
            "running": [],
        },
        trained.path,
    )


def untrained(trained: Trained) -> Learner:
    """The learner of the checkpoint's configuration before its training."""
    from maml import learner as learners

    return learners.make(trained.config, trained.state["data"]["image_size"])


def probabilities(
    learner: Learner, support_x: np.ndarray, support_y: np.ndarray, query_x: np.ndarray
) -> np.ndarray:
    """What a learner, adapted to a support [T, N_S, 1, H, W] with labels [T, N_S] in 0 .. way - 1,
    thinks of queries [T, N_Q, 1, H, W]: [T, N_Q, way].
    """
    import paddle

    *_, adapted = learner.adapt(paddle.to_tensor(support_x), paddle.to_tensor(support_y))
    return opinion(learner, adapted, query_x)


def opinion(learner: Learner, adapted: Any, query_x: np.ndarray) -> np.ndarray:
    """Probabilities [T, N, way] of queries [T, N, 1, H, W] by what `learner.adapt` yielded."""
    import paddle

    return paddle.nn.functional.softmax(
        learner.predict(adapted, paddle.to_tensor(query_x)), axis=-1
    ).numpy()


def finetune(
    trained: Trained, learner: MetricLearner, steps: int, rate: float, entropy: float
) -> FineTune:
    """`learner`'s encoder with a classifier that is fine-tuned on each task; a `UserError` where
    the encoder comes with its own.
    """
    from maml.algorithms.finetune import FineTune

    if trained.config.algorithm not in ANY_WAY:
        raise UserError(
            f"{trained.path}: {trained.config.algorithm} learns its own classifier; "
            f"--finetune is for {', '.join(sorted(ANY_WAY))}"
        )
    return FineTune(learner, steps, rate, entropy)


def check_data(trained: Trained, index: Index, part: str) -> str | None:
    """Whether accuracies on `part` of the data are to be believed: a `UserError` where not, a
    warning to print where nearly so.
    """
    theirs = trained.state["data"]
    for key in ("source", "image_size", "polarity"):
        if theirs[key] != getattr(index, key):
            raise UserError(
                f"{trained.path}: was trained on data with {key} {theirs[key]!r}, these have"
                f" {getattr(index, key)!r}; name the right arrays by --data"
            )
    used = theirs["rows"]["train"] + (
        theirs["rows"]["val"] if part == "test" or trained.config.train_on_val else []
    )
    seen = {character_of(row) for row in used} & {character_of(row) for row in index.rows[part]}
    if seen:
        raise UserError(
            f"{trained.path}: was trained or chosen on {len(seen)} of these {part} characters, such"
            f" as {min(seen)}; make the data with its split: make_data.py --split {theirs['split']}"
            f" --seed {theirs['seed']}"
        )
    if theirs["sha256"].get(part) != index.sha256[part] and (theirs["split"], theirs["seed"]) == (
        index.split,
        index.seed,
    ):
        return (
            f"warning: the {part} images differ in some pixels from those made for {trained.path} "
            f"(Pillow {theirs['pillow']} there, {index.pillow} here)"
        )
    return None
