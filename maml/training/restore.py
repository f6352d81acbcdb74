"""Learners with a checkpoint's weights."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from maml.config import ANY_WAY, Config
from maml.system.errors import UserError

if TYPE_CHECKING:  # so that who only reads checkpoints need not wait for Paddle
    from maml.algorithms.finetune import FineTune
    from maml.algorithms.learner import Learner
    from maml.algorithms.metric import MetricLearner
from maml.training.checkpoint import Trained


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
    from maml.training import build
    from maml.training.weights import set_weights

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
    made = build.make(config, trained.state["data"]["image_size"])
    set_weights(made, {**trained.state, "weights": fitting(made, trained)}, trained.path)
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
    from maml.training.weights import set_weights

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
    set_weights(
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
    from maml.training import build

    return build.make(trained.config, trained.state["data"]["image_size"])


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
