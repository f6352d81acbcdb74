"""Model-Agnostic Meta-Learning (Finn, Abbeel & Levine 2017), exact second order, or first order by
one switch.

Algorithm 2, few-shot supervised learning, for a meta-batch of tasks T_i:

    theta'_i = theta - alpha grad L_Ti(theta)           line 6, K times
    theta   <- theta - beta grad sum_i L_Ti(theta'_i)   line 8, by Adam as the authors do

All tasks adapt together: theta and theta' are lists of tensors with a leading task axis.

alpha may be learned along with theta, one for each update and each tensor of theta (MAML++:
Antoniou, Edwards & Storkey 2019, section 4, LSLR); updates beyond those of training repeat the last
one's.

Deviations from the paper, with reasons:
 1. The meta-gradient is the tasks' mean, not their sum, so that beta does not depend on the size of
    the meta-batch; Adam is blind to the difference.
 2. No convolution biases: batch normalisation subtracts them again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import paddle
from paddle import Tensor, nn

from maml import functional as fn
from maml.data.tasks import TaskBatch
from maml.networks.base import Network


class Adapted(NamedTuple):
    """Weights theta' of each task, and the support images they were adapted on (whose statistics
    inductive prediction uses).
    """

    theta: list[Tensor]
    support: object


class MAML:
    """MAML on `network`.

    alpha: inner learning rate, or with `learned_rates` its initial value; steps, steps_test: inner
    updates in training and afterwards; beta: outer learning rate; clip: largest norm of one task's
    meta-gradient, 0 for none; inductive: batch normalisation predicts with the support's statistics
    instead of the query batch's own; augment: what adaptation in tests makes of a support and its
    labels; loss: of outputs [T, N, ...] and targets, [T]; average: of tensors [T, ...] over the
    tasks of all processes.
    """

    embeds_alone = False  # each task has weights of its own
    # that adapt at once: more take more memory for the inner loop's graph, fewer spend more on
    # calling operations
    TASKS = 8
    # about as many query images are passed through at once: more do not stay in the processor's
    # cache
    QUERY_IMAGES = 100

    def __init__(
        self,
        network: Network,
        alpha: float,
        beta: float,
        steps: int,
        steps_test: int,
        first_order: bool = False,
        clip: float = 0.0,
        inductive: bool = False,
        learned_rates: bool = False,
        augment: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = lambda x, y: (x, y),
        loss: Callable[[Tensor, Tensor], Tensor] = fn.cross_entropy,
        average: Callable[[list[Tensor]], list[Tensor]] = fn.mean_over_tasks,
    ):
        self.network = network
        alphas = np.full([steps, len(network.theta)], alpha, network.theta[0].numpy().dtype)
        self.learned = (
            [
                paddle.create_parameter(
                    alphas.shape,
                    str(alphas.dtype),
                    default_initializer=nn.initializer.Assign(alphas),
                )
            ]
            if learned_rates
            else []
        )
        self.theta = network.theta + self.learned
        self.alpha, self.steps, self.steps_test = alpha, steps, steps_test
        self.first_order, self.clip, self.inductive, self.augment = (
            first_order,
            clip,
            inductive,
            augment,
        )
        self.loss, self.average = loss, average
        self.optimizer = paddle.optimizer.Adam(beta, parameters=self.theta)

    def rates(self, learned: list[Tensor], k: int) -> list[float | Tensor]:
        """alpha of update k = 0, 1, ... for each tensor of theta; `learned`: each task's copies of
        `self.learned`.
        """
        if not learned:
            return [self.alpha] * len(self.network.theta)
        return [
            a.reshape([-1, 1, 1]) for a in learned[0][:, min(k, self.steps - 1)].unbind(axis=1)
        ]  # [T, 1, 1] each

    def inner_update(
        self,
        theta: list[Tensor],
        alpha: list[float | Tensor],
        x: Any,
        y: Tensor,
        create_graph: bool,
    ) -> list[Tensor]:
        """theta' = theta - alpha grad L(theta), for each task; a function of both with
        `create_graph`, else values alone.
        """
        losses = self.loss(self.network(x, theta, twice=create_graph), y)  # [T]
        gradient = paddle.grad(
            losses.sum(), theta, create_graph=create_graph
        )  # tasks share no weight: each one's own
        theta = fn.descend(theta, gradient, alpha)
        return theta if create_graph else fn.leaves(theta)

    def meta_gradient(
        self, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Query losses [T] at theta', and each task's gradient of its own with respect to theta,
        [T, ...] each.
        """
        theta, learned = (
            fn.for_each_task(params, support_x.shape[0])
            for params in (self.network.theta, self.learned)
        )
        x = self.network.prepare(support_x)
        adapted = theta
        for k in range(self.steps):
            adapted = self.inner_update(
                adapted, self.rates(learned, k), x, support_y, create_graph=not self.first_order
            )
        losses, gradient = self.query_gradient(adapted, query_x, query_y)  # grad L(theta')
        if not self.first_order:
            # times d theta' / d theta, the product of the K steps' (I - alpha H), and d theta' / d
            # alpha
            gradient = paddle.grad(adapted, theta + learned, gradient)
        return losses, gradient

    def query_gradient(
        self, theta: list[Tensor], x: Tensor, y: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Query losses [T] and their gradients with respect to each task's theta; they need no
        second derivative.
        """

        def part(theta, x, y):
            theta = fn.leaves(theta)
            losses = self.loss(self.network(x, theta), y)
            return losses.detach(), paddle.grad(losses.sum(), theta)

        return fn.in_parts(part, max(1, self.QUERY_IMAGES // x.shape[1]), theta, x, y)

    def meta_step(self, tasks: TaskBatch) -> dict[str, float]:
        """One outer update on a `TaskBatch`."""
        losses, gradient = fn.in_parts(
            self.meta_gradient, self.TASKS, *map(paddle.to_tensor, tasks)
        )
        if self.clip:
            gradient = fn.clip_by_task(gradient, self.clip)
        loss, *gradient = self.average([losses, *gradient])
        rates = {
            f"inner rate, update {k + 1}": float(a)
            for alpha in self.learned
            for k, a in enumerate(alpha.mean(axis=1).numpy())
        }
        return {**fn.apply_gradient(self.optimizer, self.theta, gradient, loss), **rates}

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Iterator[Adapted]:
        """theta, then theta' after each of `steps_test` updates on the support [T, way * shot, 1,
        H, W].
        """
        support_x, support_y = self.augment(support_x, support_y)
        x = self.network.prepare(support_x)
        theta, learned = (
            fn.for_each_task(params, support_x.shape[0])
            for params in (self.network.theta, self.learned)
        )
        yield Adapted(theta, x)
        for k in range(self.steps_test):
            theta = self.inner_update(
                theta, self.rates(learned, k), x, support_y, create_graph=False
            )
            yield Adapted(theta, x)

    def predict(self, adapted: Adapted, query_x: Tensor) -> Tensor:
        """Scores [T, N, way] of query images [T, N, 1, H, W]."""

        def part(theta, statistics, x):
            return self.network(x, theta, [fn.Statistics(*layer) for layer in statistics])

        statistics: list[fn.Statistics] = []
        with paddle.no_grad():
            if self.inductive:
                self.network(adapted.support, adapted.theta, record=statistics)
            return fn.in_parts(
                part,
                max(1, self.QUERY_IMAGES // query_x.shape[1]),
                adapted.theta,
                statistics,
                query_x,
            )

    def represent(self, adapted: Adapted, x: Tensor) -> Tensor:
        """Embeddings [T, N, D] of images [T, N, 1, H, W]."""
        with paddle.no_grad():
            return self.network.represent(x, adapted.theta)
