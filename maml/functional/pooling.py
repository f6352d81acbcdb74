"""Max-pooling, 2x2, of rows in the order that `patches(..., pooled=True)` gives them, alone and of
the first convolution's product.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import paddle
from paddle import Tensor
from paddle.autograd import PyLayer

from maml.functional.rows import CACHE, apply


class Choice(NamedTuple):
    """Which of four corners was the largest, of equal ones the first, as blank paper has many: 0 or
    1 each, [T, M, C].
    """

    upper: Tensor
    """it is a or b, not c or d"""
    a: Tensor
    """of a and b it is a"""
    c: Tensor
    """of c and d it is c"""


def _largest(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    return paddle.maximum(paddle.maximum(a, b), paddle.maximum(c, d))


def _choose(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Choice:
    def first(p, q):  # by way of bytes, since Paddle turns truth values into numbers slowly
        return (p >= q).astype("uint8").astype(p.dtype)

    return Choice(first(paddle.maximum(a, b), paddle.maximum(c, d)), first(a, b), first(c, d))


def _select(choice: Choice, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """The chosen of four corners; linear in them."""
    upper, lower = b + choice.a * (a - b), d + choice.c * (c - d)
    return lower + choice.upper * (upper - lower)


def _unselect(choice: Choice, g: Tensor) -> list[Tensor]:
    """The transpose of `_select`: g for the chosen corner, 0 for the others."""
    upper = g * choice.upper
    lower = g - upper
    a, c = upper * choice.a, lower * choice.c
    return [a, upper - a, c, lower - c]


def _corners(x: Tensor, size: int) -> list[Tensor]:
    return [
        x[:, k * size : (k + 1) * size].contiguous() for k in range(4)
    ]  # once, not before each operation


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
    """The largest of each 2x2 window, [T, (height // 2) * (width // 2) * N, C]."""
    return apply(_MaxPool, x, size=height // 2 * (width // 2) * images)


class _Product:
    """columns [T, 4 * M + ..., K] times w [T, K, C], as four corners [T, M, C]: a block of M at a
    time, so that it stays in the cache.

    The product itself is many times larger than what goes in and what is left after pooling, so it
    is made anew when it is needed again.
    """

    def __init__(self, columns: Tensor, w: Tensor, size: int):
        self.columns, self.w, self.size = columns, w.detach(), size

    def blocks(self) -> Iterator[tuple[slice, list[Tensor], list[Tensor]]]:
        """(which of the M, the columns of its corners, the corners) for each block."""
        tasks, _, filters = self.w.shape
        step = max(1, CACHE // (4 * tasks * filters * self.w.element_size()))
        for i in range(0, self.size, step):
            block = slice(i, min(i + step, self.size))
            columns = [
                self.columns[:, k * self.size + block.start : k * self.size + block.stop]
                for k in range(4)
            ]
            yield block, columns, [paddle.matmul(c, self.w) for c in columns]


def _join(blocks: Sequence[Tensor]) -> Tensor:
    """Blocks of M rows in all -> [T, M + 1, C] with the row of zeros that the next convolution
    would otherwise make a copy to append.
    """
    tasks, _, filters = blocks[0].shape
    return paddle.concat([*blocks, paddle.zeros([tasks, 1, filters], blocks[0].dtype)], axis=1)


class _PoolProduct(PyLayer):
    @staticmethod
    def forward(ctx, needs, w, columns, size):
        ctx.product = _Product(columns, w, size)
        return _join([_largest(*corners) for _, _, corners in ctx.product.blocks()])

    @staticmethod
    def backward(ctx, g):
        return apply(_UnselectProduct, g, product=ctx.product)


class _SelectProduct(PyLayer):
    """The derivative of `_PoolProduct` in the direction of v [T, K, C]: the corners that were
    chosen there, of columns times v.
    """

    @staticmethod
    def forward(ctx, needs, v, product):
        ctx.product = product
        return _join(
            [
                _select(_choose(*corners), *(paddle.matmul(c, v) for c in columns))
                for _, columns, corners in product.blocks()
            ]
        )

    @staticmethod
    def backward(ctx, g):
        return apply(_UnselectProduct, g, product=ctx.product)


class _UnselectProduct(PyLayer):
    """The transpose of `_SelectProduct`: [T, M + 1, C] -> [T, K, C]."""

    @staticmethod
    def forward(ctx, needs, g, product):
        ctx.product = product
        return paddle.add_n(
            [
                paddle.matmul(c, part, transpose_x=True)
                for block, columns, corners in product.blocks()
                for c, part in zip(columns, _unselect(_choose(*corners), g[:, block]))
            ]
        )

    @staticmethod
    def backward(ctx, v):
        return apply(_SelectProduct, v, product=ctx.product)


def max_pool_product(columns: Tensor, w: Tensor, height: int, width: int, images: int) -> Tensor:
    """max_pool(matmul(columns, w)) and a row of zeros, differentiable with respect to w: columns
    [T, height * width * N + ..., K], w [T, K, C].
    """
    return apply(_PoolProduct, w, columns=columns, size=height // 2 * (width // 2) * images)
