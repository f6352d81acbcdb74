"""Model-Agnostic Meta-Learning (Finn, Abbeel & Levine 2017), exact second order, or first order by
one switch.

Algorithm 2, few-shot supervised learning, for a meta-batch of tasks T_i:

    theta'_i = theta - alpha grad L_Ti(theta)           line 7, K times
    theta   <- theta - beta grad sum_i L_Ti(theta'_i)   line 10, by Adam as the authors do

All tasks adapt together: theta and theta' are lists of tensors with a leading task axis.

alpha may be learned along with theta, one for each update and each tensor of theta (MAML++:
Antoniou, Edwards & Storkey 2019, section 4, LSLR); updates beyond those of training repeat the last
one's.

The scores f of queries may be divided by a temperature tau, those of the support never:

    L_Ti(theta'_i) = cross-entropy of softmax(f / tau)

The query loss asks for large scores. With tau = 1 the inner loop has to make them, and its first
update leaves a support loss near 0, so that later updates have no gradient to follow.

Deviations from the paper, with reasons:
 1. The meta-gradient is the tasks' mean, not their sum, so that beta does not depend on the size of
    the meta-batch; Adam is blind to the difference.
 2. No convolution biases: batch normalisation subtracts them again.
 3. tau, which the paper does not have (1, the default, is the paper's): with 0.2, 20-way 1-shot
    tasks gain 1.5 points (benchmarks/experiments.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import paddle
from paddle import Tensor

from maml import functional as fn
from maml.algorithms.gradient import Adapted, GradientLearner
from maml.data.tasks import TaskBatch
from maml.networks.base import Network, parameter
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
        temperature (float): tau, by which scores of queries are divided.
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

    TASKS, PIXELS = 8, 28**2
    """tasks of images of so many pixels that adapt at once, of larger images fewer: more need more
    memory, fewer spend more time on calls"""

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
        temperature: float = 1.0,
        **shared: Any,
    ):
        super().__init__(network, **shared)
        self.temperature = temperature
        self.alpha, self.steps, self.steps_test = alpha, steps, steps_test
        self.first_order, self.clip = first_order, clip
        self.adapted = self._matching(adapt)  # places in theta
        # PaddlePaddle differentiates operations of our own with respect to all that they depend
        # on, so that only the classifier, which is a plain product, can be taken by itself
        last = len(network.theta) - 2
        alone = not isinstance(network, LayerNetwork) and min(self.adapted) >= last
        self.differentiated = self.adapted if alone else list(range(len(network.theta)))
        alphas = np.full([steps, len(self.rated)], alpha)
        self.learned = [parameter(alphas, like=network.theta[0])] if learned_rates else []
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

    @property
    def rated(self) -> list[int]:
        """The places in theta of what has inner learning rates."""
        return list(range(len(self.network.theta)))

    @property
    def meta_parameters(self) -> list[Tensor]:
        """theta, and the learned rates if there are any."""
        return self.network.theta + self.learned

    @property
    def second_order(self) -> bool:
        """Whether the next meta-gradient has second derivatives."""
        return not self.first_order

    @property
    def loss_weights(self) -> list[float]:
        """How much the query loss after each of the K updates counts in the next meta-gradient."""
        return [0.0] * (self.steps - 1) + [1.0]

    def rates(self, rest: list[Tensor], k: int) -> dict[int, float | Tensor]:
        """alpha of update k = 0, 1, ... by place in theta, for what adapts."""
        if not self.learned:
            return dict.fromkeys(self.adapted, self.alpha)
        alphas = rest[-1][:, min(k, self.steps - 1)].unbind(axis=1)  # [T] each
        shapes = {i: [-1] + [1] * self.network.theta[i].ndim for i in self.adapted}
        return {i: a.reshape(shapes[i]) for i, a in zip(self.rated, alphas) if i in shapes}

    def for_pass(self, theta: list[Tensor], rest: list[Tensor], k: int) -> list[Tensor]:
        """theta as forward pass k = 0, 1, ... of a task takes it, before what adapts has moved."""
        return list(theta)

    def inner_update(
        self,
        theta: list[Tensor],
        rest: list[Tensor],
        k: int,
        x: Any,
        y: Tensor,
        second_order: bool,
    ) -> list[Tensor]:
        """theta' = theta - alpha grad L(theta), update k = 0, 1, ... of each task.

        `rest` are each task's copies of the meta-parameters beside theta. Without `second_order`
        the gradient is taken for a constant.
        """
        at = theta if second_order else fn.leaves(theta)
        losses = self.loss(self.network(x, at, twice=second_order), y)  # [T]
        # no two tasks share a weight, so this is each task's own gradient
        asked = [at[i] for i in self.differentiated]
        gradient = paddle.grad(losses.sum(), asked, create_graph=second_order)
        alpha, theta = self.rates(rest, k), self.for_pass(theta, rest, k + 1)
        for i, g in zip(self.differentiated, gradient):
            # alpha is 0 for what stays: with nothing in its place, PaddlePaddle 2.6 crashes where
            # an operation of our own has a gradient that is not used
            theta[i] = theta[i] - alpha.get(i, 0.0) * g
        return theta

    def meta_gradient(
        self, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Query losses [T] at theta', and their gradients with respect to each task's copy of
        theta and the other meta-parameters, [T, ...]."""
        theta, rest = self._copies(support_x.shape[0])
        start, x = theta + rest, self.network.prepare(support_x)
        losses, products = [], []
        for k, weight in enumerate(self.loss_weights):
            theta = self.inner_update(theta, rest, k, x, support_y, self.second_order)  # line 7
            if weight:
                loss, gradient = self.query_gradient(theta, query_x, query_y)  # grad L(theta')
                losses.append(weight * loss)
                products += [weight * (p * g).sum() for p, g in zip(theta, gradient)]
        # grad L(theta') times d theta' / d theta, the product of the steps' (I - alpha H), or I for
        # first order, and times d theta' / d alpha
        found = paddle.grad(paddle.add_n(products), start, allow_unused=True)
        gradient = [paddle.zeros_like(p) if g is None else g for p, g in zip(start, found)]
        return paddle.add_n(losses), gradient

    def _copies(self, tasks: int) -> tuple[list[Tensor], list[Tensor]]:
        """theta and the other meta-parameters, a copy for every task."""
        copies, size = fn.for_each_task(self.meta_parameters, tasks), len(self.network.theta)
        return copies[:size], copies[size:]

    def query_gradient(
        self, theta: list[Tensor], x: Tensor, y: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Query losses [T] and their gradients with respect to each task's theta."""

        def part(theta, x, y):  # needs no second derivative, so a few tasks at a time
            theta = fn.leaves(theta)
            losses = self.loss(self.network(x, theta) / self.temperature, y)
            return losses.detach(), paddle.grad(losses.sum(), theta)

        return fn.in_parts(part, max(1, self.QUERY_IMAGES // x.shape[1]), theta, x, y)

    def meta_step(self, tasks: TaskBatch) -> dict[str, float]:
        """Take one outer update on a `TaskBatch` (line 10); return what was measured."""
        pixels = max(math.prod(tasks.support_x.shape[3:]), self.PIXELS)
        at_once = max(1, self.TASKS * self.PIXELS // pixels)
        losses, gradient = fn.in_parts(self.meta_gradient, at_once, *map(fn.as_tensor, tasks))
        if self.clip:
            gradient = fn.clip_by_task(gradient, self.clip)
        loss, *gradient = self.average([losses, *gradient])
        metrics = fn.apply_gradient(self.optimizer, self.meta_parameters, gradient, loss)
        self.iteration += 1
        for alpha in self.learned:
            for k, mean in enumerate(alpha.mean(axis=1).numpy(), 1):
                metrics[f"inner rate, update {k}"] = float(mean)
        return metrics

    def test_steps(self, support_x: Tensor, support_y: Tensor) -> Iterator[list[Tensor]]:
        """Yield theta' after each of `steps_test` updates."""
        theta, rest = self._copies(support_x.shape[0])
        x = self.network.prepare(support_x)
        for k in range(self.steps_test):
            theta = self.inner_update(theta, rest, k, x, support_y, second_order=False)
            theta = fn.leaves(theta)
            yield theta

    def inductive(self, forward: Callable, adapted: Adapted, query_x: Tensor) -> Tensor:
        """What `forward` makes of queries with the statistics of the support."""
        statistics: list[fn.Statistics] = []
        self.network(adapted.support_x, adapted.theta, record=statistics)

        def of_part(x, theta, statistics):
            return forward(x, theta, [fn.Statistics(*layer) for layer in statistics])

        return self.in_parts(of_part, query_x, adapted.theta, statistics)
