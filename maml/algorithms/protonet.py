"""Prototypical Networks (Snell, Swersky & Zemel 2017).

    c_k = mean of f(x) over the support of class k                                   eq. 1
    p(y = k | x) = softmax over k of -d(f(x), c_k)                                   eq. 2
    J = -log p(y = k | x) of the queries, minimised by Adam                          Algorithm 1

d is the squared Euclidean distance, summed over dimensions; the paper compares cosine, and dot product is here beside it.

Deviations from the paper, with reasons:
 1. An update may average several episodes (task_num), so that several processes can share it; 1 is the paper's.
"""

from __future__ import annotations

from paddle import Tensor

from maml import functional as fn
from maml.algorithms.metric import MetricLearner, class_means
from maml.network import Network


class ProtoNet(MetricLearner):
    """Prototypical Networks on `network`, which has no classifier.

    distance: a key of `functional.SIMILARITIES`; options: see `MetricLearner`.
    """

    def __init__(self, network: Network, beta: float, distance: str = "euclidean", **options):
        super().__init__(network, beta, **options)
        self.similarity = fn.SIMILARITIES[distance]

    def learn(self, z_support: Tensor, y_support: Tensor) -> Tensor:
        """The prototypes [T, way, D]."""
        return class_means(z_support, y_support, int(y_support.max()) + 1)  # c_k, eq. 1

    def scores(self, learnt: Tensor, z_query: Tensor) -> Tensor:
        return self.similarity(z_query, learnt)  # eq. 2, before the softmax

    def losses(self, z_support: Tensor, y_support: Tensor, z_query: Tensor, y_query: Tensor) -> Tensor:
        return fn.cross_entropy(self.scores(self.learn(z_support, y_support), z_query), y_query)  # J
