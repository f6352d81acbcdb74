"""2x2 max-pooling of rows in the order of `patches(..., pooled=True)`.

There are two forms: pooling of given rows, and pooling of the product of the first convolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import paddle
from paddle import Tensor
from paddle.autograd import PyLayer

from maml.functional.devices import at_once
from maml.functional.rows import CACHE, apply


class Choice(NamedTuple):
    """Which of the four corners a, b, c, d of each window is the largest.

    Of equal corners it is the first. Blank paper has many such windows.

    Args:
        upper (Tensor): 1 if it is a or b, 0 if it is c or d, [T, M, C].
        a (Tensor): 1 if a is the larger of a and b, else 0, [T, M, C].
        c (Tensor): 1 if c is the larger of c and d, else 0, [T, M, C].
    """

    upper: Tensor
    a: Tensor
    c: Tensor


def _largest(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    return paddle.maximum(paddle.maximum(a, b), paddle.maximum(c, d))


def _choose(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Choice:
    def first(p: Tensor, q: Tensor) -> Tensor:
        # bytes in between, since Paddle converts bool to float slowly
        return (p >= q).astype("uint8").astype(p.dtype)

    return Choice(first(paddle.maximum(a, b), paddle.maximum(c, d)), first(a, b), first(c, d))


def _select(choice: Choice, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Return the chosen corner of each window; linear in the corners."""
    upper, lower = b + choice.a * (a - b), d + choice.c * (c - d)
    return lower + choice.upper * (upper - lower)


def _unselect(choice: Choice, g: Tensor) -> list[Tensor]:
    """Return the transpose of `_select`: g for the chosen corner, and 0 for the others."""
    upper = g * choice.upper
    lower = g - upper
    a, c = upper * choice.a, lower * choice.c
    return [a, upper - a, c, lower - c]


def _corners(x: Tensor, size: int) -> list[Tensor]:
    """Return the four corners of `size` windows, contiguous, so that no operation copies them."""
    return [x[:, k * size : (k + 1) * size].contiguous() for k in range(4)]


class _MaxPool(PyLayer):
    @staticmethod
    def forward(ctx, needs, x, size):
        corners = _corners(x, size)
        ctx.choice, ctx.rows = _choose(*corners) if needs[0] else None, x.shape[1]
        return _largest(*corners)

    @staticmethod
    def backward(ctx, g):
        return apply(_Unselect, g, choice=ctx.choice, rows=ctx.rows)


class _Select(PyLayer):
    @staticmethod
    def forward(ctx, needs, x, choice):
        ctx.choice, ctx.rows = choice, x.shape[1]
        return _select(choice, *_corners(x, choice.a.shape[1]))

    @staticmethod
    def backward(ctx, g):
        return apply(_Unselect, g, choice=ctx.choice, rows=ctx.rows)


class _Unselect(PyLayer):
    @staticmethod
    def forward(ctx, needs, g, choice, rows):
        ctx.choice = choice
        rest = paddle.zeros([g.shape[0], rows - 4 * g.shape[1], g.shape[2]], g.dtype)
        return paddle.concat([*_unselect(choice, g), rest], axis=1)

    @staticmethod
    def backward(ctx, x):
        return apply(_Select, x, choice=ctx.choice)


def max_pool(x: Tensor, height: int, width: int, images: int) -> Tensor:
    """Return the maximum of each 2x2 window, differentiable any number of times.

    Of equal maxima, the first one gets the gradient.

    Args:
        x (Tensor): rows of activations, [T, height * width * N, C], as `convolve` returns them with
            the tables of `patches(..., pooled=True)`.
        height, width (int): size of the images in x.
        images (int): images of each task, N.

    Returns:
        Tensor: rows of activations, [T, (height // 2) * (width // 2) * N, C], in the order that the
        next convolution needs.

    Example:
        >>> import paddle
        >>> from maml import functional as fn
        >>> x = paddle.to_tensor([[[1.0], [4.0], [3.0], [2.0]]])  # 1 task, 1 image, 2 x 2 pixels
        >>> fn.max_pool(x, height=2, width=2, images=1).tolist()
        [[[4.0]]]
    """
    return apply(_MaxPool, x, size=height // 2 * (width // 2) * images)


class _Product:
    """The product of columns [T, 4 * M + ..., K] and w [T, K, C], as four corners [T, M, C].

    It is computed in blocks of windows, each of which fits into the cache. The whole product is
    many times larger than its factors and than the result of pooling. So it is not kept, but
    computed again when it is needed again.
    """

    def __init__(self, columns: Tensor, w: Tensor, size: int):
        self.columns, self.w, self.size = columns, w.detach(), size

    def blocks(self) -> Iterator[tuple[slice, list[Tensor], list[Tensor]]]:
        """Yield for each block a slice of the M windows, their columns and their corners."""
        tasks, _, filters = self.w.shape
        step = max(1, at_once(CACHE) // (4 * tasks * filters * self.w.element_size()))
        for start in range(0, self.size, step):
            stop = min(start + step, self.size)
            firsts = [k * self.size for k in range(4)]
            columns = [self.columns[:, first + start : first + stop] for first in firsts]
            yield slice(start, stop), columns, [paddle.matmul(c, self.w) for c in columns]


def _concatenate_with_zero_row(blocks: Sequence[Tensor]) -> Tensor:
    """Return blocks of M rows in total and a row of zeros, [T, M + 1, C].

    The next convolution reads its padding from that row. Otherwise, it would copy the whole
    activation to append such a row.
    """
    tasks, _, filters = blocks[0].shape
    return paddle.concat([*blocks, paddle.zeros([tasks, 1, filters], blocks[0].dtype)], axis=1)


class _PoolProduct(PyLayer):
    @staticmethod
    def forward(ctx, needs, w, columns, size):
        ctx.product = _Product(columns, w, size)
        blocks = [_largest(*corners) for _, _, corners in ctx.product.blocks()]
        return _concatenate_with_zero_row(blocks)

    @staticmethod
    def backward(ctx, g):
        return apply(_UnselectProduct, g, product=ctx.product)


class _SelectProduct(PyLayer):
    """The derivative of `_PoolProduct` in the direction of v [T, K, C].

    It selects from columns times v the corners that `_PoolProduct` chose.
    """

    @staticmethod
    def forward(ctx, needs, v, product):
        ctx.product = product
        blocks = [
            _select(_choose(*corners), *(paddle.matmul(c, v) for c in columns))
            for _, columns, corners in product.blocks()
        ]
        return _concatenate_with_zero_row(blocks)

    @staticmethod
    def backward(ctx, g):
        return apply(_UnselectProduct, g, product=ctx.product)


class _UnselectProduct(PyLayer):
    """The transpose of `_SelectProduct`, from [T, M + 1, C] to [T, K, C]."""

    @staticmethod
    def forward(ctx, needs, g, product):
        ctx.product = product
        products = [
            paddle.matmul(c, part, transpose_x=True)
            for block, columns, corners in product.blocks()
            for c, part in zip(columns, _unselect(_choose(*corners), g[:, block]))
        ]
        return paddle.add_n(products)

    @staticmethod
    def backward(ctx, v):
        return apply(_SelectProduct, v, product=ctx.product)


def max_pool_product(columns: Tensor, w: Tensor, height: int, width: int, images: int) -> Tensor:
    """Return max_pool(matmul(columns, w)) and a row of zeros, differentiable with respect to w.

    Args:
        columns (Tensor): patches, [T, height * width * N + ..., K]; further rows are ignored.
        w (Tensor): weights, [T, K, C].
        height, width (int): size of the images in the product.
        images (int): images of each task, N.

    Returns:
        Tensor: rows of activations, [T, (height // 2) * (width // 2) * N + 1, C].
    """
    return apply(_PoolProduct, w, columns=columns, size=height // 2 * (width // 2) * images)
