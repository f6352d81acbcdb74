"""What MAML and Reptile share: a network whose weights adapt to a task by gradient steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import paddle
from paddle import Tensor

from maml import functional as fn
from maml.data.tasks import TaskBatch
from maml.networks.base import Network
from maml.networks.passes import as_in_tests


class Adapted(NamedTuple):
    """Weights [T, ...] each after some steps, and the support images that they adapted to."""

    theta: list[Tensor]
    support_x: Tensor


class GradientLearner(ABC):
    """A network whose weights adapt to each task's support by gradient steps.

    Args:
        network (Network): the network that adapts, with a classifier.
        transductive (bool): in tests, batch normalisation uses the statistics of the query batch.
            If false, no query sees another one.
        augment (Callable): takes the support of a test, images [T, N, 1, H, W] and labels [T, N],
            to the support that it adapts to.
        loss (Callable): takes outputs [T, N, ...] and targets to losses [T].
        average (Callable): takes tensors [T, ...] to their means over the tasks of all processes.
    """

    QUERY_IMAGES = 100  # at once, about: more do not stay in the processor's cache
    temperature = 1.0  # scores of queries are divided by it
    optimizer: Any
    iteration = 0

    def __init__(
        self,
        network: Network,
        *,
        transductive: bool = True,
        augment: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = lambda x, y: (x, y),
        loss: Callable[[Tensor, Tensor], Tensor] = fn.cross_entropy,
        average: Callable[[Sequence[Tensor]], list[Tensor]] = fn.mean_over_tasks,
    ):
        self.network, self.transductive, self.augment = network, transductive, augment
        self.loss, self.average = loss, average

    @property
    def meta_parameters(self) -> list[Tensor]:
        """theta"""
        return self.network.theta

    @abstractmethod
    def meta_step(self, tasks: TaskBatch) -> dict[str, float]:
        """Take one outer update; return what was measured, by name."""

    @abstractmethod
    def test_steps(self, support_x: Tensor, support_y: Tensor) -> Iterator[list[Tensor]]:
        """Yield the weights [T, ...] each after each update step of a test."""

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Iterator[Adapted]:
        """Yield the weights before and after each update on the support [T, N, 1, H, W]."""
        support_x, support_y = self.augment(support_x, support_y)
        yield Adapted(fn.for_each_task(self.network.theta, support_x.shape[0]), support_x)
        steps = self.test_steps(support_x, support_y)
        while True:
            with as_in_tests():
                theta = next(steps, None)
            if theta is None:
                return
            yield Adapted(theta, support_x)

    def predict(self, adapted: Adapted, query_x: Tensor) -> Tensor:
        """Return scores [T, N, way] of query images [T, N, 1, H, W]."""
        return self._as_in_tests(self.network, adapted, query_x) / self.temperature

    def represent(self, adapted: Adapted, x: Tensor) -> Tensor:
        """Return embeddings [T, N, D] of images [T, N, 1, H, W]."""
        return self._as_in_tests(self.network.represent, adapted, x)

    def _as_in_tests(self, forward: Callable, adapted: Adapted, x: Tensor) -> Tensor:
        with paddle.no_grad(), as_in_tests():
            if self.transductive or self.network.per_image:  # which is inductive by itself
                return self.in_parts(forward, x, adapted.theta)
            return self.inductive(forward, adapted, x)

    @abstractmethod
    def inductive(self, forward: Callable, adapted: Adapted, query_x: Tensor) -> Tensor:
        """Return what `forward` makes of queries, [T, N, ...], none of which sees another one.

        `forward` is the network, which makes scores, or its `represent`, which makes embeddings.
        """

    def in_parts(self, scores: Callable, x: Tensor, *state: Any) -> Tensor:
        """Return scores(x, *state), as many tasks at once as fit the processor's cache."""
        tasks = max(1, self.QUERY_IMAGES // x.shape[1])
        return fn.in_parts(lambda *parts: scores(parts[-1], *parts[:-1]), tasks, *state, x)
