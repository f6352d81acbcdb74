"""The learner that a configuration describes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import paddle
from paddle import Tensor

from maml import functional as fn
from maml.algorithms.learner import Learner
from maml.algorithms.maml_plus_plus import MAMLPlusPlus
from maml.algorithms.matching import FullContext, Matching
from maml.algorithms.metric import MetricLearner
from maml.algorithms.protonet import ProtoNet
from maml.algorithms.reptile import Reptile
from maml.algorithms.siamese import Pairs, Triplets
from maml.config import METRIC, OWN_NETWORK, Config
from maml.data.distortions import distorted_views
from maml.data.index import Index
from maml.data.streams import Stream, generator
from maml.functional.randomness import seeded
from maml.networks.base import Network
from maml.networks.build import build_network
from maml.networks.file import Builder
from maml.system.errors import UserError
from maml.system.processes import Processes

Pixels = tuple[Sequence[float], Sequence[float]]


def build_learner(
    config: Config,
    image_size: int = 28,
    processes: Processes | None = None,
    builder: Builder | None = None,
    channels: int = 1,
    pixels: Pixels | None = None,
) -> Learner:
    """Return the learner that `config` describes, with initial weights from its seed.

    Args:
        config (Config): the settings.
        image_size (int): side of the images, in pixels.
        processes (Processes | None): the processes that take its training steps together.
        builder (Builder | None): the user's own network, where the configuration names a file.
        channels (int): of the images.
        pixels (tuple | None): mean and deviation of the training images' pixels, by channel, by
            which the network normalises all images.

    Raises:
        UserError: if the configuration names a file, and there is no builder.
    """
    metric = config.algorithm in METRIC
    average = processes.average if processes else fn.mean_over_tasks
    way = None if metric else config.way
    network: Network
    if OWN_NETWORK.fullmatch(config.network):
        if builder is None:
            raise UserError(
                f"its network is the user's own, {config.network}; name that file by --network"
            )
        network = builder.network(way, image_size, channels, config.seed)
    else:
        kind = usual_network(config) if config.network == "auto" else config.network
        rng = generator(config.seed, Stream.WEIGHTS)
        deviation, filters = config.dense_deviation, config.filters
        network = build_network(kind, way, rng, image_size, filters, deviation, channels)
    network.pixels = pixels
    transductive, copies = config.bn_mode == "transductive", config.distortions_test
    if metric:
        views = partial(_views, copies=copies)
        options = {"transductive": transductive, "views": views, "average": average}
        if processes and config.shares_images(processes.size):
            options["team"] = fn.Team(processes.part, processes.total)
        with seeded(config.seed):  # for the initial weights of Paddle's own layers
            return build_metric_learner(config, network, **options)
    augment = partial(_with_views, copies=copies)
    shared: dict[str, Any] = {
        "transductive": transductive,
        "augment": augment,
        "average": average,
    }
    if config.algorithm == "reptile":
        return Reptile(
            network,
            inner_lr=config.inner_lr,
            epsilon=config.outer_lr,
            inner_steps=config.inner_steps,
            inner_batch=config.inner_batch,
            steps_test=config.inner_steps_test,
            batch_test=config.inner_batch_test,
            inner_optimizer=config.inner_optimizer,
            outer_optimizer=config.outer_optimizer,
            loss=fn.cross_entropy if config.inner_loss == "mean" else fn.summed_cross_entropy,
            **shared,
        )
    return MAMLPlusPlus(
        network,
        alpha=config.inner_lr,
        beta=config.outer_lr,
        steps=config.inner_steps,
        steps_test=config.inner_steps_test,
        first_order=config.first_order,
        learned_rates=config.learned_rates,
        per_step_norm=config.per_step_norm,
        multi_step_loss=config.multi_step_loss,
        first_order_until=config.first_order_until,
        adapt=[pattern.strip() for pattern in config.adapt.split(",") if pattern.strip()],
        clip=config.clip,
        temperature=config.temperature,
        **shared,
    )


def learner_for(
    config: Config,
    index: Index,
    processes: Processes | None = None,
    builder: Builder | None = None,
) -> Learner:
    """Return the learner that `config` describes, for images as `index` describes them."""
    size, channels = index.image_size, index.form.channels
    return build_learner(config, size, processes, builder, channels, index.pixels)


def own_part(config: Config, processes: Processes) -> slice:
    """The tasks of a batch that a process computes on: all, if they share each task's images."""
    tasks = config.meta_batch_size
    return slice(0, tasks) if config.shares_images(processes.size) else processes.part(tasks)


def usual_network(config: Config) -> str:
    """The network that the method's paper uses."""
    return "pooled" if config.algorithm in METRIC else "strided"


def build_metric_learner(config: Config, network: Network, **options: Any) -> MetricLearner:
    """Return the metric learner that `config` describes; for the options see `MetricLearner`."""
    lr = config.outer_lr
    if config.algorithm == "siamese" and config.objective == "pairs":
        deviation = 0.2 if config.network == "koch" else None  # Koch, section 3.2
        return Pairs(network, lr, deviation=deviation, **options)
    if config.algorithm == "siamese":
        return Triplets(network, lr, config.margin, config.negatives, **options)
    if config.algorithm == "matching":
        steps = config.context_steps
        context = FullContext(network.features, steps) if steps else None
        distance = "cosine" if config.distance == "auto" else config.distance
        return Matching(network, lr, distance, context, config.temperature, **options)
    distance = "euclidean" if config.distance == "auto" else config.distance
    every_support, refine, tau = config.every_support, config.refine, config.temperature
    return ProtoNet(network, lr, distance, every_support, refine, tau, **options)


def _views(x: Tensor, copies: int) -> list[Tensor]:
    """Images [T, N, 1, H, W], followed by `copies` distorted versions of them."""
    return [x, *map(paddle.to_tensor, distorted_views(x.numpy(), copies))] if copies else [x]


def _with_views(x: Tensor, y: Tensor, copies: int) -> tuple[Tensor, Tensor]:
    """A support [T, N, 1, H, W] with labels [T, N], followed by distorted versions of all of it."""
    views = _views(x, copies)
    return paddle.concat(views, axis=1), paddle.tile(y, [1, len(views)])
