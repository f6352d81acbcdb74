"""Four convolutions, as MAML's paper and the metric methods' papers have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle.nn.functional as F
from paddle import Tensor

from maml import functional as fn
from maml.networks.base import Network


class ConvNet(Network):
    """Blocks of 3x3 convolution, batch normalisation and ReLU, with 64 filters in the papers;
    strided as MAML's on Omniglot (Finn et al. 2017, section 5.2), or max-pooled as the metric
    methods' (Vinyals et al. 2016, section 4.1.1).

    Parameters: w [9 * C_in, filters], gamma [1, filters], beta [1, filters] of each block. There
    are no convolution biases: batch normalisation subtracts them again. There are at least two
    `blocks`.
    """

    def __init__(
        self,
        way: int | None,
        rng: np.random.Generator,
        image_size: int = 28,
        pooled: bool = False,
        filters: int = 64,
        blocks: int = 4,
        dtype: str = "float32",
    ):
        self.pooled, self.filters = pooled, filters
        self.sizes = [image_size]
        for _ in range(blocks):
            self.sizes.append(self.sizes[-1] // 2 if pooled else -(-self.sizes[-1] // 2))
        self.features = filters * self.sizes[-1] ** 2
        super().__init__(way, rng, dtype)

    def initial(self, rng: np.random.Generator) -> list[np.ndarray]:
        params, channels = [], 1
        for _ in self.sizes[1:]:
            scale = np.sqrt(2 / (9 * channels))  # He et al. 2015, eq. 10
            params += [
                scale * rng.standard_normal([9 * channels, self.filters]),
                np.ones([1, self.filters]),
                np.zeros([1, self.filters]),
            ]
            channels = self.filters
        return params

    def prepare(self, x: Tensor) -> fn.InputPatches:
        return fn.input_patches(x, 1 if self.pooled else 2, self.pooled)

    def embed(
        self,
        params: Sequence[Tensor],
        x: Any,
        statistics: Sequence[fn.Statistics | None],
        record: list[fn.Statistics] | None,
        twice: bool,
    ) -> Tensor:
        images = x.images
        for block, size in enumerate(self.sizes[:-1]):
            w, gamma, beta = params[3 * block : 3 * block + 3]
            if block == 0 and self.pooled:
                h = fn.pooled_input_block(
                    x, w, gamma, beta, size, size, statistics[0], record
                )  # [T, P/4*N + 1, 64]
            elif block == 0:
                h = fn.input_block(x, w, gamma, beta, statistics[0], record)  # [T, P*N + 1, 64]
            else:
                h = fn.convolve(
                    h, w, fn.patches(size, size, 1 if self.pooled else 2, images, self.pooled)
                )  # [T, P*N, 64]
                h = fn.batch_norm(h, gamma, beta, statistics[block], record, twice)
                if self.pooled:
                    h = fn.max_pool(
                        h, size, size, images
                    )  # before ReLU, which gives the same with a quarter of its work
            h = F.relu(h)
        h = h.reshape([h.shape[0], -1, images, self.filters]).transpose(
            [0, 2, 1, 3]
        )  # [T, P*N, 64] -> [T, N, P, 64]
        return h.reshape([h.shape[0], images, self.features])
