"""The strided convolutions of Keras's Reptile example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor

from maml import functional as fn
from maml.networks.base import Network


class KerasNet(Network):
    """The convolutions of Keras's Reptile example, whose batch normalisation normalises nothing.

    Its layers are never called with `training=True`. So their statistics stay what they are at
    first, mean 0 and variance 1, and each is an affine map of its channel. No image sees another
    one, so transductive and inductive prediction are the same. Convolutions of stride 2 have
    biases, weights are Glorot-uniform, and an image has ink 0 and paper 1.

    Of each block its weights are w [9 * C_in, filters], and b, gamma and beta [1, filters].

    Deviations from the example, with reasons:
     1. An even side is padded by a pixel at its start, not at its end: the other networks'
        convolution serves, which costs a shift of the image by one pixel.

    Args:
        way (int | None): classes of its classifier; None for an encoder without one.
        rng (numpy.random.Generator): the source of its initial weights.
        image_size (int): side of the images, in pixels.
        filters (int): filters of each convolution.
        blocks (int): number of blocks, at least 2.
        dtype (str): "float32" or "float64".
        channels (int): of the images.

    Example:
        >>> import numpy as np, paddle, maml
        >>> network = maml.KerasNet(5, np.random.default_rng(0))
        >>> list(network(paddle.zeros([2, 10, 1, 28, 28])).shape)
        [2, 10, 5]
    """

    per_image = True
    EPSILON = 1e-3  # that Keras adds to a variance
    STRIDE = 2

    def __init__(
        self,
        way: int | None,
        rng: np.random.Generator,
        image_size: int = 28,
        filters: int = 64,
        blocks: int = 4,
        dtype: str = "float32",
        channels: int = 1,
    ):
        sizes, weights = [image_size], {}
        for block in range(1, blocks + 1):
            w = glorot_uniform(rng, 9 * channels, 9 * filters, [9 * channels, filters])
            weights[f"block{block}.weight"] = w
            weights[f"block{block}.bias"] = np.zeros([1, filters])
            weights[f"block{block}.gamma"] = np.ones([1, filters])
            weights[f"block{block}.beta"] = np.zeros([1, filters])
            channels = filters
            sizes.append(-(-sizes[-1] // self.STRIDE))
        features = filters * sizes[-1] ** 2
        if way is not None:
            weights["classifier.weight"] = glorot_uniform(rng, features, way, [features, way])
        super().__init__(weights, features, way, rng, dtype)
        self.filters, self.sizes = filters, sizes

    def prepare(self, x: Tensor) -> fn.InputPatches:
        return fn.input_patches(1 - self.normalised(x), self.STRIDE)

    def embed(
        self,
        params: Sequence[Tensor],
        x: Any,
        statistics: Sequence[fn.Statistics | fn.Team | None],
        record: list[fn.Statistics] | None,
        twice: bool,
    ) -> Tensor:
        images, h = x.images, x.columns
        for block, size in enumerate(self.sizes[:-1]):
            w, b, gamma, beta = params[4 * block : 4 * block + 4]
            scale = gamma / (1 + self.EPSILON) ** 0.5
            shift = b * scale + beta
            if block == 0:  # the last column of the patches is 1, and their last row 0
                h = paddle.matmul(h, paddle.concat([w * scale, shift], axis=1))
            else:
                at = fn.patches(size, size, self.STRIDE, images)
                h = fn.convolve(h, w * scale, at) + shift
            h = F.relu(h)  # [T, P * N, filters], at first with a row of zeros at the end
        h = h.reshape([h.shape[0], -1, images, self.filters]).transpose([0, 2, 1, 3])
        return h.reshape([h.shape[0], images, self.features])


def glorot_uniform(
    rng: np.random.Generator, fan_in: int, fan_out: int, shape: Sequence[int]
) -> np.ndarray:
    """Initial weights (Glorot & Bengio 2010, eq. 16)."""
    limit = np.sqrt(6 / (fan_in + fan_out))
    return rng.uniform(-limit, limit, shape)
