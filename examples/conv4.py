"""The usual four convolutions, strided as in the MAML paper, written with plain paddle.nn.

python train.py --network examples/conv4.py:strided --way 5 --shot 1
"""

from __future__ import annotations

import paddle
from paddle import nn


def strided(way: int | None, image_size: int, channels: int, filters: int = 64) -> nn.Layer:
    """Return four blocks of 3x3 convolution, batch normalisation and ReLU, and a classifier."""
    layers: list[nn.Layer] = []
    for _ in range(4):
        convolution = nn.Conv2D(channels, filters, 3, stride=2, padding=1, bias_attr=False)
        layers += [convolution, nn.BatchNorm2D(filters), nn.ReLU()]
        channels, image_size = filters, -(-image_size // 2)
    layers.append(nn.Flatten())
    if way is not None:  # nearly no opinion before adaptation, as in the built-in networks
        initial = paddle.ParamAttr(initializer=nn.initializer.Normal(0.0, 0.01))
        layers.append(nn.Linear(filters * image_size**2, way, weight_attr=initial))
    return nn.Sequential(*layers)
