"""The networks: parameters as an explicit list, and the forward pass as a pure function of it.

`params` is a list of tensors whose leading axis is the task: [T, ...], where T is 1 for weights
that all tasks share.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle
from paddle import Tensor, nn

from maml import functional as fn


class Network(nn.Layer, ABC):
    """A layer with an explicit parameter list: `theta` holds it, and `forward(x, params)` is a pure
    function of `params`.

    A subclass sets `features`, lists its initial values in `initial(rng)` and computes in `embed`.
    Where `way` is given, the last two parameters are a linear classifier of the embeddings.
    `running` holds running averages of batch normalisation's statistics where an algorithm keeps
    them, [1, 1, C] each; none at first.
    """

    features: int

    def __init__(self, way: int | None, rng: np.random.Generator, dtype: str = "float32"):
        super().__init__()
        self.way = way
        self.running: list[fn.Statistics] = []
        initial = self.initial(rng)
        if way is not None:
            # Nearly no opinion before adaptation: with larger weights here, MAML learns several
            # times slower.
            initial += [0.01 * rng.standard_normal([self.features, way]), np.zeros([1, way])]
        self.listed = nn.ParameterList(
            [
                paddle.create_parameter(
                    list(p.shape), dtype, default_initializer=nn.initializer.Assign(p.astype(dtype))
                )
                for p in initial
            ]
        )

    @property
    def theta(self) -> list[Tensor]:
        """The parameters, [...] each; `listed` registers them with the layer."""
        return list(self.listed)

    def update_running(self, record: Sequence[fn.Statistics], momentum: float = 0.9) -> None:
        """Move the running averages towards the statistics of a batch, as Paddle's own batch
        normalisation does.
        """
        self.running = [
            fn.Statistics(*(momentum * old + (1 - momentum) * new for old, new in zip(*pair)))
            for pair in zip(self.running, record)
        ] or list(record)

    def penalty(self, params: Sequence[Tensor]) -> Tensor | float:
        """What is added to the loss of a metric method for large weights; nothing here."""
        return 0.0

    @abstractmethod
    def initial(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Initial values of the embedding's parameters."""

    def prepare(self, x: Tensor) -> Any:
        """What `embed` needs of images x [T, N, 1, H, W] and no weight changes; worth keeping while
        weights adapt.
        """
        return x

    @abstractmethod
    def embed(
        self,
        params: Sequence[Tensor],
        x: Any,
        statistics: Sequence[fn.Statistics | None],
        record: list[fn.Statistics] | None,
        twice: bool,
    ) -> Tensor:
        """What `prepare` made of x -> embeddings [T, N, features]."""

    def forward(
        self,
        x: Any,
        params: Sequence[Tensor] | None = None,
        statistics: Sequence[fn.Statistics] | None = None,
        record: list[fn.Statistics] | None = None,
        twice: bool = False,
    ) -> Tensor:
        """x [T, N, 1, H, W], or what `prepare` made of it -> scores [T, N, way], or embeddings [T,
        N, features] without a classifier.

        Without `params` these are `theta`, for all tasks. Batch normalisation takes `statistics`,
        one for each layer, or, without, those of x itself, which `record`, a list, is given.
        `twice`: the result is to be differentiated twice.
        """
        if params is None:
            params = [p.unsqueeze(0) for p in self.theta]
        z = self.represent(x, params, statistics, record, twice)
        return z if self.way is None else paddle.matmul(z, params[-2]) + params[-1]

    def represent(
        self,
        x: Any,
        params: Sequence[Tensor],
        statistics: Sequence[fn.Statistics] | None = None,
        record: list[fn.Statistics] | None = None,
        twice: bool = False,
    ) -> Tensor:
        """The embeddings [T, N, features] that a classifier, if there is one, sees; arguments as
        `forward`'s.
        """
        if isinstance(x, Tensor):
            x = self.prepare(x)
        body = params if self.way is None else params[:-2]
        return self.embed(body, x, statistics or [None] * len(body), record, twice)
