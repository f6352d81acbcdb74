"""Trained networks out of Paddle's own layers, for any number of images, which can be exported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import paddle
from paddle import Tensor, nn

from maml import functional as fn
from maml.functional.positions import output_order
from maml.networks.base import Network
from maml.networks.conv import ConvNet
from maml.networks.dense import DenseNet, Perceptron
from maml.networks.koch import KochNet
from maml.system.errors import UserError

Normalize = Callable[[np.ndarray, np.ndarray], nn.Layer]
"""takes gamma and beta of the next batch normalisation to a layer"""


def plain_layer(
    network: Network,
    theta: Sequence[Tensor],
    statistics: Sequence[fn.Statistics] = (),
    group: int = 1,
) -> nn.Layer:
    """Return a layer that computes what a network with fixed weights does.

    Args:
        network (Network): one of this project's own networks.
        theta (Sequence[Tensor]): its weights, [...] each.
        statistics (Sequence[Statistics]): what batch normalisation uses, one for each layer. If
            there are none, it uses the statistics of each group of images.
        group (int): the images of a group, which lie behind each other.

    Returns:
        nn.Layer: takes images [N, C, H, W] to scores [N, way], or embeddings [N, features].

    Raises:
        UserError: if the network is of another kind.
    """
    kinds: dict[type, Callable[..., list[nn.Layer]]] = {
        ConvNet: _of_convnet,
        DenseNet: _of_dense,
        Perceptron: _of_perceptron,
        KochNet: _of_koch,
    }
    if type(network) not in kinds:
        raise UserError(
            "a network of your own cannot be exported here; export its layer by paddle.jit.save"
        )
    given = iter(statistics)

    def normalize(gamma: np.ndarray, beta: np.ndarray) -> nn.Layer:
        if not statistics:
            return OfGroup(gamma, beta, group)
        mean, variance = (s.numpy().ravel() for s in next(given))
        scale = gamma.ravel() / np.sqrt(variance + fn.EPSILON)
        return Affine(scale, beta.ravel() - mean * scale)

    weights = [w.numpy() for w in theta]
    body = weights if network.way is None else weights[:-2]
    layers = [*_of_pixels(network), *kinds[type(network)](network, body, normalize)]
    if network.way is not None:
        layers.append(_linear(*weights[-2:]))
    return nn.Sequential(*layers)


class Affine(nn.Layer):
    """Each channel of h [N, C, ...] scaled and shifted: batch normalisation by given statistics."""

    def __init__(self, scale: np.ndarray, shift: np.ndarray):
        super().__init__()
        self.register_buffer("scale", paddle.to_tensor(scale))
        self.register_buffer("shift", paddle.to_tensor(shift))

    def forward(self, h: Tensor) -> Tensor:
        shape = [1, -1] + [1] * (h.ndim - 2)
        return h * self.scale.reshape(shape) + self.shift.reshape(shape)


class OfGroup(nn.Layer):
    """Batch normalisation of h [N * group, C, ...] by the statistics of each group of images."""

    def __init__(self, gamma: np.ndarray, beta: np.ndarray, group: int):
        super().__init__()
        self.affine, self.group = Affine(gamma.ravel(), beta.ravel()), group

    def forward(self, h: Tensor) -> Tensor:
        of_group = h.reshape([-1, self.group, *h.shape[1:]])
        over = [1, *range(3, of_group.ndim)]
        centred = of_group - of_group.mean(axis=over, keepdim=True)
        variance = (centred * centred).mean(axis=over, keepdim=True)
        return self.affine(
            (centred * paddle.rsqrt(variance + fn.EPSILON)).reshape([-1, *h.shape[1:]])
        )


class Pixels(nn.Layer):
    """h [N, C, H, W] as rows [N, H * W * C], with the pixels in this order."""

    def __init__(self, order: np.ndarray):
        super().__init__()
        self.register_buffer("order", paddle.to_tensor(order.astype("int32")))

    def forward(self, h: Tensor) -> Tensor:
        return h.flatten(2).index_select(self.order, axis=2).transpose([0, 2, 1]).flatten(1)


def _of_pixels(network: Network) -> list[nn.Layer]:
    if network.pixels is None:
        return []
    mean, deviation = (np.array(values, np.float32) for values in network.pixels)
    return [Affine(1 / deviation, -mean / deviation)]


def _of_convnet(network: ConvNet, weights: list, normalize: Normalize) -> list[nn.Layer]:
    layers: list[nn.Layer] = []
    for w, gamma, beta in zip(weights[::3], weights[1::3], weights[2::3]):
        w = w.reshape([3, 3, -1, network.filters]).transpose([3, 2, 0, 1])
        layers += [_convolution(w, None, network.stride, padding=1), normalize(gamma, beta)]
        layers += [nn.MaxPool2D(2)] if network.pooled else []
        layers.append(nn.ReLU())
    before, last = network.sizes[-2:]
    order = np.arange(last**2)
    if not network.pooled:
        order = output_order(before, before, network.stride, False)
    return [*layers, Pixels(order)]


def _of_dense(network: DenseNet, weights: list, normalize: Normalize) -> list[nn.Layer]:
    layers: list[nn.Layer] = [nn.Flatten()]
    for w, gamma, beta in zip(weights[::3], weights[1::3], weights[2::3]):
        layers += [_linear(w, None), normalize(gamma, beta), nn.ReLU()]
    return layers


def _of_perceptron(network: Perceptron, weights: list, normalize: Normalize) -> list[nn.Layer]:
    layers: list[nn.Layer] = [nn.Flatten()]
    for w, b in zip(weights[::2], weights[1::2]):
        layers += [_linear(w, b), nn.ReLU()]
    return layers


def _of_koch(network: KochNet, weights: list, normalize: Normalize) -> list[nn.Layer]:
    layers: list[nn.Layer] = []
    *convolutions, dense = zip(weights[::2], weights[1::2])
    for w, b in convolutions:
        layers += [_convolution(w, b), nn.ReLU(), nn.MaxPool2D(2)]
    return [*layers[:-1], nn.Flatten(), _linear(*dense), nn.Sigmoid()]


def _convolution(w: np.ndarray, b: np.ndarray | None, stride: int = 1, padding: int = 0) -> Any:
    size, channels, kernel = w.shape[:3]
    bias = None if b is not None else False
    layer = nn.Conv2D(channels, size, kernel, stride, padding, bias_attr=bias)
    return _with(layer, w, b)


def _linear(w: np.ndarray, b: np.ndarray | None) -> Any:
    inputs, outputs = w.shape
    layer = nn.Linear(inputs, outputs, bias_attr=None if b is not None else False)
    return _with(layer, w, None if b is None else b.ravel())


def _with(layer: Any, w: np.ndarray, b: np.ndarray | None) -> Any:
    layer.weight.set_value(np.ascontiguousarray(w))
    if b is not None:
        layer.bias.set_value(b)
    return layer
