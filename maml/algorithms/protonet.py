"""Prototypical Networks (Snell, Swersky & Zemel 2017).

    c_k = mean of f(x) over the support of class k            eq. 1
    p(y = k | x) = softmax over k of -d(f(x), c_k)            eq. 2
    J = -log p(y = k | x) of the queries, minimised by Adam   Algorithm 1

Afterwards the queries, which have no labels, may refine the prototypes, which is transductive (Ren
et al. 2018, section 3.1.1, soft k-means, repeated):

    c_k <- (sum of f(x_i), support of class k + sum of p(y = k | x_j) f(x_j), queries) / (shots +
    sum of p(y = k | x_j))

d is the squared Euclidean distance, summed over dimensions; the paper compares cosine, and dot
product is here beside it.

Deviations from the paper, with reasons:
 1. An update may average several episodes (task_num), so that several processes can share it; 1 is
    the paper's.
 2. With `every_support`, an episode's loss is the mean over several choices of its support: the
    embeddings, which cost nearly all of the time, are the same for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import paddle
import paddle.nn.functional as F
from paddle import Tensor

from maml import functional as fn
from maml.algorithms.metric import MetricLearner, class_means, members
from maml.networks.base import Network


class ProtoNet(MetricLearner):
    """Prototypical Networks on `network`, which has no classifier.

    distance: a key of `functional.SIMILARITIES`; every_support: in training, each drawing of an
    episode is support in its turn; refine: how often queries refine the prototypes in `predict`;
    options: see `MetricLearner`.
    """

    def __init__(
        self,
        network: Network,
        beta: float,
        distance: str = "euclidean",
        every_support: bool = False,
        refine: int = 0,
        **options,
    ):
        super().__init__(network, beta, **options)
        self.similarity, self.every_support, self.refine = (
            fn.SIMILARITIES[distance],
            every_support,
            refine,
        )

    def learn(self, z_support: Tensor, y_support: Tensor) -> tuple[Tensor, Tensor]:
        """The prototypes [T, way, D] and the number of shots of each, [T, way, 1]."""
        way = int(y_support.max()) + 1
        return class_means(z_support, y_support, way), members(y_support, way, z_support.dtype).sum(
            axis=1
        ).unsqueeze(-1)  # c_k, eq. 1

    def scores(self, learnt: tuple[Tensor, Tensor], z_query: Tensor) -> Tensor:
        return self.similarity(z_query, learnt[0])  # eq. 2, before the softmax

    def refined(self, learnt: tuple[Tensor, Tensor], z_query: Tensor) -> tuple[Tensor, Tensor]:
        """`learnt` with prototypes that queries [T, N, D] have moved."""
        support, shots = learnt
        c = support
        for _ in range(self.refine):
            p = F.softmax(self.scores((c, shots), z_query))  # [T, N, way]
            c = (shots * support + paddle.matmul(p, z_query, transpose_x=True)) / (
                shots + p.sum(axis=1).unsqueeze(-1)
            )
        return c, shots

    def predict(self, adapted: tuple[Tensor, Tensor], query_x: Tensor) -> Tensor:
        with paddle.no_grad():
            z = self.embed(query_x)
            return self.scores(self.refined(adapted, z), z)

    def losses(
        self, z_support: Tensor, y_support: Tensor, z_query: Tensor, y_query: Tensor
    ) -> Tensor:
        episodes = (
            turns(z_support, y_support, z_query, y_query)
            if self.every_support
            else [(z_support, y_support, z_query, y_query)]
        )
        each = [
            fn.cross_entropy(self.scores(self.learn(z_s, y_s), z_q), y_q)
            for z_s, y_s, z_q, y_q in episodes
        ]  # J
        return paddle.stack(each).mean(axis=0)


def turns(
    z_support: Tensor, y_support: Tensor, z_query: Tensor, y_query: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """The one episode z [1, N, D], y [1, N] with each cyclic choice of as many drawings of each
    class as its support, the rest as query.
    """
    z, y = paddle.concat([z_support, z_query], axis=1), paddle.concat([y_support, y_query], axis=1)
    way, support = int(y.max()) + 1, y_support.shape[1]
    z = (
        z[:, y[0].argsort()].reshape([way, -1, z.shape[-1]]).transpose([1, 0, 2])
    )  # [drawings, way, D]
    y = paddle.arange(way).tile([len(z)]).unsqueeze(0)  # [1, drawings * way]
    for first in range(len(z)):
        turned = z.roll(-first, axis=0).reshape([1, -1, z.shape[-1]])
        yield turned[:, :support], y[:, :support], turned[:, support:], y[:, support:]
