"""Twins of paddle.nn's layers and functions, against Paddle's own and against differences."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from helpers import check_twice_differentiable, images, relative_error
from paddle import nn

import maml
from maml.functional import windows, winograd
from maml.networks.passes import kept_rows
from maml.system.errors import UserError

# PaddlePaddle 2.6's tensors have no attributes of one's own
REMEMBERS = not paddle.__version__.startswith("2.")
pytestmark = [
    pytest.mark.both_paddles,
    pytest.mark.slow,
    pytest.mark.usefixtures("float64"),
]

LAYERS = {  # a layer, and the shape of an image
    "conv": (lambda: nn.Conv2D(2, 4, (3, 2), (2, 1), (1, 0), 1, groups=2), (2, 5, 4)),
    "dilated": (lambda: nn.Conv2D(1, 2, 3, padding=2, dilation=2), (1, 5, 5)),
    "depthwise": (lambda: nn.Conv2D(3, 3, 3, padding="SAME", groups=3), (3, 4, 4)),
    "conv1d": (lambda: nn.Conv1D(2, 3, 3, 2, 1), (2, 7)),
    "linear": (lambda: nn.Linear(3, 2), (4, 3)),
    "batch norm": (lambda: nn.BatchNorm2D(2), (2, 3, 3)),
    "batch norm, another epsilon": (lambda: nn.BatchNorm2D(2, epsilon=1e-3), (2, 3, 3)),
    "batch norm 1d": (lambda: nn.BatchNorm1D(3), (3,)),
    "layer norm": (lambda: nn.LayerNorm([2, 3]), (4, 2, 3)),
    "group norm": (lambda: nn.GroupNorm(2, 4), (4, 3, 2)),
    "instance norm": (lambda: nn.InstanceNorm2D(2), (2, 3, 3)),
    "prelu": (lambda: nn.PReLU(2), (2, 3)),
    "max pool": (lambda: nn.MaxPool2D(3, 2, 1), (2, 5, 4)),
    "max pool of 2 x 2": (lambda: nn.MaxPool2D(2), (2, 5, 4)),
    "max pool 1d": (lambda: nn.MaxPool1D(3, 2, 1), (2, 6)),
    "avg pool 1d": (lambda: nn.AvgPool1D(2), (2, 6)),
    "adaptive max pool 1d": (lambda: nn.AdaptiveMaxPool1D(3), (2, 6)),
    "conv, padded by reflection": (
        lambda: nn.Conv2D(1, 2, 3, 2, 1, padding_mode="reflect"),
        (1, 5, 4),
    ),
    "conv1d, padded in a circle": (
        lambda: nn.Conv1D(1, 2, 3, 1, 1, padding_mode="circular"),
        (1, 5),
    ),
    "upsample": (lambda: nn.Upsample(scale_factor=2), (1, 3, 2)),
    "upsample, bilinear": (lambda: nn.Upsample([5, 3], mode="bilinear"), (2, 3, 4)),
    "upsample, aligned": (
        lambda: nn.Upsample([5, 7], mode="bicubic", align_corners=True),
        (1, 3, 4),
    ),
    "avg pool": (lambda: nn.AvgPool2D(2), (1, 4, 4)),
    "adaptive avg pool": (lambda: nn.AdaptiveAvgPool2D(3), (2, 5, 4)),
    "adaptive max pool": (lambda: nn.AdaptiveMaxPool2D(2), (1, 4, 6)),
    **{
        name: (getattr(nn, name), (4,))
        for name in (
            "ReLU LeakyReLU ELU CELU SELU GELU Sigmoid Tanh Softmax LogSoftmax Silu Swish Mish "
            "Softplus Hardswish ReLU6 Hardtanh Hardsigmoid Softsign Tanhshrink LogSigmoid"
        ).split()
    },
}


class Function(nn.Layer):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


LAYERS |= {
    name: (lambda function=function: Function(function), (3, 4))
    for name, function in {
        "exp": paddle.exp,
        "exp, as a method": lambda x: x.exp(),
        "dot": lambda x: paddle.dot(x[:, 0], x[:, 1]).unsqueeze(1),
        "bmm": lambda x: paddle.bmm(x, x.transpose([0, 2, 1])),
        "stack": lambda x: paddle.stack([x, x * x], axis=1),
        "logsumexp": lambda x: x.logsumexp(axis=-1),
        "logsumexp of two axes": lambda x: paddle.logsumexp(x, [1, 2], keepdim=True),
    }.items()
}


@pytest.mark.filterwarnings("ignore:When training:UserWarning")
@pytest.mark.parametrize("name", LAYERS)
def test_a_twin_does_what_paddles_layer_does_and_has_two_derivatives(name):
    make, shape = LAYERS[name]
    check_twin(make(), shape)


def check_twin(layer, shape):
    # the parameter beside it keeps a layer without weights a network
    network = maml.from_layer(nn.Sequential(nn.PReLU(), layer))
    rng = np.random.default_rng(0)
    x = rng.standard_normal([2, 3, *shape])
    expected = [layer(F.prelu(paddle.to_tensor(a), network.theta[0])).numpy() for a in x]
    assert relative_error(network(paddle.to_tensor(x)).numpy(), np.stack(expected)) < 1e-6
    arrays = [x, *(np.stack([p.numpy()] * 2) for p in network.theta)]
    few = [0, *range(1, len(arrays))] if arrays[0].size < 200 else [*range(1, len(arrays))]
    fixed = {0: paddle.to_tensor(x)} if 0 not in few else {}

    def run(*tensors):
        by_place = {**fixed, **dict(zip(few, tensors))}
        return network(by_place[0], [by_place[i] for i in range(1, len(arrays))], twice=True)

    check_twice_differentiable(run, *(arrays[i] for i in few), tolerance=2e-5)


def test_wide_convolutions_are_computed_in_tiles(monkeypatch):
    monkeypatch.setattr(windows, "TILED", 2)
    check_twin(nn.Conv2D(2, 2, 3, padding=1), (2, 4, 6))
    at = windows.Geometry((4, 6), (3, 3), (1, 1), (1, 1, 1, 1))
    assert isinstance(windows.window_patches(at, 3, 2)[0], winograd.Tiles)


def test_a_sum_of_activations_keeps_the_rows_that_both_have():
    class Sum(nn.Layer):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2D(1, 2, 3, padding=1), nn.Conv2D(1, 2, 1)

        def forward(self, x):
            a, b = self.one(x), self.two(x)
            total, by_function = a + b, paddle.add(a, b)
            kept.append(kept_rows(total))
            assert np.array_equal(total.numpy(), a.numpy() + b.numpy())
            assert np.array_equal(total.numpy(), by_function.numpy())
            assert np.array_equal((a + 1).numpy(), a.numpy() + 1)
            assert kept_rows(x + x) is None, "an image has no rows"
            total.add_(b)
            assert kept_rows(total) is None, "they are no longer its own"
            return (a + b).flatten(1)

    kept, before = [], paddle.Tensor.__add__
    with paddle.no_grad():
        network = maml.from_layer(Sum())
        network._at_once(images(2, 3), [p.unsqueeze(0) for p in network.theta], *[None] * 4)
    assert paddle.Tensor.__add__ is before
    if REMEMBERS:
        assert kept[0].shape == [2, 3 * 64, 2]


def test_dropout_of_channels_is_left_out_where_two_ways_are_compared_and_only_there():
    network = maml.from_layer(nn.Sequential(nn.Conv2D(1, 50, 1), nn.Dropout2D(0.5)))
    dropped = (network(images(1, 2)).numpy() == 0).all(axis=(-1, -2))
    assert network.together and 0.3 < dropped.mean() < 0.7
    network = maml.from_layer(nn.Sequential(nn.Linear(8, 3), nn.AlphaDropout(0.5)))
    network(images(1, 2))
    assert network.together


@pytest.mark.parametrize(
    "layer",
    [
        nn.MaxPool2D(2, data_format="NHWC"),
        nn.AdaptiveAvgPool2D(2, data_format="NHWC"),
        nn.PReLU(8, data_format="NHWC"),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_channels_last_are_refused(layer):
    network = maml.from_layer(nn.Sequential(nn.Conv2D(1, 8, 1), layer))
    with pytest.raises(UserError, match="data_format NHWC; use channels first"):
        network(images(1, 2))
