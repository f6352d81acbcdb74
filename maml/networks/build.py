"""The network that a configuration names."""

from __future__ import annotations

import numpy as np

from maml.networks.base import Network
from maml.networks.conv import ConvNet
from maml.networks.dense import DenseNet, Perceptron
from maml.networks.koch import KochNet
from maml.system.errors import UserError


def make(
    kind: str,
    way: int | None,
    rng: np.random.Generator,
    image_size: int = 28,
    filters: int = 64,
    dense_deviation: float = 0.2,
) -> Network:
    """The network that a configuration names: strided or pooled, which have `filters`, dense,
    perceptron, or koch, which has the `dense_deviation`.
    """
    if kind == "dense":
        return DenseNet(way, rng, image_size)
    if kind == "perceptron":
        return Perceptron(way, rng, image_size**2)
    if kind == "koch":
        if image_size != KochNet.IMAGE_SIZE:
            raise UserError(
                f"network koch is for images of {KochNet.IMAGE_SIZE} x {KochNet.IMAGE_SIZE} pixels,"
                f" these have {image_size}; make others by make_data.py --image-size"
                f" {KochNet.IMAGE_SIZE}, or choose network pooled"
            )
        return KochNet(rng, dense_deviation)
    return ConvNet(way, rng, image_size, pooled=kind == "pooled", filters=filters)
