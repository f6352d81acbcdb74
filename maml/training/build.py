"""The learner that a configuration describes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import paddle
from paddle import Tensor

from maml import functional as fn
from maml.algorithms.learner import Learner
from maml.algorithms.maml import MAML
from maml.algorithms.matching import FullContext, Matching
from maml.algorithms.metric import MetricLearner
from maml.algorithms.protonet import ProtoNet
from maml.algorithms.reptile import Reptile
from maml.algorithms.siamese import Pairs, Triplets
from maml.config import ANY_WAY, Config
from maml.data.distortions import with_distortions
from maml.data.tasks import ink
from maml.networks import build
from maml.networks.base import Network


def make(
    config: Config,
    image_size: int = 28,
    average: Callable[[Sequence[Tensor]], list[Tensor]] = fn.mean_over_tasks,
) -> Learner:
    """The learner that `config` describes, with initial weights from its seed.

    `average` takes a list of tensors [T, ...] to their means over the tasks of all processes.
    """
    inductive = config.bn_mode == "inductive"
    way = None if config.algorithm in ANY_WAY else config.n_way
    usual = "pooled" if config.algorithm in ANY_WAY else "strided"
    rng = np.random.default_rng([config.seed, 0])
    augment = partial(with_distorted_views, copies=config.distortions_test)
    network = build.make(
        usual if config.network == "auto" else config.network,
        way,
        rng,
        image_size,
        config.filters,
        config.dense_deviation,
    )
    if config.algorithm == "reptile":
        return Reptile(
            network,
            inner_lr=config.glob_base_lr,
            epsilon=config.glob_meta_lr,
            inner_steps=config.glob_update_step,
            inner_batch=config.inner_batch,
            steps_test=config.glob_update_step_test,
            batch_test=config.inner_batch_test,
            inner_optimizer=config.inner_optimizer,
            outer_optimizer=config.outer_optimizer,
            inductive=inductive,
            augment=augment,
            average=average,
        )
    if config.algorithm in ANY_WAY:
        return metric(
            config,
            network,
            transductive=not inductive,
            views=partial(distorted_views, copies=config.distortions_test),
            average=average,
        )
    return MAML(
        network,
        alpha=config.glob_base_lr,
        beta=config.glob_meta_lr,
        steps=config.glob_update_step,
        steps_test=config.glob_update_step_test,
        first_order=config.first_order,
        clip=config.clip,
        inductive=inductive,
        learned_rates=config.learned_rates,
        augment=augment,
        average=average,
    )


def distorted_views(x: Tensor, copies: int) -> list[Tensor]:
    """Images [T, N, 1, H, W], and `copies` slightly distorted versions of all of them: of a task's,
    the same at every call and beside whatever other tasks, as much distorted as theirs in the same
    places.
    """
    if not copies:
        return [x]
    images = (
        np.rint(255 * x.numpy()).astype(np.uint8).reshape([x.shape[0], x.shape[1], 1, *x.shape[3:]])
    )
    versions = np.concatenate(
        [
            with_distortions(
                task[None], copies, np.random.default_rng(0)
            )  # [1, N, 1 + copies, H, W] each
            for task in images
        ]
    )
    return [paddle.to_tensor(ink(versions[:, :, v : v + 1])) for v in range(1 + copies)]


def with_distorted_views(x: Tensor, y: Tensor, copies: int) -> tuple[Tensor, Tensor]:
    """A support [T, N, 1, H, W] with labels [T, N], and behind it `copies` slightly distorted
    versions of all of it: N (1 + copies).
    """
    views = distorted_views(x, copies)
    return paddle.concat(views, axis=1), paddle.tile(y, [1, len(views)])


def metric(config: Config, network: Network, **options: Any) -> MetricLearner:
    """The metric learner that `config` describes; options: see `MetricLearner`."""
    beta = config.glob_meta_lr
    paddle.seed(config.seed)  # for the initial weights of Paddle's own layers
    if config.algorithm == "siamese" and config.objective == "pairs":
        return Pairs(
            network, beta, deviation=0.2 if config.network == "koch" else None, **options
        )  # Koch, section 3.2
    if config.algorithm == "siamese":
        return Triplets(network, beta, config.margin, config.negatives, **options)
    if config.algorithm == "matching":
        context = (
            FullContext(network.features, config.context_steps) if config.context_steps else None
        )
        return Matching(
            network,
            beta,
            "cosine" if config.distance == "auto" else config.distance,
            context,
            **options,
        )
    return ProtoNet(
        network,
        beta,
        "euclidean" if config.distance == "auto" else config.distance,
        config.every_support,
        config.refine,
        **options,
    )
