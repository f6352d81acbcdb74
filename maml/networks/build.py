"""The networks by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from maml.networks.base import Network
from maml.networks.conv import ConvNet
from maml.networks.dense import DenseNet, Perceptron
from maml.networks.keras import KerasNet
from maml.networks.koch import KochNet
from maml.system.errors import UserError


def build_network(
    kind: str,
    way: int | None,
    rng: np.random.Generator,
    image_size: int = 28,
    filters: int = 64,
    dense_deviation: float = 0.2,
    channels: int = 1,
) -> Network:
    """Return a new network.

    Args:
        kind (str): "strided", "pooled", "dense", "perceptron", "keras" or "koch".
        way (int | None): classes of its classifier; None for an encoder without one.
        rng (numpy.random.Generator): the source of its initial weights.
        image_size (int): side of the images, in pixels.
        filters (int): of each convolution of strided and pooled.
        dense_deviation (float): of koch's initial dense weights.
        channels (int): of the images.

    Raises:
        UserError: if the network does not take such images.
    """
    builders: dict[str, Callable[[], Network]] = {
        "strided": lambda: ConvNet(way, rng, image_size, False, filters, channels=channels),
        "pooled": lambda: ConvNet(way, rng, image_size, True, filters, channels=channels),
        "dense": lambda: DenseNet(way, rng, image_size, channels=channels),
        "perceptron": lambda: Perceptron(way, rng, channels * image_size**2),
        "keras": lambda: KerasNet(way, rng, image_size, channels=channels),
        "koch": lambda: KochNet(rng, dense_deviation, image_size=image_size, channels=channels),
    }
    if kind == "koch" and image_size < KochNet.SMALLEST:
        raise UserError(
            f"network koch is for images of at least {KochNet.SMALLEST} pixels a side, these have "
            f"{image_size}; make others by make_data.py --image-size {KochNet.IMAGE_SIZE}, or "
            "choose network pooled"
        )
    return builders[kind]()
