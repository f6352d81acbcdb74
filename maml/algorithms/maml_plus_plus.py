"""How To Train Your MAML (Antoniou, Edwards & Storkey 2019), section 4: MAML++.

theta_0 is theta, and theta_k the weights of a task after k of K inner updates:

    MSL     theta <- theta - beta grad sum_i sum_k v_k L_Ti(theta_k)     loss after every step
    BNWB    gamma_k and beta_k of batch normalisation for each theta_k   scale and shift by step
    DA      first-order gradients in the first meta-iterations           annealed order
    LSLR    alpha for each update and tensor                             learned_rates of `MAML`

gamma_k and beta_k are learned by the outer loop alone: they neither adapt nor have an alpha. They
influence theta_k+1 only through the inner gradient. First order takes this gradient for a constant,
so it trains those gamma_k and beta_k alone whose query loss counts.

Deviations from the paper, with reasons:
 1. gamma and beta belong to theta_k, k = 0 to K, in each pass with these weights. The authors' code
    has K of them and measures theta_k on the queries with those of the support pass before.
 2. v_k changes at each meta-iteration, where the authors' code changes it after an epoch of 500.
 3. BNRS, running statistics for each step, has no place where batch normalisation uses a batch's
    statistics (or in inductive tests those of the support), as in the authors' code.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from paddle import Tensor

from maml.algorithms.maml import MAML
from maml.networks.base import Network, parameter
from maml.system.errors import UserError

NORM = (".gamma", ".beta")  # how the names of batch normalisation's parameters end


class MAMLPlusPlus(MAML):
    """Train a network by MAML++, each part of which is a switch.

    Args:
        network (Network): the network that adapts, with a classifier.
        alpha, beta, steps, steps_test: see `MAML`.
        per_step_norm (bool): gamma and beta of batch normalisation for each theta_k; updates beyond
            those of training repeat the last ones.
        multi_step_loss (int): meta-iterations in which every theta_k counts, less and less but for
            the last; 0 for the last alone.
        first_order_until (int): meta-iterations without second derivatives.
        **options: first_order, learned_rates, adapt, clip, temperature; see `MAML`.

    Example:
        >>> import numpy as np, maml
        >>> rng = np.random.default_rng(0)
        >>> learner = maml.MAMLPlusPlus(maml.ConvNet(5, rng), 0.1, 1e-3, 2, 2, multi_step_loss=10)
        >>> learner.loss_weights
        [0.5, 0.5]
        >>> learner.iteration = 10
        >>> learner.loss_weights
        [0.0, 1.0]
    """

    def __init__(
        self,
        network: Network,
        alpha: float,
        beta: float,
        steps: int,
        steps_test: int,
        *,
        per_step_norm: bool = False,
        multi_step_loss: int = 0,
        first_order_until: int = 0,
        **options: Any,
    ):
        self.multi_step_loss, self.first_order_until = multi_step_loss, first_order_until
        self.norm: list[int] = []  # places in theta, where gamma_0 and beta_0 are
        if per_step_norm:
            self.norm = [i for i, name in enumerate(network.names) if name.endswith(NORM)]
            if not self.norm:
                raise UserError("per_step_norm needs a network with batch normalisation")
        # gamma_k and beta_k of k = 1 to K, [K, ...] each
        self.later = [
            parameter(np.zeros([steps, *network.theta[i].shape]), like=network.theta[i])
            for i in self.norm
        ]
        super().__init__(network, alpha, beta, steps, steps_test, **options)
        self.adapted = [i for i in self.adapted if i not in self.norm]
        if not self.adapted:
            raise UserError("adapt names nothing but what per_step_norm keeps from adapting")
        self.repeat_norm()

    def repeat_norm(self) -> None:
        """Let every theta_k have the gamma and beta of theta_0."""
        for i, later in zip(self.norm, self.later):
            first = self.network.theta[i].numpy()
            later.set_value(np.repeat(first[None], self.steps, axis=0))

    @property
    def rated(self) -> list[int]:
        """All of theta but gamma and beta by step."""
        return [i for i in super().rated if i not in self.norm]

    @property
    def meta_parameters(self) -> list[Tensor]:
        """theta, gamma_k and beta_k of k = 1 to K, and the learned rates, if there are any."""
        return self.network.theta + self.later + self.learned

    @property
    def second_order(self) -> bool:
        """Whether the next meta-gradient has second derivatives: DA."""
        return super().second_order and self.iteration >= self.first_order_until

    @property
    def loss_weights(self) -> list[float]:
        """v_k of the next meta-gradient, k = 1 to K: MSL, as the authors' code anneals them.

        From 1 / K on, all but the last fall along a line to 3% of it, and end at
        `multi_step_loss`.
        """
        if self.iteration >= self.multi_step_loss:
            return super().loss_weights
        share = max(1 - self.iteration / self.multi_step_loss, 0.03)
        early = [share / self.steps] * (self.steps - 1)
        return [*early, 1 - sum(early)]

    def for_pass(self, theta: list[Tensor], rest: list[Tensor], k: int) -> list[Tensor]:
        """theta with gamma_k and beta_k, k = 1, 2, ..., in their places: BNWB."""
        theta = list(theta)
        for i, later in zip(self.norm, rest):
            theta[i] = later[:, min(k, self.steps) - 1]
        return theta
