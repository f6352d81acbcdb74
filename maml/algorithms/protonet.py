"""Prototypical Networks (Snell, Swersky & Zemel 2017).

    c_k = mean of f(x) over the support of class k                                   eq. 1
    p(y = k | x) = softmax over k of -d(f(x), c_k)                                   eq. 2
    J = -log p(y = k | x) of the queries, minimised by Adam                          Algorithm 1

d is the squared Euclidean distance, summed over dimensions; the paper compares cosine, and dot product is here beside it.

Deviations from the paper, with reasons:
 1. An update may average several episodes (task_num), so that several processes can share it; 1 is the paper's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import paddle
from paddle import Tensor

from maml import functional as fn
from maml.network import Network
from maml.tasks import TaskBatch


def prototypes(z: Tensor, y: Tensor, way: int) -> Tensor:
    """Class means by label, eq. 1: z [T, N, D], y [T, N] in 0 .. way - 1 -> [T, way, D]."""
    members = paddle.nn.functional.one_hot(y, way).astype(z.dtype)  # [T, N, way]
    return paddle.matmul(members, z, transpose_x=True) / members.sum(axis=1).unsqueeze(-1)


class Adapted(NamedTuple):
    """Prototypes [T, way, D] of each task, and the weights that embed its queries."""

    prototypes: Tensor
    theta: list[Tensor]


class ProtoNet:
    """Prototypical Networks on `network`, which has no classifier.

    beta: learning rate of Adam; distance: a key of `functional.SIMILARITIES`; transductive: batch normalisation measures with the
    statistics of support and of queries instead of running averages; average: averages a list of tensors over processes.
    """

    def __init__(self, network: Network, beta: float, distance: str = "euclidean", transductive: bool = False,
                 average: Callable[[Sequence[Tensor]], list[Tensor]] = list):
        self.network, self.similarity, self.transductive, self.average = network, fn.SIMILARITIES[distance], transductive, average
        self.optimizer = paddle.optimizer.Adam(beta, parameters=network.theta)

    def gradient(self, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor) -> tuple[Tensor, list[Tensor], list]:
        """Losses J [T], each episode's gradient, [T, ...] each, and the statistics of batch normalisation over its images."""
        theta = fn.for_each_task(self.network.theta, support_x.shape[0])
        z = self.network(paddle.concat([support_x, query_x], axis=1), theta, record=(record := []))  # [T, N_S + N_Q, D]
        z_support, z_query = z[:, :support_y.shape[1]], z[:, support_y.shape[1]:]
        way = int(support_y.max()) + 1
        losses = fn.cross_entropy(self.similarity(z_query, prototypes(z_support, support_y, way)), query_y)  # [T]
        return losses, paddle.grad(losses.sum(), theta), [s.detach() for statistics in record for s in statistics]

    def meta_step(self, tasks: TaskBatch) -> dict[str, float]:
        """One update on a `TaskBatch` of training episodes."""
        losses, gradient, record = fn.in_parts(self.gradient, 1, *map(paddle.to_tensor, tasks))
        loss, *means = self.average([losses.mean(), *fn.mean_over_tasks(gradient + record)])
        gradient, record = means[:len(gradient)], [s.unsqueeze(0) for s in means[len(gradient):]]
        self.network.update_running([fn.Statistics(*pair) for pair in zip(record[::2], record[1::2])])
        return fn.apply_gradient(self.optimizer, self.network.theta, gradient, loss)

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Iterator[Adapted]:
        """The prototypes of the support [T, way * shot, 1, H, W]: there is nothing to update."""
        theta = fn.for_each_task(self.network.theta, support_x.shape[0])
        with paddle.no_grad():
            z = self.network(support_x, theta, self.statistics)
            adapted = Adapted(prototypes(z, support_y, int(support_y.max()) + 1), theta)
        yield adapted

    def predict(self, adapted: Adapted, query_x: Tensor) -> Tensor:
        """Scores [T, N, way] of query images [T, N, 1, H, W]."""
        with paddle.no_grad():
            return self.similarity(self.network(query_x, adapted.theta, self.statistics), adapted.prototypes)

    @property
    def statistics(self) -> list[fn.Statistics] | None:
        """What batch normalisation measures with: running averages, or None for those of the images at hand."""
        return None if self.transductive else self.network.running
