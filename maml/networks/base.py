"""The networks: parameters as an explicit list, and the forward pass as a pure function of it.

`params` is a list of tensors whose leading axis is the task: [T, ...], where T is 1 for weights
that all tasks share.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import paddle
from paddle import Tensor, nn

from maml import functional as fn


class Network(nn.Layer, ABC):
    """A layer whose weights are an explicit list, and whose forward pass is a pure function of it.

    A subclass hands its initial weights to the constructor and computes in `embed`.

    Args:
        initial (Mapping[str, ndarray]): initial weights of the embedding, by name.
        features (int): size of an embedding, D.
        way (int | None): outputs of the linear classifier of the embeddings, whose weights are the
            last two of `theta`; None for no classifier.
        rng (numpy.random.Generator): the source of the classifier's initial weights.
        dtype (str): "float32" or "float64".

    Attributes:
        names (list[str]): the names of `theta`, such as block1.weight or classifier.bias.
        running (list[Statistics]): running averages of batch normalisation's statistics, [1, 1, C]
            each, where a method keeps them; empty at first.

        per_image (bool): whether an embedding depends on its image alone, since nothing is
            normalised by a batch; of the class.
        apart (bool): whether the images of a batch meet in batch normalisation alone, so that
            several processes can embed its parts; of the class.

    Example:
        >>> import numpy as np, paddle, maml
        >>> class Linear(maml.Network):
        ...     def embed(self, params, x, statistics, record, twice):
        ...         return paddle.matmul(x.reshape([*x.shape[:2], -1]), params[0])
        >>> rng = np.random.default_rng(0)
        >>> network = Linear({"weight": rng.standard_normal([16, 8])}, 8, 5, rng)
        >>> list(network(paddle.zeros([2, 3, 1, 4, 4])).shape)
        [2, 3, 5]
    """

    per_image = False
    apart = True
    pixels: tuple[Sequence[float], Sequence[float]] | None = None
    """mean and deviation of the training images' pixels, by channel; None to take images as are"""

    def __init__(
        self,
        initial: Mapping[str, np.ndarray],
        features: int,
        way: int | None,
        rng: np.random.Generator,
        dtype: str = "float32",
    ):
        super().__init__()
        self.features, self.way = features, way
        self.running: list[fn.Statistics] = []
        weights = dict(initial)
        if way is not None:
            if "classifier.weight" not in weights:
                # nearly no opinion before adaptation: with larger weights MAML learns much slower
                weights["classifier.weight"] = 0.01 * rng.standard_normal([features, way])
            weights["classifier.bias"] = np.zeros([1, way])
        self.names = list(weights)
        self.listed = nn.ParameterList([parameter(w.astype(dtype)) for w in weights.values()])

    @property
    def theta(self) -> list[Tensor]:
        """The weights as a list, [...] each."""
        return list(self.listed)

    def update_running(self, record: Sequence[fn.Statistics], momentum: float = 0.9) -> None:
        """Move the running averages towards a batch's statistics, as Paddle's own layers do."""
        if not self.running:  # the first batch
            self.running = list(record)
            return

        def moved(old: Tensor, new: Tensor) -> Tensor:
            return momentum * old + (1 - momentum) * new

        self.running = [
            fn.Statistics(moved(old.mean, new.mean), moved(old.variance, new.variance))
            for old, new in zip(self.running, record)
        ]

    def penalty(self, params: Sequence[Tensor]) -> Tensor | float:
        """Return what a metric method adds to its loss for large weights; nothing here."""
        return 0.0

    def normalised(self, x: Tensor) -> Tensor:
        """Return images [..., C, H, W] less the training images' mean, over their deviation."""
        if self.pixels is None:
            return x
        mean, deviation = (
            paddle.to_tensor(values, x.dtype).reshape([-1, 1, 1]) for values in self.pixels
        )
        return (x - mean) / deviation

    def prepare(self, x: Tensor) -> Any:
        """Return what `embed` needs of images [T, N, 1, H, W] and no weight can change.

        It is worth keeping while weights adapt.
        """
        return x

    @abstractmethod
    def embed(
        self,
        params: Sequence[Tensor],
        x: Any,
        statistics: Sequence[fn.Statistics | fn.Team | None],
        record: list[fn.Statistics] | None,
        twice: bool,
    ) -> Tensor:
        """Return embeddings [T, N, features] of what `prepare` returned; see `forward`."""

    def forward(
        self,
        x: Any,
        params: Sequence[Tensor] | None = None,
        statistics: Sequence[fn.Statistics | fn.Team] | None = None,
        record: list[fn.Statistics] | None = None,
        twice: bool = False,
    ) -> Tensor:
        """Return scores, or embeddings where there is no classifier.

        Args:
            x (Tensor): images [T, N, 1, H, W], or what `prepare` returned for them.
            params (Sequence[Tensor] | None): weights [T, ...] each, or [1, ...] where all tasks
                share them; `theta` by default.
            statistics (Sequence[Statistics | Team] | None): what batch normalisation uses, for each
                layer; the statistics of x by default, and with a team those of all its images.
            record (list[Statistics] | None): a list that receives the statistics of x.
            twice (bool): the result is to be differentiated twice.

        Returns:
            Tensor: scores [T, N, way], or embeddings [T, N, features].
        """
        if params is None:
            params = [p.unsqueeze(0) for p in self.theta]
        z = self.represent(x, params, statistics, record, twice)
        return z if self.way is None else paddle.matmul(z, params[-2]) + params[-1]

    def represent(
        self,
        x: Any,
        params: Sequence[Tensor],
        statistics: Sequence[fn.Statistics | fn.Team] | None = None,
        record: list[fn.Statistics] | None = None,
        twice: bool = False,
    ) -> Tensor:
        """Return embeddings [T, N, features], before a classifier; see `forward`."""
        if isinstance(x, Tensor):
            x = self.prepare(x)
        body = params if self.way is None else params[:-2]
        return self.embed(body, x, statistics or [None] * len(body), record, twice)


def parameter(value: np.ndarray, like: Tensor | None = None) -> Tensor:
    """Return a parameter with this initial value, of its type or of that of `like`."""
    dtype: Any = str((value if like is None else like.numpy()).dtype)
    initial = nn.initializer.Assign(value.astype(dtype))
    return paddle.create_parameter(value.shape, dtype, default_initializer=initial)
