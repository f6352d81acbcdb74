"""Four convolutions, as MAML's paper and the metric methods' papers have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle.nn.functional as F
from paddle import Tensor

from maml import functional as fn
from maml.networks.base import Network
from maml.system.errors import UserError


class ConvNet(Network):
    """Blocks of 3x3 convolution, batch normalisation and ReLU.

    Strided as MAML's network for Omniglot (Finn et al. 2017, section 5.2), or max-pooled as that of
    the metric methods (Vinyals et al. 2016, section 4.1.1). Its weights are w [9 * C_in, filters],
    gamma [1, filters] and beta [1, filters] of each block. There are no convolution biases, which
    batch normalisation would subtract again.

    Args:
        way (int | None): classes of its classifier; None for an encoder without one.
        rng (numpy.random.Generator): the source of its initial weights.
        image_size (int): side of the images, in pixels.
        pooled (bool): 2x2 max-pooling in the place of stride 2.
        filters (int): filters of each convolution.
        blocks (int): number of blocks, at least 2.
        channels (int): of the images.
        dtype (str): "float32" or "float64".

    Example:
        >>> import numpy as np, paddle
        >>> from maml import ConvNet
        >>> network = ConvNet(5, np.random.default_rng(0))
        >>> list(network(paddle.zeros([2, 10, 1, 28, 28])).shape)
        [2, 10, 5]
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
        channels: int = 1,
    ):
        sizes = [image_size]
        for _ in range(blocks):
            sizes.append(sizes[-1] // 2 if pooled else -(-sizes[-1] // 2))
        if sizes[-1] == 0:
            raise UserError(
                f"network pooled halves images {blocks} times, which takes {2**blocks} x "
                f"{2**blocks} pixels or more, and these have {image_size} x {image_size}; choose "
                "network strided, or make larger images by make_data.py --image-size"
            )
        features = filters * sizes[-1] ** 2
        super().__init__(initial_weights(rng, blocks, filters, channels), features, way, rng, dtype)
        self.pooled, self.filters, self.sizes = pooled, filters, sizes

    @property
    def stride(self) -> int:
        """Of each convolution."""
        return 1 if self.pooled else 2

    def prepare(self, x: Tensor) -> fn.InputPatches:
        return fn.input_patches(self.normalised(x), self.stride, self.pooled)

    def embed(
        self,
        params: Sequence[Tensor],
        x: Any,
        statistics: Sequence[fn.Statistics | fn.Team | None],
        record: list[fn.Statistics] | None,
        twice: bool,
    ) -> Tensor:
        images = x.images
        for block, size in enumerate(self.sizes[:-1]):
            w, gamma, beta = params[3 * block : 3 * block + 3]
            if block == 0 and self.pooled:
                # [T, P/4*N + 1, 64]
                h = fn.pooled_input_block(x, w, gamma, beta, size, size, statistics[0], record)
            elif block == 0:
                h = fn.input_block(x, w, gamma, beta, statistics[0], record)  # [T, P*N + 1, 64]
            else:
                at = fn.patches(size, size, self.stride, images, self.pooled)
                h = fn.convolve(h, w, at)  # [T, P*N, 64]
                h = fn.batch_norm(h, gamma, beta, statistics[block], record, twice)
                if self.pooled:  # before ReLU: the same result for a quarter of ReLU's work
                    h = fn.max_pool(h, size, size, images)
            h = F.relu(h)
        h = h.reshape([h.shape[0], -1, images, self.filters]).transpose(
            [0, 2, 1, 3]
        )  # [T, N, P, C]
        return h.reshape([h.shape[0], images, self.features])


def initial_weights(
    rng: np.random.Generator, blocks: int, filters: int, channels: int = 1
) -> dict[str, np.ndarray]:
    """w, gamma and beta of each block by name (He et al. 2015, eq. 10)."""
    weights = {}
    for block in range(1, blocks + 1):
        w = np.sqrt(2 / (9 * channels)) * rng.standard_normal([9 * channels, filters])
        weights[f"block{block}.weight"] = w
        weights[f"block{block}.gamma"] = np.ones([1, filters])
        weights[f"block{block}.beta"] = np.zeros([1, filters])
        channels = filters
    return weights
