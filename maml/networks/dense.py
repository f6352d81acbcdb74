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
    """Fully connected layers with batch normalisation and ReLU on flattened images, 256-128-64-64
    in MAML's paper (section 5.2).
    """

    def __init__(
        self,
        way: int | None,
        rng: np.random.Generator,
        image_size: int = 28,
        hidden: Sequence[int] = (256, 128, 64, 64),
        dtype: str = "float32",
    ):
        self.sizes = [image_size**2, *hidden]
        self.features = self.sizes[-1]
        super().__init__(way, rng, dtype)

    def initial(self, rng: np.random.Generator) -> list[np.ndarray]:
        params = []
        for fan_in, fan_out in zip(self.sizes, self.sizes[1:]):
            params += [
                np.sqrt(2 / fan_in) * rng.standard_normal([fan_in, fan_out]),
                np.ones([1, fan_out]),
                np.zeros([1, fan_out]),
            ]
        return params

    def embed(
        self,
        params: Sequence[Tensor],
        x: Any,
        statistics: Sequence[fn.Statistics | None],
        record: list[fn.Statistics] | None,
        twice: bool,
    ) -> Tensor:
        h = x.reshape([x.shape[0], x.shape[1], -1])  # [T, N, H*W]
        for layer in range(len(self.sizes) - 1):
            w, gamma, beta = params[3 * layer : 3 * layer + 3]
            h = F.relu(
                fn.batch_norm(paddle.matmul(h, w), gamma, beta, statistics[layer], record, twice)
            )
        return h


class Perceptron(Network):
    """Fully connected layers with biases and ReLU on flattened input [T, N, ...], without batch
    normalisation; for any small problem.

    `way` is the number of outputs: classes, or dimensions of what is regressed.
    """

    def __init__(
        self,
        way: int | None,
        rng: np.random.Generator,
        inputs: int,
        hidden: Sequence[int] = (64, 64),
        dtype: str = "float32",
    ):
        self.sizes = [inputs, *hidden]
        self.features = self.sizes[-1]
        super().__init__(way, rng, dtype)

    def initial(self, rng: np.random.Generator) -> list[np.ndarray]:
        params = []
        for fan_in, fan_out in zip(self.sizes, self.sizes[1:]):
            params += [
                np.sqrt(2 / fan_in) * rng.standard_normal([fan_in, fan_out]),
                np.zeros([1, fan_out]),
            ]
        return params

    def embed(
        self,
        params: Sequence[Tensor],
        x: Any,
        statistics: Sequence[fn.Statistics | None],
        record: list[fn.Statistics] | None,
        twice: bool,
    ) -> Tensor:
        h = x.reshape([x.shape[0], x.shape[1], -1])  # [T, N, inputs]
        for w, b in zip(params[::2], params[1::2]):
            h = F.relu(paddle.matmul(h, w) + b)
        return h
