import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from helpers import check_twice_differentiable, relative_error

from maml import functional as fn
from maml.functional import strips

pytestmark = pytest.mark.both_paddles


def as_paddle(x):
    """[H, N, W, C] -> [N, C, H, W]"""
    return paddle.to_tensor(x.transpose(1, 3, 0, 2))


def from_paddle(y):
    """[N, C, H, W] -> [H, N, W, C]"""
    return y.numpy().transpose(2, 0, 3, 1)


@pytest.fixture(params=["one product a row", "one product"])
def narrow(request, monkeypatch):
    """Whether strips are slid over or joined."""
    monkeypatch.setattr(strips, "NARROW", 0 if request.param == "one product a row" else 1000)


@pytest.mark.parametrize("block", [1, 1 << 20])  # a block of one image, or of all
@pytest.mark.parametrize("size, kernel", [((6, 7), 3), ((5, 5), 5), ((4, 3), 2), ((3, 4), 1)])
def test_convolve_valid_and_its_gradients_are_paddles(
    rng, monkeypatch, narrow, size, kernel, block
):
    monkeypatch.setattr(strips, "BLOCK", block)
    height, width = size
    x = rng.standard_normal((height, 3, width, 2))
    w = rng.standard_normal((kernel, kernel, 2, 4))
    g = rng.standard_normal((height - kernel + 1, 3, width - kernel + 1, 4))
    ours = fn.leaves([paddle.to_tensor(a) for a in (x, w)])
    y = fn.convolve_valid(*ours)
    theirs = fn.leaves([as_paddle(x), paddle.to_tensor(w.transpose(3, 2, 0, 1))])
    expected = F.conv2d(*theirs)
    assert relative_error(y.numpy(), from_paddle(expected)) < 1e-12
    dx, dw = paddle.grad(y, ours, paddle.to_tensor(g))
    expected_dx, expected_dw = paddle.grad(expected, theirs, as_paddle(g))
    assert relative_error(dx.numpy(), from_paddle(expected_dx)) < 1e-12
    assert relative_error(dw.numpy(), expected_dw.numpy().transpose(2, 3, 1, 0)) < 1e-12


def test_convolve_valid_twice(rng, narrow):
    check_twice_differentiable(
        lambda x, w: fn.convolve_valid(x * x, w * w),
        rng.standard_normal((5, 2, 4, 2)),
        rng.standard_normal((3, 3, 2, 3)),
    )


@pytest.mark.parametrize("size", [(4, 6), (5, 3), (2, 7)])
def test_max_pool_valid_is_paddles(rng, size):
    x = rng.standard_normal((size[0], 3, size[1], 2))
    expected = from_paddle(F.max_pool2d(as_paddle(x), 2))
    assert np.array_equal(fn.max_pool_valid(paddle.to_tensor(x)).numpy(), expected)


def test_max_pool_valid_twice(rng):
    check_twice_differentiable(
        lambda x: fn.max_pool_valid(x * x), rng.standard_normal((5, 2, 4, 3))
    )
