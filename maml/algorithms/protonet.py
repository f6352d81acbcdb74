"""Prototypical Networks (Snell, Swersky & Zemel 2017).

    c_k = mean of f(x) over the support of class k                                   eq. 1
    p(y = k | x) = softmax over k of -d(f(x), c_k)                                   eq. 2
    J = -log p(y = k | x) of the queries, minimised by Adam                          Algorithm 1

d is the squared Euclidean distance, summed over dimensions; the paper compares cosine, and dot product is here beside it.

Deviations from the paper, with reasons:
 1. An update may average several episodes (task_num), so that several processes can share it; 1 is the paper's.
"""

from __future__ import annotations

import paddle
from paddle import Tensor

from maml import functional as fn
from maml.algorithms.metric import MetricLearner, members
from maml.network import Network


def prototypes(z: Tensor, y: Tensor, way: int) -> Tensor:
    """Class means by label, eq. 1: z [T, N, D], y [T, N] in 0 .. way - 1 -> [T, way, D]."""
    of_class = members(y, way, z.dtype)  # [T, N, way]
    return paddle.matmul(of_class, z, transpose_x=True) / of_class.sum(axis=1).unsqueeze(-1)


class ProtoNet(MetricLearner):
    """Prototypical Networks on `network`, which has no classifier.

    distance: a key of `functional.SIMILARITIES`; options: see `MetricLearner`.
    """

    def __init__(self, network: Network, beta: float, distance: str = "euclidean", **options):
        super().__init__(network, beta, **options)
        self.similarity = fn.SIMILARITIES[distance]

    def learn(self, z_support, y_support):
        """The prototypes [T, way, D]."""
        return prototypes(z_support, y_support, int(y_support.max()) + 1)  # eq. 1

    def scores(self, learnt, z_query):
        return self.similarity(z_query, learnt)  # eq. 2, before the softmax

    def losses(self, z_support, y_support, z_query, y_query):
        return fn.cross_entropy(self.scores(self.learn(z_support, y_support), z_query), y_query)  # J
