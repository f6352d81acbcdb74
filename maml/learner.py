"""What every few-shot learner can do, and how a configuration names one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from paddle import Tensor

from maml.algorithms.maml import MAML
from maml.config import Config
from maml.network import ConvNet, Network
from maml.tasks import TaskBatch


class Learner(Protocol):
    """Learns from tasks. State between `adapt` and `predict` lies in what `adapt` yields and nowhere else."""

    network: Network
    optimizer: Any

    def meta_step(self, tasks: TaskBatch) -> dict[str, float]:
        """One outer update; what it measured, by name, with "loss" among it."""

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Iterator[Any]:
        """Learn the support [T, way * shot, 1, H, W]: yields what was learnt before the first and after each update step."""

    def predict(self, adapted: Any, query_x: Tensor) -> Tensor:
        """Scores [T, N, way] of query images [T, N, 1, H, W] by what `adapt` yielded."""


def make(config: Config, image_size: int = 28, inductive: bool = False,
         average: Callable[[list[Tensor]], list[Tensor]] = list) -> Learner:
    """The learner that `config` describes, with initial weights from its seed."""
    rng = np.random.default_rng([config.seed, 0])
    network = ConvNet(config.n_way, rng, image_size)
    return MAML(network, alpha=config.glob_base_lr, beta=config.glob_meta_lr, steps=config.glob_update_step,
                steps_test=config.glob_update_step_test, first_order=config.first_order, clip=config.clip,
                inductive=inductive, average=average)
