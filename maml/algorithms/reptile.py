"""Reptile (Nichol, Achiam & Schulman 2018).

    W_i = U^k_Ti(phi), k steps of SGD or Adam on task i                   Algorithm 2, line 5
    phi <- phi + epsilon 1/n sum_i (W_i - phi)                            line 7
    or a step of Adam along phi - 1/n sum_i W_i in the gradient's place   section 2

With n = 1 this is Algorithm 1.

Deviations from the paper, with reasons:
 1. The inner optimizer's state is fresh for each task. The authors' code carries Adam's second
    moments from task to task; fresh ones let tasks adapt side by side and depend on nothing but
    phi.
 2. The outer update is written as a step of SGD along phi - W, the gradient's place that the paper
    gives it in section 2, so that the training loop treats it as it treats the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import paddle
from paddle import Tensor

from maml import functional as fn
from maml.algorithms.gradient import Adapted, GradientLearner
from maml.data.tasks import TaskBatch
from maml.networks.base import Network

BETA2, EPSILON = 0.999, 1e-8


class Reptile(GradientLearner):
    """Train a network by Reptile.

    Args:
        network (Network): the network that adapts, with a classifier; phi are its weights.
        inner_lr (float): learning rate of U.
        epsilon (float): learning rate of the outer loop.
        inner_steps (int): steps of U in training, k.
        inner_batch (int): images in a mini-batch of U in training.
        steps_test (int): steps of U afterwards.
        batch_test (int): images in a mini-batch afterwards; 0, or more than there are, for all.
        inner_optimizer (str): "sgd", or "adam" with beta1 = 0.
        outer_optimizer (str): "sgd", which is Algorithm 2, or "adam".
        **shared: transductive, augment, loss, average; see `GradientLearner`. An inductive query is
            predicted with the statistics of the support and itself, as the authors do.

    Example:
        >>> import numpy as np, maml
        >>> rng = np.random.default_rng(0)
        >>> learner = maml.Reptile(maml.ConvNet(5, rng), inner_lr=0.1, epsilon=1.0, inner_steps=2,
        ...                        inner_batch=5, steps_test=2, batch_test=5)
        >>> sampler = maml.TaskSampler(np.zeros([9, 20, 1, 28, 28], np.uint8), 5, 5, 1, rng)
        >>> sorted(learner.meta_step(sampler.sample(2)))
        ['gradient norm', 'loss']
    """

    def __init__(
        self,
        network: Network,
        inner_lr: float,
        epsilon: float,
        inner_steps: int,
        inner_batch: int,
        steps_test: int,
        batch_test: int,
        *,
        inner_optimizer: str = "adam",
        outer_optimizer: str = "sgd",
        **shared: Any,
    ):
        super().__init__(network, **shared)
        self.inner_lr, self.inner_optimizer = inner_lr, inner_optimizer
        self.inner_steps, self.inner_batch = inner_steps, inner_batch
        self.steps_test, self.batch_test = steps_test, batch_test
        outer = {"sgd": paddle.optimizer.SGD, "adam": paddle.optimizer.Adam}[outer_optimizer]
        self.optimizer = outer(epsilon, parameters=network.theta)

    def inner_loop(
        self, x: Tensor, y: Tensor, steps: int, batch: int
    ) -> Iterator[tuple[list[Tensor], Tensor]]:
        """Yield W and losses [T] of U^k, k = 1 to `steps`.

        Mini-batches cycle through the support, which is in random order.
        """

        @cache  # the cycle comes back to mini-batches that it had
        def mini_batch(start: int) -> tuple[Any, Tensor]:
            order = paddle.arange(start, start + batch) % x.shape[1]
            batch_x, batch_y = x.index_select(order, axis=1), y.index_select(order, axis=1)
            return self.network.prepare(batch_x), batch_y

        w = fn.for_each_task(self.network.theta, x.shape[0])
        square = [paddle.zeros_like(p) for p in w]
        for k in range(1, steps + 1):
            batch_x, batch_y = mini_batch((k - 1) * batch % x.shape[1])
            losses = self.loss(self.network(batch_x, w), batch_y)
            gradient = paddle.grad(losses.sum(), w)
            if self.inner_optimizer == "adam":  # Kingma & Ba 2015, Algorithm 1, no first moment
                square = [BETA2 * s + (1 - BETA2) * g * g for s, g in zip(square, gradient)]
                corrected = [s / (1 - BETA2**k) for s in square]
                gradient = [g / (paddle.sqrt(s) + EPSILON) for g, s in zip(gradient, corrected)]
            w = fn.leaves(fn.descend(w, gradient, [self.inner_lr] * len(w)))
            yield w, losses.detach()

    def meta_step(self, tasks: TaskBatch) -> dict[str, float]:
        """Take one outer update on the support of a `TaskBatch` (line 7).

        The loss that it returns is that of the last inner mini-batch.
        """
        x, y = fn.as_tensor(tasks.support_x), fn.as_tensor(tasks.support_y)
        *_, (w, losses) = self.inner_loop(x, y, self.inner_steps, self.inner_batch)
        loss, *mean = self.average([losses, *w])
        phi = self.network.theta
        return fn.apply_gradient(self.optimizer, phi, [p - m for p, m in zip(phi, mean)], loss)

    def test_steps(self, support_x: Tensor, support_y: Tensor) -> Iterator[list[Tensor]]:
        """Yield W after each of `steps_test` mini-batches."""
        images = support_x.shape[1]
        batch = min(self.batch_test or images, images)
        for w, _ in self.inner_loop(support_x, support_y, self.steps_test, batch):
            yield w

    def inductive(self, forward: Callable, adapted: Adapted, query_x: Tensor) -> Tensor:
        """What `forward` makes of queries, each with the statistics of the support and itself."""
        each = []
        for n in range(query_x.shape[1]):
            x = paddle.concat([adapted.support_x, query_x[:, n : n + 1]], axis=1)
            each.append(forward(x, adapted.theta)[:, -1:])
        return paddle.concat(each, axis=1)
