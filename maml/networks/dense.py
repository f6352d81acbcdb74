"""Fully connected networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor

from maml import functional as fn
from maml.networks.base import Network


class DenseNet(Network):
    """Fully connected layers with batch normalisation and ReLU on flattened images.

    Args:
        way (int | None): classes of its classifier; None for an encoder without one.
        rng (numpy.random.Generator): the source of its initial weights.
        image_size (int): side of the images, in pixels.
        hidden (Sequence[int]): units of each layer; the MAML paper's by default (section 5.2).
        dtype (str): "float32" or "float64".
        channels (int): of the images.

    Example:
        >>> import numpy as np, paddle, maml
        >>> network = maml.DenseNet(5, np.random.default_rng(0))
        >>> list(network(paddle.rand([1, 3, 1, 28, 28])).shape)
        [1, 3, 5]
    """

    def __init__(
        self,
        way: int | None,
        rng: np.random.Generator,
        image_size: int = 28,
        hidden: Sequence[int] = (256, 128, 64, 64),
        dtype: str = "float32",
        channels: int = 1,
    ):
        weights = {}
        for layer, w in enumerate(initial_weights(rng, [channels * image_size**2, *hidden]), 1):
            weights[f"layer{layer}.weight"] = w
            weights[f"layer{layer}.gamma"] = np.ones([1, w.shape[1]])
            weights[f"layer{layer}.beta"] = np.zeros([1, w.shape[1]])
        super().__init__(weights, hidden[-1], way, rng, dtype)

    def embed(
        self,
        params: Sequence[Tensor],
        x: Any,
        statistics: Sequence[fn.Statistics | fn.Team | None],
        record: list[fn.Statistics] | None,
        twice: bool,
    ) -> Tensor:
        h = self.normalised(x).reshape([x.shape[0], x.shape[1], -1])  # [T, N, C*H*W]
        for w, gamma, beta, given in zip(params[::3], params[1::3], params[2::3], statistics):
            h = F.relu(fn.batch_norm(paddle.matmul(h, w), gamma, beta, given, record, twice))
        return h


class Perceptron(Network):
    """Fully connected layers with biases and ReLU, without batch normalisation.

    Args:
        way (int | None): outputs: classes, or dimensions of what is regressed.
        rng (numpy.random.Generator): the source of its initial weights.
        inputs (int): numbers that describe an example; inputs [T, N, ...] are flattened.
        hidden (Sequence[int]): units of each layer.
        dtype (str): "float32" or "float64".

    Example:
        >>> import numpy as np, paddle, maml
        >>> network = maml.Perceptron(1, np.random.default_rng(0), inputs=1)
        >>> list(network(paddle.rand([2, 10, 1])).shape)
        [2, 10, 1]
    """

    per_image = True

    def __init__(
        self,
        way: int | None,
        rng: np.random.Generator,
        inputs: int,
        hidden: Sequence[int] = (64, 64),
        dtype: str = "float32",
    ):
        weights = {}
        for layer, w in enumerate(initial_weights(rng, [inputs, *hidden]), 1):
            weights[f"layer{layer}.weight"] = w
            weights[f"layer{layer}.bias"] = np.zeros([1, w.shape[1]])
        super().__init__(weights, hidden[-1], way, rng, dtype)

    def embed(
        self,
        params: Sequence[Tensor],
        x: Any,
        statistics: Sequence[fn.Statistics | fn.Team | None],
        record: list[fn.Statistics] | None,
        twice: bool,
    ) -> Tensor:
        h = self.normalised(x).reshape([x.shape[0], x.shape[1], -1])  # [T, N, inputs]
        for w, b in zip(params[::2], params[1::2]):
            h = F.relu(paddle.matmul(h, w) + b)
        return h


def initial_weights(rng: np.random.Generator, sizes: Sequence[int]) -> list[np.ndarray]:
    """w of each layer between these sizes (He et al. 2015, eq. 10)."""
    return [
        np.sqrt(2 / fan_in) * rng.standard_normal([fan_in, fan_out])
        for fan_in, fan_out in zip(sizes, sizes[1:])
    ]
