"""The Siamese network's encoder as published."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor

from maml import functional as fn
from maml.networks.base import Network


class KochNet(Network):
    """The Siamese network's encoder as published, with its initial weights and penalties.

    Koch et al. 2015, section 3.1, figure 4, and section 3.2. Images of 105 x 105 pixels, grey, or
    of others; convolutions 10x10/64, 7x7/128, 4x4/128 and 4x4/256 without padding, each with ReLU
    and, but for the last, 2x2 max-pooling; a layer of 4,096 sigmoid units. All tasks share the
    weights, and there is no batch normalisation.

    Args:
        rng (numpy.random.Generator): the source of its initial weights.
        dense_deviation (float): standard deviation of the dense layer's initial weights. Its 9,216
            inputs are about 0.5 at first, so that with the paper's 0.2 the sums are of the order of
            10, where a sigmoid has hardly a gradient.
        features (int): units of the dense layer.
        dtype (str): "float32" or "float64".
        image_size (int): side of the images, in pixels, at least 65.
        channels (int): of the images.

    Example:
        >>> import numpy as np, paddle, maml
        >>> network = maml.KochNet(np.random.default_rng(0), features=8)
        >>> list(network(paddle.zeros([1, 1, 1, 105, 105])).shape)
        [1, 1, 8]
    """

    per_image = True
    CONVOLUTIONS = ((10, 64), (7, 128), (4, 128), (4, 256))  # kernel, filters
    L2 = (2e-4, 2e-4, 2e-4, 2e-4, 1e-3)  # of each layer's weights
    IMAGE_SIZE = 105  # the paper's
    SMALLEST = 65  # of which the convolutions leave one pixel

    def __init__(
        self,
        rng: np.random.Generator,
        dense_deviation: float = 0.2,
        features: int = 4096,
        dtype: str = "float32",
        image_size: int = IMAGE_SIZE,
        channels: int = 1,
    ):
        initial = self._initial(rng, dense_deviation, features, image_size, channels)
        super().__init__(initial, features, None, rng, dtype)

    def _initial(
        self,
        rng: np.random.Generator,
        dense_deviation: float,
        features: int,
        size: int,
        channels: int,
    ) -> dict[str, np.ndarray]:
        weights = {}
        for layer, (kernel, filters) in enumerate(self.CONVOLUTIONS, 1):
            w = 0.01 * rng.standard_normal([filters, channels, kernel, kernel])
            weights[f"convolution{layer}.weight"] = w
            weights[f"convolution{layer}.bias"] = 0.5 + 0.01 * rng.standard_normal([filters])
            channels, convolved = filters, size - kernel + 1
            size = convolved // 2
        inputs = channels * convolved**2  # the last convolution has no pooling
        weights["dense.weight"] = dense_deviation * rng.standard_normal([inputs, features])
        weights["dense.bias"] = 0.5 + 0.01 * rng.standard_normal([features])
        return weights

    def penalty(self, params: Sequence[Tensor]) -> Tensor:
        return paddle.add_n(
            [lambda_j * w.square().sum() for lambda_j, w in zip(self.L2, params[::2])]
        )

    def embed(
        self,
        params: Sequence[Tensor],
        x: Any,
        statistics: Sequence[fn.Statistics | fn.Team | None],
        record: list[fn.Statistics] | None,
        twice: bool,
    ) -> Tensor:
        tasks, images = x.shape[:2]
        h = self.normalised(x).flatten(0, 1).transpose([2, 0, 3, 1])  # [H, T * N, W, C]
        layers = [(w.squeeze(0), b.squeeze(0)) for w, b in zip(params[::2], params[1::2])]
        for i, (w, b) in enumerate(layers[:-1]):
            h = fn.convolve_valid(h, w.transpose([2, 3, 1, 0]))
            if i < len(layers) - 2:
                h = fn.max_pool_valid(h)
            h = F.relu(h + b)  # after pooling, where they are a quarter of the work
        w, b = layers[-1]
        h = h.transpose([1, 3, 0, 2]).flatten(1)  # in the order of [C, H, W]
        return F.sigmoid(F.linear(h, w, b)).reshape([tasks, images, self.features])
