"""Residual networks (He et al. 2016) for small drawings, written with plain paddle.nn.

They are networks of your own, as train.py and evaluate.py take them:

  python train.py --network examples/resnet.py:four --algorithm maml --way 5 --shot 1
  python train.py --network examples/resnet.py:eight --algorithm protonet --way 20 --train_way 60

`four` and `eight` have that number of 3x3 convolutions. A block pools what its convolutions make of
its input, and adds a projection of its pooled input to it. Both are pooled before the sum, so that
only the convolutions see all pixels. The last block's pixels are the embedding.
"""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn


class Block(nn.Layer):
    """Some convolutions of C filters with batch normalisation, and a projection around them."""

    def __init__(self, channels: int, filters: int, convolutions: int):
        super().__init__()
        ins = [channels] + [filters] * (convolutions - 1)
        self.convolutions = nn.LayerList(
            [nn.Conv2D(c, filters, 3, padding=1, bias_attr=False) for c in ins]
        )
        self.norms = nn.LayerList([nn.BatchNorm2D(filters) for _ in ins])
        self.projection = nn.Conv2D(channels, filters, 1, bias_attr=False)
        self.projection_norm = nn.BatchNorm2D(filters)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, filters, H // 2, W // 2]"""
        h = x
        for i, (convolution, norm) in enumerate(zip(self.convolutions, self.norms)):
            h = norm(convolution(F.relu(h) if i else h))
        shortcut = self.projection_norm(self.projection(F.max_pool2d(x, 2)))
        return F.relu(F.max_pool2d(h, 2) + shortcut)


class ResNet(nn.Layer):
    """Residual blocks, and a linear classifier of their last pixels if `way` is given."""

    def __init__(
        self, way: int | None, image_size: int, channels: int, filters: list[int], convolutions: int
    ):
        super().__init__()
        ins = [channels, *filters[:-1]]
        self.blocks = nn.Sequential(*(Block(c, f, convolutions) for c, f in zip(ins, filters)))
        features = filters[-1] * (image_size // 2 ** len(filters)) ** 2
        self.classifier = None
        if way is not None:  # nearly no opinion before adaptation, as in the built-in networks
            initial = paddle.ParamAttr(initializer=nn.initializer.Normal(0.0, 0.01))
            self.classifier = nn.Linear(features, way, weight_attr=initial)

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, C, H, W] -> scores [N, way], or embeddings [N, D]."""
        h = self.blocks(x).flatten(1)
        return h if self.classifier is None else self.classifier(h)


def four(way: int | None, image_size: int, channels: int) -> nn.Layer:
    """Four blocks of one convolution."""
    return ResNet(way, image_size, channels, [64, 64, 64, 64], convolutions=1)


def eight(way: int | None, image_size: int, channels: int) -> nn.Layer:
    """Four blocks of two convolutions."""
    return ResNet(way, image_size, channels, [64, 64, 64, 64], convolutions=2)
