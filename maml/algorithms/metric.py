"""What Prototypical, Matching and Siamese networks share: an encoder trained on episodes, and
queries compared with the support in its space.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import paddle
from paddle import Tensor, nn

from maml import functional as fn
from maml.data.tasks import TaskBatch
from maml.networks.base import Network


def members(y: Tensor, way: int, dtype: paddle.dtype) -> Tensor:
    """Labels [T, N] in 0 .. way - 1 -> who belongs to which class, [T, N, way] of 0 and 1."""
    return nn.functional.one_hot(y, way).astype(dtype)


def class_means(z: Tensor, y: Tensor, way: int) -> Tensor:
    """Means by label: z [T, N, D], y [T, N] in 0 .. way - 1 -> [T, way, D]."""
    of_class = members(y, way, z.dtype)  # [T, N, way]
    return paddle.matmul(of_class, z, transpose_x=True) / of_class.sum(axis=1).unsqueeze(-1)


class MetricLearner(ABC):
    """An encoder, `network` without a classifier, and what compares its embeddings, whose
    parameters are the `head`'s, if any.

    beta: learning rate of Adam; transductive: batch normalisation measures with the statistics of
    the images at hand instead of running averages; views: of images, whose embeddings' mean is each
    image's embedding in tests; average: of tensors [T, ...] over the tasks of all processes.
    """

    def __init__(
        self,
        network: Network,
        beta: float,
        transductive: bool = False,
        head: nn.Layer | None = None,
        views: Callable[[Tensor], Sequence[Tensor]] = lambda x: [x],
        average: Callable[[Sequence[Tensor]], list[Tensor]] = fn.mean_over_tasks,
    ):
        self.network, self.head, self.transductive, self.views, self.average = (
            network,
            head,
            transductive,
            views,
            average,
        )
        self.optimizer = paddle.optimizer.Adam(beta, parameters=self.theta)

    @property
    def theta(self) -> list[Tensor]:
        """The encoder's parameters, and the head's."""
        return self.network.theta + (self.head.parameters() if self.head else [])

    @abstractmethod
    def losses(
        self, z_support: Tensor, y_support: Tensor, z_query: Tensor, y_query: Tensor
    ) -> Tensor:
        """What training minimises, [T], of embeddings [T, N, D] and labels [T, N]."""

    @abstractmethod
    def learn(self, z_support: Tensor, y_support: Tensor) -> Any:
        """What classifies queries of a task with this support, as tensors [T, ...]."""

    @abstractmethod
    def scores(self, learnt: Any, z_query: Tensor) -> Tensor:
        """Scores [T, N, way] of queries [T, N, D] by what `learn` returned."""

    def gradient(
        self, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor
    ) -> tuple[Tensor, list[Tensor], list]:
        """Of one episode: its loss [1], the gradient and the statistics of batch normalisation over
        its images, [1, ...] each.
        """
        theta, head = fn.for_each_task(self.network.theta, 1), self.theta[len(self.network.theta) :]
        z = self.network(
            paddle.concat([support_x, query_x], axis=1), theta, record=(record := [])
        )  # [1, N_S + N_Q, D]
        n = support_y.shape[1]
        losses = self.losses(z[:, :n], support_y, z[:, n:], query_y) + self.network.penalty(theta)
        gradient = paddle.grad(losses.sum(), theta + head)
        gradient[len(theta) :] = [g.unsqueeze(0) for g in gradient[len(theta) :]]
        return losses.detach(), gradient, [s.detach() for statistics in record for s in statistics]

    def meta_step(self, tasks: TaskBatch) -> dict[str, float]:
        """One update on a `TaskBatch` of training episodes."""
        losses, gradient, record = fn.in_parts(self.gradient, 1, *map(paddle.to_tensor, tasks))
        loss, *means = self.average([losses, *gradient, *record])
        gradient, record = means[: len(gradient)], [s.unsqueeze(0) for s in means[len(gradient) :]]
        self.network.update_running(
            [fn.Statistics(*pair) for pair in zip(record[::2], record[1::2])]
        )
        return fn.apply_gradient(self.optimizer, self.theta, gradient, loss)

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Iterator[Any]:
        """What the support [T, way * shot, 1, H, W] teaches: there is nothing to update."""
        with paddle.no_grad():
            learnt = self.learn(self.embed(support_x), support_y)
        yield learnt

    def predict(self, adapted: Any, query_x: Tensor) -> Tensor:
        """Scores [T, N, way] of query images [T, N, 1, H, W]."""
        with paddle.no_grad():
            return self.scores(adapted, self.embed(query_x))

    def represent(self, adapted: Any, x: Tensor) -> Tensor:
        """Embeddings [T, N, D] of images [T, N, 1, H, W]."""
        return self.embed(x)

    @property
    def embeds_alone(self) -> bool:
        """Whether an image's embedding does not depend on the images beside it, so that it may be
        computed once for many tasks.
        """
        return not self.transductive and bool(
            self.network.running
        )  # which are there after a first update

    def embed(self, x: Tensor) -> Tensor:
        """Images [T, N, 1, H, W] -> embeddings [T, N, D] as in tests; what is embedded already
        stays.
        """
        if x.ndim == 3:
            return x
        statistics = None if self.transductive else self.network.running
        with paddle.no_grad():
            views = [
                fn.in_parts(lambda images: self.network(images, statistics=statistics), 1, view)
                for view in self.views(x)
            ]
            return paddle.add_n(views) / len(views)
