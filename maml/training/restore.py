"""Learners and classifiers with a checkpoint's weights."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from maml.algorithms.finetune import FineTune
from maml.algorithms.learner import Classifier, Learner
from maml.algorithms.maml_plus_plus import MAMLPlusPlus
from maml.algorithms.metric import MetricLearner
from maml.config import METRIC, Config
from maml.evaluation.options import TestOptions
from maml.networks.file import Builder
from maml.system.errors import UserError
from maml.training.build import learner_for
from maml.training.checkpoint import Checkpoint
from maml.training.weights import set_weights, weights


def restore(
    trained: Checkpoint, way: int | None = None, builder: Builder | None = None, **changes: Any
) -> Learner:
    """Return a learner with a checkpoint's weights.

    Args:
        trained (Checkpoint): the checkpoint.
        way (int | None): classes of its tasks; None for as many as in training. With fewer classes
            than in training, the inner learning rate falls, see `inner_lr_scale`.
        builder (Builder | None): the network's file, where it is of the user's own.
        **changes: settings of its configuration that do not touch the weights, such as
            inner_steps_test.

    Raises:
        UserError: if it does not serve so many classes, or a change does not apply to its method.
    """
    way = way or trained.config.way
    if not trained.serves(way):
        raise UserError(
            f"{trained.path}: was trained for way {trained.config.way} and a classifier of that "
            f"number of classes, not {way}"
        )
    if trained.config.algorithm not in METRIC:
        rate = trained.config.inner_lr * inner_lr_scale(trained.config, way)
        changes = {"inner_lr": rate, **changes}
    # training tasks stay as they were, whatever the test tasks become
    keys = ("train_way", "train_shot", "train_query")
    as_trained = dict(zip(keys, trained.config.train_task))
    config = dataclasses.replace(trained.config, **{**as_trained, **changes, "way": way})
    learner = learner_for(config, trained.data, builder=builder)
    found = fitting(learner, trained)
    set_weights(learner, found, trained.running, trained.data.form, trained.path)
    return learner


def classifier_of(
    trained: Checkpoint,
    options: TestOptions,
    bn: str,
    way: int | None = None,
    builder: Builder | None = None,
) -> Classifier:
    """Return the checkpoint's classifier, changed by `options`, for `way` classes.

    Raises:
        UserError: if it does not serve so many classes, or an option is not for its method.
    """
    options.check_method(trained.config.algorithm)
    learner = restore(trained, way or options.way, builder, bn=bn, **options.changes())
    if options.finetune is None:
        return learner
    assert isinstance(learner, MetricLearner)
    return FineTune(learner, options.finetune, options.finetune_rate, options.entropy)


def inner_lr_scale(config: Config, way: int) -> float:
    """Return the factor of the inner learning rates when a classifier is cut to `way` classes.

    The inner loss is a mean over the support, so with fewer classes each contributes a larger part
    of the gradient. A factor of way / config.way keeps the step of each class, which is best with a
    temperature below 1. Without one, its square was better on validation characters, since shorter
    steps saturate the scores less (benchmarks/experiments.md). The factor is 1 for as many classes
    as in training, or more.
    """
    share = min(1.0, way / config.way)
    return share if config.temperature < 1 else share**2


def fitting(learner: Learner, trained: Checkpoint) -> list[np.ndarray]:
    """Return the checkpoint's weights for the classes of `learner`.

    Of a classifier of more classes these are the first outputs; learned rates are scaled.
    """
    found, way, end = list(trained.weights), learner.network.way, len(learner.network.theta)
    if way is not None and way < trained.config.way:
        # a scalar, which no checkpoint of ours has here, is left for `set_weights` to refuse
        found[end - 2 : end] = [w[..., :way] if w.ndim else w for w in found[end - 2 : end]]
    if way is not None and trained.config.learned_rates:
        scale = np.float32(inner_lr_scale(trained.config, way))
        found[-1:] = [w * scale for w in found[-1:]]  # they come last
    return found


def start_from(learner: Learner, trained: Checkpoint) -> None:
    """Give a new learner the checkpoint's weights.

    What the checkpoint lacks, such as a classifier of enough classes, stays initial.

    Raises:
        UserError: if its network is another one.
    """
    found, params = fitting(learner, trained), learner.meta_parameters
    body = len(learner.network.theta) - (0 if learner.network.way is None else 2)
    fits = [i < len(found) and found[i].shape == tuple(p.shape) for i, p in enumerate(params)]
    if not all(fits[:body]):
        raise UserError(
            f"{trained.path}: its network is not that of this run, which cannot start from there"
        )
    initial = weights(learner)
    mixed = [found[i] if fit else initial[i] for i, fit in enumerate(fits)]
    set_weights(learner, mixed, [], trained.data.form, trained.path)
    if isinstance(learner, MAMLPlusPlus):
        end = len(learner.network.theta)
        if not all(fits[end : end + len(learner.later)]):
            learner.repeat_norm()


def untrained(trained: Checkpoint, builder: Builder | None = None) -> Learner:
    """Return the learner of the checkpoint's configuration before its training."""
    return learner_for(trained.config, trained.data, builder=builder)
