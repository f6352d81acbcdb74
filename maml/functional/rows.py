"""Rows of activations [T, M, C]: sums over them and repetition, and differentiation by hand-written
derivatives.
"""

from __future__ import annotations

from functools import lru_cache

import paddle
from paddle import Tensor
from paddle.autograd import PyLayer

CACHE = 4 << 20  # bytes to work on at once: the next operation finds them in the cache


@lru_cache(maxsize=256)
def _filled(shape: tuple[int, ...], value: float, dtype: paddle.dtype) -> Tensor:
    return paddle.full(shape, value, dtype)


def sum_rows(x: Tensor) -> Tensor:
    """[T, M, C] -> [T, 1, C]"""
    return paddle.matmul(_filled((x.shape[0], 1, x.shape[1]), 1.0, x.dtype), x)


def mean_rows(x: Tensor) -> Tensor:
    """[T, M, C] -> [T, 1, C]"""
    return paddle.matmul(_filled((x.shape[0], 1, x.shape[1]), 1 / x.shape[1], x.dtype), x)


def repeat_rows(v: Tensor, rows: int) -> Tensor:
    """[T, 1, C] -> [T, rows, C]"""
    return paddle.matmul(_filled((v.shape[0], rows, 1), 1.0, v.dtype), v)


def append_zero_row(x: Tensor) -> Tensor:
    """[T, M, C] -> [T, M + 1, C]; the row that patch tables point to outside of the image."""
    zero = paddle.zeros([x.shape[0], 1, x.shape[2]], x.dtype)
    zero.stop_gradient = (
        x.stop_gradient
    )  # Paddle differentiates a concatenation twice only if all of its parts need gradients
    return paddle.concat([x, zero], axis=1)


def apply(layer: type[PyLayer], *tensors: Tensor, **constants) -> Tensor:
    """`layer` of `tensors`, whose `forward(ctx, needs, *tensors, **constants)` is told which of
    them need a gradient.

    Its `backward` must answer None for those that need none, and inside `forward` that is no longer
    known.
    """
    return layer.apply(tuple(not t.stop_gradient for t in tensors), *tensors, **constants)
