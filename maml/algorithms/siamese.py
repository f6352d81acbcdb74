"""Siamese networks: one encoder h for both images of a pair, trained on pairs (Koch, Zemel &
Salakhutdinov 2015) or triplets (Schroff, Kalenichenko & Philbin 2015).

    p(x_1, x_2) = sigmoid(sum_j alpha_j |h_1,j - h_2,j| + beta)             Koch, section 3.1
    L = -y log p - (1 - y) log(1 - p) + lambda^T |w|^2, y = 1: same class   section 3.2
    C* = argmax over c of p(x, x_c)                                         section 4.3

    L = max(0, |h_a - h_p|^2 - |h_a - h_n|^2 + margin), |h| = 1             Schroff, eq. 2
    semi-hard: n = argmin of |h_a - h_n|^2 among those > |h_a - h_p|^2      section 3.2, eq. 4

L is of a pair, and half the pairs are of the same class; of a triplet, a is the anchor, p the
positive, n the negative.

A training episode has one support and one query image a class: support k is the anchor, query k the
positive, and query k + 1 a random negative (labels are random, so this is of a random class).

Deviations from the papers, with reasons:
 1. Koch et al. draw as many pairs of different classes as of the same. Here all pairs of the
    batch's images stand for those that might have been drawn, weighted to half: the same loss in
    the mean, with less noise, for the price of a few subtractions.
 2. Of several support images a class, the mean of their scores counts; both papers have one.
 3. lambda is 0 for all networks but Koch's own.
 4. Adam is the optimizer, as for all methods here; Koch et al. have momentum and a rate for each
    layer.
 5. Where no negative is semi-hard, all being nearer than the positive, the farthest is taken, on
    which Schroff et al. are silent.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from maml import functional as fn
from maml.algorithms.metric import MetricLearner, members
from maml.networks.base import Network


def by_label(z: Tensor, y: Tensor) -> Tensor:
    """Return embeddings [T, N, D] of one image a class in the order of their labels [T, N]."""
    return paddle.matmul(members(y, y.shape[1], z.dtype), z, transpose_x=True)


def semi_hard(distance: Tensor) -> Tensor:
    """Return the negative's index for each anchor, [T, N].

    `distance` [T, N, N] is squared, from anchors (rows) to images; positives are on the diagonal.
    """
    own = paddle.eye(distance.shape[1]).astype("bool").unsqueeze(0).expand(distance.shape)
    positive = paddle.diagonal(distance, axis1=1, axis2=2).unsqueeze(-1)  # [T, N, 1]
    farther = paddle.logical_and(distance > positive, ~own)
    nothing = paddle.full_like(distance, float("inf"))
    return paddle.where(
        farther.any(axis=-1),
        paddle.where(farther, distance, nothing).argmin(axis=-1),
        paddle.where(own, -nothing, distance).argmax(axis=-1),
    )


class Siamese(MetricLearner):
    """Classify a query by its mean similarity to each class's support."""

    @abstractmethod
    def similarity(self, h_1: Tensor, h_2: Tensor) -> Tensor:
        """Return similarities [T, N_1, N_2] of h [T, N_1, D] and h [T, N_2, D]."""

    def learn(self, z_support: Tensor, y_support: Tensor) -> tuple[Tensor, Tensor]:
        """Return h of the support, and each image's share in its class's score, [T, N_S, way]."""
        of_class = members(y_support, int(y_support.max()) + 1, z_support.dtype)
        return z_support, of_class / of_class.sum(axis=1, keepdim=True)

    def scores(self, learned: tuple[Tensor, Tensor], z_query: Tensor) -> Tensor:
        z_support, share = learned
        return paddle.matmul(self.similarity(z_query, z_support), share)


class Pairs(Siamese):
    """Train a Siamese network on pairs.

    Args:
        network (Network): the encoder h, a network without a classifier.
        outer_lr (float): learning rate of Adam.
        deviation (float | None): standard deviation of alpha's initial values; None for Paddle's
            usual ones (Glorot & Bengio 2010).
        **options: see `MetricLearner`.

    Example:
        >>> import numpy as np, maml
        >>> rng = np.random.default_rng(0)
        >>> encoder = maml.ConvNet(None, rng, pooled=True)
        >>> learner = maml.Pairs(encoder, outer_lr=1e-3)
        >>> sampler = maml.TaskSampler(np.zeros([9, 20, 1, 28, 28], np.uint8), 5, 1, 1, rng)
        >>> sorted(learner.meta_step(sampler.sample(1)))
        ['gradient norm', 'loss']
    """

    def __init__(
        self,
        network: Network,
        outer_lr: float,
        deviation: float | None = None,
        **options: Any,
    ):
        normal = nn.initializer.Normal(0.0, deviation) if deviation else None
        alpha = nn.Linear(network.features, 1, weight_attr=normal)
        alpha.to(dtype=network.theta[0].dtype)
        super().__init__(network, outer_lr, head=alpha, **options)
        self.alpha = alpha

    def logits(self, h_1: Tensor, h_2: Tensor) -> Tensor:
        """Return the logits [T, N, M] of p for pairs of h_1 [T, N, D] and h_2 [T, M, D].

        beta is the bias of `alpha`.
        """
        return self.alpha(fn.absolute_differences(h_1, h_2)).squeeze(-1)

    def losses(
        self, z_support: Tensor, y_support: Tensor, z_query: Tensor, y_query: Tensor
    ) -> Tensor:
        logits = self.similarity(by_label(z_support, y_support), by_label(z_query, y_query))
        way = logits.shape[1]  # of logits [T, way, way]
        same = paddle.eye(way, dtype=logits.dtype)
        of_same = F.softplus(-logits) * same / way  # -log p, a mean over pairs of one class
        of_others = F.softplus(logits) * (1 - same) / (way * (way - 1))  # -log(1 - p)
        return (of_same + of_others).sum(axis=[1, 2]) / 2

    def similarity(self, h_1: Tensor, h_2: Tensor) -> Tensor:
        # a task at a time: all differences at once fill much memory
        return fn.in_parts(self.logits, 1, h_1, h_2)


class Triplets(Siamese):
    """Train a Siamese network on triplets.

    Args:
        network (Network): the encoder h, a network without a classifier.
        outer_lr (float): learning rate of Adam.
        margin (float): between squared distances of embeddings of length 1, which are 0 to 4.
        negatives (str): "random" or "semi-hard".
        **options: see `MetricLearner`.

    Example:
        >>> import numpy as np, maml
        >>> rng = np.random.default_rng(0)
        >>> encoder = maml.ConvNet(None, rng, pooled=True)
        >>> learner = maml.Triplets(encoder, outer_lr=1e-3, margin=0.5)
        >>> sampler = maml.TaskSampler(np.zeros([9, 20, 1, 28, 28], np.uint8), 5, 1, 1, rng)
        >>> sorted(learner.meta_step(sampler.sample(1)))
        ['gradient norm', 'loss']
    """

    def __init__(
        self,
        network: Network,
        outer_lr: float,
        margin: float,
        negatives: str = "random",
        **options: Any,
    ):
        super().__init__(network, outer_lr, **options)
        self.margin, self.negatives = margin, negatives

    def losses(
        self, z_support: Tensor, y_support: Tensor, z_query: Tensor, y_query: Tensor
    ) -> Tensor:
        anchors, images = by_label(z_support, y_support), by_label(z_query, y_query)
        distance = -self.similarity(anchors, images)  # [T, N, N], anchors in rows
        way = distance.shape[1]
        random = (paddle.arange(way) + 1) % way  # the next label's class
        negative = random.unsqueeze(0)  # [T, N]
        if self.negatives == "semi-hard":
            negative = semi_hard(distance.detach())
        d_n = (distance * F.one_hot(negative, way).astype(distance.dtype)).sum(axis=-1)  # [T, N]
        return F.relu(paddle.diagonal(distance, axis1=1, axis2=2) - d_n + self.margin).mean(axis=-1)

    def similarity(self, h_1: Tensor, h_2: Tensor) -> Tensor:
        return fn.negative_squared_distance(fn.normalized(h_1), fn.normalized(h_2))
