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

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import paddle
from paddle import Tensor, nn

from maml import functional as fn
from maml.algorithms.gradient import Adapted, GradientLearner
from maml.data.tasks import TaskBatch
from maml.networks.base import Network
from maml.networks.from_layer import LayerNetwork
from maml.system.errors import UserError


class MAML(GradientLearner):
    """Train a network by MAML.

    Args:
        network (Network): the network that adapts, with a classifier; `theta` are its weights.
        alpha (float): inner learning rate; with `learned_rates`, its initial value.
        beta (float): learning rate of the outer Adam.
        steps (int): inner updates in training, K.
        steps_test (int): inner updates afterwards.
        first_order (bool): leave the second derivatives out of the meta-gradient (FOMAML).
        learned_rates (bool): learn alpha for each inner update and each tensor of theta.
        adapt (Sequence[str]): patterns of the names of the parameters that the inner loop adapts,
            such as "classifier.*" (ANIL: Raghu, Raghu, Bengio & Vinyals 2020); none for all.
        clip (float): largest norm of a task's contribution to the meta-gradient; 0 for no limit.
        **shared: transductive, augment, loss, average; see `GradientLearner`.

    Example:
        >>> import numpy as np, maml
        >>> rng = np.random.default_rng(0)
        >>> learner = maml.MAML(maml.ConvNet(5, rng), alpha=0.4, beta=1e-3, steps=1, steps_test=3)
        >>> sampler = maml.TaskSampler(np.zeros([9, 20, 1, 28, 28], np.uint8), 5, 1, 5, rng)
        >>> metrics = learner.meta_step(sampler.sample(2))
        >>> sorted(metrics)
        ['gradient norm', 'loss']
    """

    TASKS = 8  # adapt at once: more need more memory, fewer spend more time on calls

    def __init__(
        self,
        network: Network,
        alpha: float,
        beta: float,
        steps: int,
        steps_test: int,
        *,
        first_order: bool = False,
        learned_rates: bool = False,
        adapt: Sequence[str] = (),
        clip: float = 0.0,
        **shared: Any,
    ):
        super().__init__(network, **shared)
        self.alpha, self.steps, self.steps_test = alpha, steps, steps_test
        self.first_order, self.clip = first_order, clip
        self.adapted = self._matching(adapt)  # places in theta
        # PaddlePaddle differentiates operations of our own with respect to all that they depend
        # on, so that only the classifier, which is a plain product, can be taken by itself
        last = len(network.theta) - 2
        alone = not isinstance(network, LayerNetwork) and min(self.adapted) >= last
        self.differentiated = self.adapted if alone else list(range(len(network.theta)))
        self.learned = [self._initial_rates()] if learned_rates else []
        self.optimizer = paddle.optimizer.Adam(beta, parameters=self.meta_parameters)

    def _matching(self, patterns: Sequence[str]) -> list[int]:
        """The places in theta of the parameters that the patterns name."""
        if not patterns:
            return list(range(len(self.network.theta)))
        names = self.network.names
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise UserError(f"adapt: no parameter is named {pattern}; there are {names}")
        return [i for i, name in enumerate(names) if any(fnmatchcase(name, p) for p in patterns)]

    def _initial_rates(self) -> Tensor:
        """alpha of each update and tensor of theta, [steps, tensors], as a parameter."""
        theta = self.network.theta
        alphas = np.full([self.steps, len(theta)], self.alpha, theta[0].numpy().dtype)
        initial = nn.initializer.Assign(alphas)
        return paddle.create_parameter(alphas.shape, theta[0].dtype, default_initializer=initial)

    @property
    def meta_parameters(self) -> list[Tensor]:
        """theta, and the learned rates if there are any."""
        return self.network.theta + self.learned

    def rates(self, learned: list[Tensor], k: int) -> list[float | Tensor]:
        """alpha of update k = 0, 1, ... for each tensor of theta.

        `learned` holds each task's copy of the learned rates, [T, steps, tensors].
        """
        if not learned:
            return [self.alpha] * len(self.network.theta)
        alphas = learned[0][:, min(k, self.steps - 1)].unbind(axis=1)
        return [
            a.reshape([-1] + [1] * p.ndim)  # [T, 1, ...]
            for a, p in zip(alphas, self.network.theta)
        ]

    def inner_update(
        self,
        theta: list[Tensor],
        alpha: list[float | Tensor],
        x: Any,
        y: Tensor,
        create_graph: bool,
    ) -> list[Tensor]:
        """theta' = theta - alpha grad L(theta), for each task.

        With `create_graph` it is a function of theta and alpha, else values alone.
        """
        if len(self.adapted) < len(self.differentiated):
            # what stays is theta in every update: its gradient here is that of this update alone
            theta = [p if i in self.adapted else p * 1.0 for i, p in enumerate(theta)]
        losses = self.loss(self.network(x, theta, twice=create_graph), y)  # [T]
        # no two tasks share a weight, so this is each task's own gradient
        asked = [theta[i] for i in self.differentiated]
        gradient = paddle.grad(losses.sum(), asked, create_graph=create_graph)
        theta = list(theta)
        for i, g in zip(self.differentiated, gradient):
            if i in self.adapted:
                theta[i] = theta[i] - alpha[i] * g
        return theta if create_graph else fn.leaves(theta)

    def meta_gradient(
        self, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Query losses [T] at theta', and the gradient of each with respect to theta, [T, ...]."""
        theta, learned = self._copies(support_x.shape[0])
        x = self.network.prepare(support_x)
        adapted = theta
        for k in range(self.steps):  # line 6
            rates = self.rates(learned, k)
            second_order = not self.first_order
            adapted = self.inner_update(adapted, rates, x, support_y, create_graph=second_order)
        losses, gradient = self.query_gradient(adapted, query_x, query_y)  # grad L(theta')
        if not self.first_order:
            # times d theta' / d theta, the product of the K steps' (I - alpha H),
            # and d theta' / d alpha
            gradient = paddle.grad(adapted, theta + learned, gradient)
        return losses, gradient

    def _copies(self, tasks: int) -> tuple[list[Tensor], list[Tensor]]:
        """theta and the learned rates, a copy for every task."""
        return fn.for_each_task(self.network.theta, tasks), fn.for_each_task(self.learned, tasks)

    def query_gradient(
        self, theta: list[Tensor], x: Tensor, y: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Query losses [T] and their gradients with respect to each task's theta."""

        def part(theta, x, y):  # needs no second derivative, so a few tasks at a time
            theta = fn.leaves(theta)
            losses = self.loss(self.network(x, theta), y)
            return losses.detach(), paddle.grad(losses.sum(), theta)

        return fn.in_parts(part, max(1, self.QUERY_IMAGES // x.shape[1]), theta, x, y)

    def meta_step(self, tasks: TaskBatch) -> dict[str, float]:
        """Take one outer update on a `TaskBatch` (line 8); return loss, gradient norm and rates."""
        losses, gradient = fn.in_parts(
            self.meta_gradient, self.TASKS, *map(paddle.to_tensor, tasks)
        )
        if self.clip:
            gradient = fn.clip_by_task(gradient, self.clip)
        loss, *gradient = self.average([losses, *gradient])
        metrics = fn.apply_gradient(self.optimizer, self.meta_parameters, gradient, loss)
        for alpha in self.learned:
            for k, mean in enumerate(alpha.mean(axis=1).numpy(), 1):
                metrics[f"inner rate, update {k}"] = float(mean)
        return metrics

    def test_steps(self, support_x: Tensor, support_y: Tensor) -> Iterator[list[Tensor]]:
        """Yield theta' after each of `steps_test` updates."""
        theta, learned = self._copies(support_x.shape[0])
        x = self.network.prepare(support_x)
        for k in range(self.steps_test):
            rates = self.rates(learned, k)
            theta = self.inner_update(theta, rates, x, support_y, create_graph=False)
            yield theta

    def inductive(self, adapted: Adapted, query_x: Tensor) -> Tensor:
        """Scores of queries with the statistics of the support."""
        statistics: list[fn.Statistics] = []
        self.network(adapted.support_x, adapted.theta, record=statistics)

        def scores(x, theta, statistics):
            return self.network(x, theta, [fn.Statistics(*layer) for layer in statistics])

        return self.in_parts(scores, query_x, adapted.theta, statistics)
