"""What Prototypical, Matching and Siamese networks share: an encoder trained on episodes, and
queries compared with the support in its space.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import paddle
from paddle import Tensor, nn

from maml import functional as fn
from maml.data.tasks import TaskBatch
from maml.networks.base import Network
from maml.networks.passes import as_in_tests
from maml.system.errors import UserError

if TYPE_CHECKING:
    from typing_extensions import Self


def members(y: Tensor, way: int, dtype: paddle.dtype) -> Tensor:
    """Return the membership in classes, [T, N, way] of 0 and 1, of labels [T, N] below `way`."""
    return nn.functional.one_hot(y, way).astype(dtype)


def class_means(z: Tensor, y: Tensor, way: int) -> Tensor:
    """Return the mean of each class, [T, way, D], of z [T, N, D] with labels y [T, N]."""
    of_class = members(y, way, z.dtype)  # [T, N, way]
    return paddle.matmul(of_class, z, transpose_x=True) / of_class.sum(axis=1).unsqueeze(-1)


class MetricLearner(ABC):
    """An encoder that is trained on episodes, and what compares its embeddings.

    Args:
        network (Network): the encoder, a network without a classifier.
        outer_lr (float): learning rate of Adam.
        transductive (bool): in tests, batch normalisation uses the statistics of the images that
            are embedded together. If false, it uses running averages.
        head (nn.Layer | None): what compares embeddings, where that has weights of its own.
        views (Callable): takes images [T, N, 1, H, W] to a list of versions of them; in tests, an
            image's embedding is the mean of theirs.
        average (Callable): takes tensors [T, ...] to their means over the tasks of all processes.
        team (Team | None): the processes that share the images of each training episode.
    """

    iteration = 0

    def __init__(
        self,
        network: Network,
        outer_lr: float,
        *,
        transductive: bool = False,
        head: nn.Layer | None = None,
        views: Callable[[Tensor], Sequence[Tensor]] = lambda x: [x],
        average: Callable[[Sequence[Tensor]], list[Tensor]] = fn.mean_over_tasks,
        team: fn.Team | None = None,
    ):
        self.network, self.head, self.transductive = network, head, transductive
        self.views, self.average, self.team = views, average, team
        self.optimizer = paddle.optimizer.Adam(outer_lr, parameters=self.meta_parameters)

    @property
    def meta_parameters(self) -> list[Tensor]:
        """The encoder's weights, and the head's."""
        return self.network.theta + (self.head.parameters() if self.head else [])

    @abstractmethod
    def losses(
        self, z_support: Tensor, y_support: Tensor, z_query: Tensor, y_query: Tensor
    ) -> Tensor:
        """Return what training minimises, [T], of embeddings [T, N, D] and labels [T, N]."""

    @abstractmethod
    def learn(self, z_support: Tensor, y_support: Tensor) -> Any:
        """Return what classifies the queries of a task with this support, as tensors [T, ...]."""

    @abstractmethod
    def scores(self, learned: Any, z_query: Tensor) -> Tensor:
        """Return scores [T, N, way] of queries [T, N, D], by what `learn` returned."""

    def gradient(
        self, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Return one episode's loss [1], its gradient, and its batch statistics, [1, ...] each.

        If processes share the episode's images, the gradient is the mean of the processes'.
        """
        theta = fn.for_each_task(self.network.theta, 1)
        head = self.meta_parameters[len(theta) :]
        record: list[fn.Statistics] = []
        z = self._embed_episode(paddle.concat([support_x, query_x], axis=1), theta, record)
        n = support_y.shape[1]  # of the images behind z, [1, N_S + N_Q, D]
        losses = self.losses(z[:, :n], support_y, z[:, n:], query_y) + self.network.penalty(theta)
        gradient = paddle.grad(losses.sum(), theta + head)
        gradient[len(theta) :] = [g.unsqueeze(0) for g in gradient[len(theta) :]]
        return losses.detach(), gradient, [s.detach() for statistics in record for s in statistics]

    def _embed_episode(
        self, x: Tensor, theta: Sequence[Tensor], record: list[fn.Statistics]
    ) -> Tensor:
        """Return embeddings [T, N, D] of all images [T, N, 1, H, W] of training episodes."""
        team, images = self.team, x.shape[1]
        if team is None or not self.network.apart:
            return self.network(x, theta, record=record)
        together = [team] * len(theta)
        return team.join(self.network(x[:, team.part(images)], theta, together, record), images)

    def meta_step(self, tasks: TaskBatch) -> dict[str, float]:
        """Take one update on a `TaskBatch` of training episodes; return loss and gradient norm."""
        losses, gradient, record = fn.in_parts(self.gradient, 1, *map(fn.as_tensor, tasks))
        loss, *means = self.average([losses, *gradient, *record])
        gradient, record = means[: len(gradient)], [s.unsqueeze(0) for s in means[len(gradient) :]]
        statistics = [fn.Statistics(*pair) for pair in zip(record[::2], record[1::2])]
        self.network.update_running(statistics)
        return fn.apply_gradient(self.optimizer, self.meta_parameters, gradient, loss)

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Iterator[Any]:
        """Yield once what the support [T, N, 1, H, W] teaches: there are no update steps."""
        with paddle.no_grad():
            learned = self.learn(self.embed(support_x), support_y)
        yield learned

    def predict(self, adapted: Any, query_x: Tensor) -> Tensor:
        """Return scores [T, N, way] of query images [T, N, 1, H, W]."""
        with paddle.no_grad():
            return self.scores(adapted, self.embed(query_x))

    def represent(self, adapted: Any, x: Tensor) -> Tensor:
        """Return embeddings [T, N, D] of images [T, N, 1, H, W]."""
        return self.embed(x)

    @property
    def per_image(self) -> bool:
        """Whether an image's embedding depends on that image alone, as far as is known."""
        return not self.transductive and self.network.apart is not False

    def of_embeddings(self) -> Self:
        """Return the same classifier for tasks that consist of embeddings instead of images."""
        twin = copy.copy(self)
        twin.embed = lambda x: x  # type: ignore[method-assign]
        return twin

    def embed(self, x: Tensor) -> Tensor:
        """Return embeddings [T, N, D] of images [T, N, 1, H, W] as in tests."""
        with paddle.no_grad(), as_in_tests():
            views = [fn.in_parts(self._embed_task, 1, view) for view in self.views(x)]
            return paddle.add_n(views) / len(views)

    def _embed_task(self, x: Tensor) -> Tensor:
        if self.transductive:
            return self.network(x)
        if self.network.running:
            return self.network(x, statistics=self.network.running)
        record: list[fn.Statistics] = []
        z = self.network(x, record=record)
        if record:
            raise UserError(
                "this network has no running averages of batch normalisation yet: train it, or "
                "predict with transductive=True"
            )
        return z
