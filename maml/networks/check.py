"""Whether a network's second derivatives are right, by differences in float64."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import paddle
from paddle import Tensor, nn

from maml import functional as fn
from maml.functional.randomness import seeded
from maml.networks.base import Network
from maml.networks.from_layer import LayerNetwork
from maml.system.errors import UserError

STEPS = (1e-7, 1e-8, 1e-9)
"""of differences, one after the other: the smaller, the fewer kinks of ReLUs lie within a step, of
which large images have many; the larger, the smaller the rounding errors"""
TOLERANCE = 1e-4
NOISE = 0.01
"""on images and weights: without it, a ReLU after a convolution without shift has its kink exactly
where the paper is blank"""
INSTEAD = {  # of what has no second derivative in PaddlePaddle and no twin here
    "max": "a max-pooling layer, or paddle.maximum",
    "amax": "a max-pooling layer, or paddle.maximum",
    "einsum": "paddle.matmul",
    "p_norm": "sqrt of the sum of squares, or paddle.nn.functional.normalize",
    "strided_slice": "reshape and a plain slice",
    "roll": "concat of two slices",
    "cumsum": "matmul with a triangular matrix",
    "min": "paddle.minimum",
    "conv2d_transpose": "nn.Upsample and nn.Conv2D",
    "set_value_with_tensor": "concat",
    "expand_as": "expand",
    "log1p": "log",
    "pool3d": "layers other than nn.LocalResponseNorm and nn.AvgPool3D",
    "mv": "matmul",
    "addmm": "matmul and a sum",
    "pixel_shuffle": "reshape and transpose",
    "rnn": "nn.LSTMCell or nn.GRUCell in a loop",
}


def check_second_order(network: Network, x: Tensor, seed: int = 0) -> float:
    """Check a network's second derivatives against central differences in float64.

    A weighted sum of the outputs is differentiated twice, with respect to the weights of the
    network, along a random direction, and compared with differences of the first derivative.

    Args:
        network (Network): a built-in network, or one that `maml.from_layer` made.
        x (Tensor): a few images, [T, N, C, H, W].
        seed (int): seed of the random direction.

    Returns:
        float: the largest difference, over the size of the second derivative.

    Raises:
        UserError: if a layer or function has no second derivative, or a wrong one. The sentence
            names it and says what to use instead.

    Example:
        >>> import paddle, maml
        >>> layer = paddle.nn.Sequential(paddle.nn.Flatten(), paddle.nn.Linear(16, 3))
        >>> layer.add_sublayer("gelu", paddle.nn.GELU())
        GELU(approximate=False)
        >>> maml.check_second_order(maml.from_layer(layer), paddle.rand([1, 4, 1, 4, 4])) < 1e-4
        True
    """
    with _default_dtype("float64"):  # for what the forward creates
        return _check(network, x, seed)


@contextmanager
def _default_dtype(dtype: Any) -> Iterator[None]:
    before = paddle.get_default_dtype()
    paddle.set_default_dtype(dtype)
    try:
        yield
    finally:
        paddle.set_default_dtype(before)


def _check(network: Network, x: Tensor, seed: int) -> float:
    twin = _double(network)
    rng = np.random.default_rng(seed)
    if x.is_floating_point():
        x = x.astype("float64") + NOISE * paddle.to_tensor(rng.standard_normal(x.shape))
    theta = [p.numpy() for p in fn.for_each_task(twin.theta, x.shape[0])]
    theta = [p + NOISE * rng.standard_normal(p.shape) for p in theta]
    best, name = float("inf"), ""
    for attempt, step in enumerate(STEPS):
        rng = np.random.default_rng([seed, attempt])
        try:
            error, i = _difference(twin, x, theta, rng, step)
        except UserError:
            raise
        except Exception as problem:
            raise UserError(_explain(network, problem)) from problem
        if error < best:
            best, name = error, _name(network, i)
        if best < TOLERANCE:
            return best
    raise UserError(
        f"{_kind(network)}: the second derivative with respect to {name} is off by {best:.0e} of "
        "its size; its forward uses a function that is not smooth here, changes or detaches "
        "tensors, or draws random numbers"
    )


def _difference(
    network: Network, x: Tensor, theta: list[np.ndarray], rng: np.random.Generator, step: float
) -> tuple[float, int]:
    """The largest relative difference along a random direction, and of which parameter it is."""
    direction = [rng.standard_normal(p.shape) for p in theta]
    weights = paddle.to_tensor(rng.standard_normal(network(x, _leaves(theta)).shape))

    def gradient(values: list[np.ndarray], twice: bool) -> tuple[list[Tensor], list[Tensor]]:
        params = _leaves(values)
        with seeded(0):  # the same masks of dropout each time
            y = network(x, params, twice=twice)
        # the square keeps the second derivative of a linear network from being zero
        return params, paddle.grad((weights * y * y).sum(), params, create_graph=twice)

    params, first = gradient(theta, twice=True)
    products = [(g * paddle.to_tensor(d)).sum() for g, d in zip(first, direction)]
    second = paddle.grad(paddle.add_n(products), params, allow_unused=True)
    up, down = ([p + s * step * d for p, d in zip(theta, direction)] for s in (1, -1))
    expected = [
        (a.numpy() - b.numpy()) / (2 * step)
        for a, b in zip(gradient(up, False)[1], gradient(down, False)[1])
    ]
    size = max(max(float(np.abs(e).max()) for e in expected), 1e-12)
    errors = [
        float(np.abs((0 if s is None else s.numpy()) - e).max()) / size
        for s, e in zip(second, expected)
    ]
    worst = int(np.argmax(errors))
    return errors[worst], worst


def _leaves(values: list[np.ndarray]) -> list[Tensor]:
    return [paddle.to_tensor(v, stop_gradient=False) for v in values]


def _double(network: Network) -> Network:
    """A copy of the network in float64."""
    if isinstance(network, LayerNetwork):
        layer = copy.deepcopy(network.layer)
        layer.to(dtype="float64")
        return LayerNetwork(layer, network.way)
    return copy.deepcopy(network).to(dtype="float64")


def _kind(network: Network) -> str:
    layer = network.layer if isinstance(network, LayerNetwork) else network
    return type(layer).__name__


def _name(network: Network, i: int) -> str:
    return network.names[i] if isinstance(network, LayerNetwork) else f"parameter {i}"


def _transposes(network: Network) -> bool:
    """Whether the network holds a transposed convolution."""
    layers = network.sublayers(include_self=True)
    return any(isinstance(layer, (nn.Conv2DTranspose, nn.Conv1DTranspose)) for layer in layers)


def _explain(network: Network, error: Exception) -> str:
    """What has no second derivative, by Paddle's error, and what to use instead."""
    text = " ".join(str(error).split())
    found = re.search(r"[Tt]he [Oo]p (\w+?)(?:_grad)* doesn't have any grad", text) or re.search(
        r"kernel `(\w+?)(?:_double|_grad)+` is not registered", text
    )
    if "Pool op grad grad" in text:
        name = "max pooling"
    elif found:
        name = found.group(1)
    elif _transposes(network):  # as the first layer, of which Paddle's error says nothing
        name = "conv2d_transpose"
    else:
        return (
            f"{_kind(network)}: its second derivative cannot be computed "
            f"({text[-200:] or type(error).__name__})"
        )
    instead = INSTEAD.get(name, "operations that have one (docs/networks.md lists them)")
    return f"{_kind(network)}: {name} has no second derivative in PaddlePaddle; use {instead}"
