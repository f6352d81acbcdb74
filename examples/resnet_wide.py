"""A residual network (He et al. 2016) that grows wider where its images grow smaller.

It is a network of your own, as train.py and evaluate.py take it:

  python train.py --network examples/resnet_wide.py:six --algorithm protonet --temperature 200

`six` has that number of 3x3 convolutions, of 64, 64, 128, 128, 256 and 256 filters. The first
convolution of a stage changes the number of filters, and its output is pooled. The second adds to
what it reads. So most filters see few pixels: a training step takes one and a half times as long
as that of the built-in network of 128 filters, which has less than half of the weights.

The last pixels, not their mean, are the embedding: 256 filters at 3x3 positions for images of 28
pixels. Squared distances between so long embeddings are large, which is why the temperature is.
"""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn


class Stage(nn.Layer):
    """A convolution and pooling, then a residual convolution, with batch normalisation."""

    def __init__(self, channels: int, filters: int):
        super().__init__()
        self.first = nn.Conv2D(channels, filters, 3, padding=1, bias_attr=False)
        self.first_norm = nn.BatchNorm2D(filters)
        self.second = nn.Conv2D(filters, filters, 3, padding=1, bias_attr=False)
        self.second_norm = nn.BatchNorm2D(filters)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, filters, H // 2, W // 2]"""
        x = F.relu(F.max_pool2d(self.first_norm(self.first(x)), 2))
        return F.relu(x + self.second_norm(self.second(x)))


class WideResNet(nn.Layer):
    """Stages, and a linear classifier of their last pixels if `way` is given."""

    def __init__(self, way: int | None, image_size: int, channels: int, filters: list[int]):
        super().__init__()
        ins = [channels, *filters[:-1]]
        self.stages = nn.Sequential(*(Stage(c, f) for c, f in zip(ins, filters)))
        features = filters[-1] * (image_size // 2 ** len(filters)) ** 2
        self.classifier = None
        if way is not None:  # nearly no opinion before adaptation, as in the built-in networks
            initial = paddle.ParamAttr(initializer=nn.initializer.Normal(0.0, 0.01))
            self.classifier = nn.Linear(features, way, weight_attr=initial)

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, C, H, W] -> scores [N, way], or embeddings [N, D]."""
        h = self.stages(x).flatten(1)
        return h if self.classifier is None else self.classifier(h)


def six(way: int | None, image_size: int, channels: int) -> nn.Layer:
    """Three stages of two convolutions."""
    return WideResNet(way, image_size, channels, [64, 128, 256])
