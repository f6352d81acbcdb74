"""Rows of activations [T, M, C]: their sums, repetitions, and hand-written derivatives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import paddle
from paddle import Tensor
from paddle.autograd import PyLayer

from maml.functional.devices import remembered

CACHE = 4 << 20  # bytes of a block of rows, so that the next operation finds it in the cache


@remembered(256)
def _filled(shape: tuple[int, ...], value: float, dtype: paddle.dtype) -> Tensor:
    return paddle.full(shape, value, dtype)


def sum_rows(x: Tensor) -> Tensor:
    """Return the sum of the rows [T, M, C], as [T, 1, C]."""
    return paddle.matmul(_filled((x.shape[0], 1, x.shape[1]), 1.0, x.dtype), x)


def mean_rows(x: Tensor) -> Tensor:
    """Return the mean of the rows [T, M, C], as [T, 1, C]."""
    return paddle.matmul(_filled((x.shape[0], 1, x.shape[1]), 1 / x.shape[1], x.dtype), x)


def repeat_rows(v: Tensor, rows: int) -> Tensor:
    """Return the vector [T, 1, C] as `rows` equal rows, [T, rows, C]."""
    return paddle.matmul(_filled((v.shape[0], rows, 1), 1.0, v.dtype), v)


def append_zero_row(x: Tensor) -> Tensor:
    """Append a row of zeros to rows [T, M, C]; the tables of `patches` read the padding from it."""
    zero = zero_row(x)
    if not x.stop_gradient:
        # Paddle differentiates a concatenation twice only if all of its parts need gradients.
        zero = zero.clone()
        zero.stop_gradient = False
    return paddle.concat([x, zero], axis=1)


def zero_row(x: Tensor) -> Tensor:
    """Return a constant row of zeros for rows [T, M, C], [T, 1, C]."""
    return _filled((x.shape[0], 1, x.shape[2]), 0.0, x.dtype)


def placed(needs: Sequence[bool], gradients: Iterable[Tensor]) -> tuple[Tensor | None, ...]:
    """Return gradients in the places of the tensors that need one, and None in the others."""
    found = iter(gradients)
    return tuple(next(found) if need else None for need in needs)


def apply(layer: type[PyLayer], *tensors: Tensor, **constants) -> Tensor:
    """Apply a layer with hand-written derivatives.

    The layer's `backward` must return None for a tensor that needs no gradient. Inside `forward`,
    Paddle no longer knows which tensors need one, so `forward` gets this information as `needs`.

    Args:
        layer (type[PyLayer]): has `forward(ctx, needs, *tensors, **constants)`, where `needs` is a
            tuple with a bool for each tensor.
        *tensors (Tensor): the arguments of the layer that may need a gradient.
        **constants: further arguments of the layer.

    Returns:
        Tensor: what `forward` returns; some layers return a tuple of tensors.
    """
    return layer.apply(tuple(not t.stop_gradient for t in tensors), *tensors, **constants)
