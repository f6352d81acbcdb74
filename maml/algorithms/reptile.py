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

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import paddle
from paddle import Tensor

from maml import functional as fn
from maml.data.tasks import TaskBatch
from maml.networks.base import Network

BETA2, EPSILON = 0.999, 1e-8


class Adapted(NamedTuple):
    """Weights W of each task, and its support, whose statistics inductive prediction uses."""

    weights: list[Tensor]
    support_x: Tensor


class Reptile:
    """Reptile on `network`.

    inner_lr, inner_optimizer ("sgd", or "adam" with beta1 = 0), inner_steps, inner_batch (images):
    of U in training; steps_test, batch_test: of U afterwards, batch_test 0, or more than there are,
    for all of the support; outer_optimizer: "sgd", which is Algorithm 2, or "adam"; epsilon: its
    rate; inductive: batch normalisation predicts a query with the statistics of the support and
    this one image, as the authors do, instead of the query batch's own; augment: what adaptation in
    tests makes of a support and its labels; loss: of outputs [T, N, ...] and targets, [T]; average:
    of tensors [T, ...] over the tasks of all processes.
    """

    embeds_alone = False  # each task has weights of its own
    # about as many query images are passed through at once: more do not stay in the processor's
    # cache
    QUERY_IMAGES = 100

    def __init__(
        self,
        network: Network,
        inner_lr: float,
        epsilon: float,
        inner_steps: int,
        inner_batch: int,
        steps_test: int,
        batch_test: int,
        inner_optimizer: str = "adam",
        outer_optimizer: str = "sgd",
        inductive: bool = False,
        augment: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = lambda x, y: (x, y),
        loss: Callable[[Tensor, Tensor], Tensor] = fn.cross_entropy,
        average: Callable[[Sequence[Tensor]], list[Tensor]] = fn.mean_over_tasks,
    ):
        self.network, self.theta, self.inner_lr, self.inner_optimizer = (
            network,
            network.theta,
            inner_lr,
            inner_optimizer,
        )
        self.inner_steps, self.inner_batch, self.steps_test, self.batch_test = (
            inner_steps,
            inner_batch,
            steps_test,
            batch_test,
        )
        self.inductive, self.augment, self.loss, self.average = inductive, augment, loss, average
        outer = {"sgd": paddle.optimizer.SGD, "adam": paddle.optimizer.Adam}[outer_optimizer]
        self.optimizer = outer(epsilon, parameters=self.theta)

    def inner_loop(
        self, x: Tensor, y: Tensor, steps: int, batch: int
    ) -> Iterator[tuple[list[Tensor], Tensor]]:
        """U^k for k = 1 .. steps on mini-batches that cycle through the support (which stands in
        random order): W and losses [T].
        """

        @cache  # the cycle comes back to mini-batches that it had
        def mini_batch(start: int) -> tuple[Any, Tensor]:
            order = paddle.arange(start, start + batch) % x.shape[1]
            return self.network.prepare(x.index_select(order, axis=1)), y.index_select(
                order, axis=1
            )

        w = fn.for_each_task(self.theta, x.shape[0])
        square = [paddle.zeros_like(p) for p in w]
        for k in range(1, steps + 1):
            batch_x, batch_y = mini_batch((k - 1) * batch % x.shape[1])
            losses = self.loss(self.network(batch_x, w), batch_y)
            gradient = paddle.grad(losses.sum(), w)
            if (
                self.inner_optimizer == "adam"
            ):  # Kingma & Ba 2015, Algorithm 1, without the first moment
                square = [BETA2 * s + (1 - BETA2) * g * g for s, g in zip(square, gradient)]
                gradient = [
                    g / (paddle.sqrt(s / (1 - BETA2**k)) + EPSILON)
                    for g, s in zip(gradient, square)
                ]
            w = fn.leaves(fn.descend(w, gradient, [self.inner_lr] * len(w)))
            yield w, losses.detach()

    def meta_step(self, tasks: TaskBatch) -> dict[str, float]:
        """One outer update on the support of a `TaskBatch`; the loss is that of the last inner
        mini-batch.
        """
        *_, (w, losses) = self.inner_loop(
            *map(paddle.to_tensor, tasks[:2]), self.inner_steps, self.inner_batch
        )
        loss, *mean = self.average([losses, *w])
        return fn.apply_gradient(
            self.optimizer, self.theta, [phi - m for phi, m in zip(self.theta, mean)], loss
        )

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Iterator[Adapted]:
        """phi, then W after each of `steps_test` mini-batches of the support [T, way * shot, 1, H,
        W].
        """
        support_x, support_y = self.augment(support_x, support_y)
        yield Adapted(fn.for_each_task(self.theta, support_x.shape[0]), support_x)
        images = support_x.shape[1]
        for w, _ in self.inner_loop(
            support_x, support_y, self.steps_test, min(self.batch_test or images, images)
        ):
            yield Adapted(w, support_x)

    def predict(self, adapted: Adapted, query_x: Tensor) -> Tensor:
        """Scores [T, N, way] of query images [T, N, 1, H, W]."""
        with paddle.no_grad():
            if not self.inductive:
                size = max(1, self.QUERY_IMAGES // query_x.shape[1])
                return fn.in_parts(lambda w, x: self.network(x, w), size, adapted.weights, query_x)
            each = [
                self.network(
                    paddle.concat([adapted.support_x, query_x[:, n : n + 1]], axis=1),
                    adapted.weights,
                )[:, -1:]
                for n in range(query_x.shape[1])
            ]
            return paddle.concat(each, axis=1)

    def represent(self, adapted: Adapted, x: Tensor) -> Tensor:
        """Embeddings [T, N, D] of images [T, N, 1, H, W]."""
        with paddle.no_grad():
            return self.network.represent(x, adapted.weights)
