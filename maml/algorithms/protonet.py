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
 1. An update may average several episodes (task_num); 1 is the paper's.
 2. With `every_support`, an episode's loss is the mean over several choices of its support: the
    embeddings, which cost nearly all of the time, are the same for all of them.
 3. The scores of eq. 2 may be divided by a temperature tau (Oreshkin, Rodriguez & Lacoste 2018,
    section 3.2). Initial embeddings lie so far apart that the softmax is certain, and the gradient
    of the few wrong queries is nearly all that it has; tau > 1 makes it soft.
"""

from __future__ import annotations

from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import Tensor

from maml import functional as fn
from maml.algorithms.metric import MetricLearner, class_means, members
from maml.networks.base import Network


class ProtoNet(MetricLearner):
    """Train Prototypical Networks.

    Args:
        network (Network): the encoder f, a network without a classifier.
        outer_lr (float): learning rate of Adam.
        distance (str): "euclidean" (squared), "cosine" or "dot".
        every_support (bool): in training, each drawing of an episode is support in turn.
        refine (int): steps in which the queries of a test refine the prototypes.
        temperature (float): tau, by which scores are divided; 1 is the paper's.
        **options: see `MetricLearner`.

    Example:
        >>> import numpy as np, maml
        >>> rng = np.random.default_rng(0)
        >>> learner = maml.ProtoNet(maml.ConvNet(None, rng, pooled=True), outer_lr=1e-3)
        >>> sampler = maml.TaskSampler(np.zeros([9, 20, 1, 28, 28], np.uint8), 5, 1, 2, rng)
        >>> sorted(learner.meta_step(sampler.sample(1)))
        ['gradient norm', 'loss']
    """

    def __init__(
        self,
        network: Network,
        outer_lr: float,
        distance: str = "euclidean",
        every_support: bool = False,
        refine: int = 0,
        temperature: float = 1.0,
        **options: Any,
    ):
        super().__init__(network, outer_lr, **options)
        self.similarity, self.temperature = fn.SIMILARITIES[distance], temperature
        self.every_support, self.refine = every_support, refine

    def learn(self, z_support: Tensor, y_support: Tensor) -> tuple[Tensor, Tensor]:
        """Return the prototypes [T, way, D] and the number of shots of each, [T, way, 1]."""
        way = int(y_support.max()) + 1
        c = class_means(z_support, y_support, way)  # eq. 1
        shots = members(y_support, way, z_support.dtype).sum(axis=1).unsqueeze(-1)
        return c, shots

    def scores(self, learned: tuple[Tensor, Tensor], z_query: Tensor) -> Tensor:
        """Return -d(f(x), c_k) / tau, [T, N, way]."""
        return self.similarity(z_query, learned[0]) / self.temperature  # eq. 2, before the softmax

    def refined(self, learned: tuple[Tensor, Tensor], z_query: Tensor) -> tuple[Tensor, Tensor]:
        """Return `learned` with prototypes that the queries [T, N, D] have moved."""
        support, shots = learned
        c = support
        for _ in range(self.refine):
            p = F.softmax(self.scores((c, shots), z_query))  # [T, N, way]
            of_queries = paddle.matmul(p, z_query, transpose_x=True)
            c = (shots * support + of_queries) / (shots + p.sum(axis=1).unsqueeze(-1))
        return c, shots

    def predict(self, adapted: tuple[Tensor, Tensor], query_x: Tensor) -> Tensor:
        """Return scores [T, N, way] of query images [T, N, 1, H, W]."""
        with paddle.no_grad():
            z = self.embed(query_x)
            return self.scores(self.refined(adapted, z), z)

    def losses(
        self, z_support: Tensor, y_support: Tensor, z_query: Tensor, y_query: Tensor
    ) -> Tensor:
        """Return J, [T]; with `every_support`, its mean over the turns of one episode, T = 1."""
        if not self.every_support:
            return fn.cross_entropy(self.scores(self.learn(z_support, y_support), z_query), y_query)
        z = paddle.concat([z_support, z_query], axis=1)
        y = paddle.concat([y_support, y_query], axis=1)
        to_prototypes, is_query = turns(y, y_support.shape[1], z.dtype)
        c = paddle.matmul(to_prototypes, z)  # eq. 1, [1, drawings * way, D]
        scores = self.similarity(z, c) / self.temperature  # eq. 2
        log_p = fn.log_softmax(scores.reshape([y.shape[1], len(is_query), -1]))
        own = F.one_hot(y[0], log_p.shape[-1]).astype(z.dtype).unsqueeze(1)  # [N, 1, way]
        return -(log_p * own * is_query.T.unsqueeze(-1)).sum().unsqueeze(0) / is_query.sum()


def turns(y: Tensor, support: int, dtype: paddle.dtype) -> tuple[Tensor, Tensor]:
    """Let the drawings of each class be support in turn: each cyclic choice of them comes once.

    Args:
        y (Tensor): labels of an episode, [1, N] int, as often 0 as each other class.
        support (int): images of its support.
        dtype (paddle.dtype): of the results.

    Returns:
        tuple[Tensor, Tensor]: what takes embeddings [1, N, D] to the prototypes of all turns,
        [1, drawings * way, N], and 1 where an image is a query of a turn, [drawings, N].
    """
    of_class = F.one_hot(y[0], int(y.max()) + 1).T.astype("int64")  # [way, N]
    way, drawings = len(of_class), y.shape[1] // len(of_class)
    place = (of_class.cumsum(axis=1) * of_class).sum(axis=0) - 1  # within its class, [N]
    first = paddle.arange(drawings).unsqueeze(1)
    in_support = ((place - first) % drawings < support // way).astype(dtype)  # [drawings, N]
    means = of_class.astype(dtype) * in_support.unsqueeze(1) * (way / support)
    return means.reshape([1, drawings * way, -1]), 1 - in_support
