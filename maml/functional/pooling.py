"""Max-pooling, 2x2, of rows in the order that `patches(..., pooled=True)` gives them."""

from __future__ import annotations

import paddle
from paddle import Tensor
from paddle.autograd import PyLayer

from maml.functional.rows import apply


class _MaxPool(PyLayer):
    @staticmethod
    def forward(ctx, needs, x, size):
        a, b, c, d = (x[:, k * size:(k + 1) * size] for k in range(4))
        ab, cd = paddle.maximum(a, b), paddle.maximum(c, d)
        above, left, lower_left = ((first >= second).astype(x.dtype) for first, second in ((ab, cd), (a, b), (c, d)))
        below = 1 - above
        ctx.choices = [above * left, above * (1 - left), below * lower_left, below * (1 - lower_left)]
        ctx.rows = x.shape[1]
        return paddle.maximum(ab, cd)

    @staticmethod
    def backward(ctx, g):
        return apply(_Unselect, g, choices=ctx.choices, rows=ctx.rows)


class _Select(PyLayer):
    """The rows of x, by quarters, where each of `choices` is 1; linear, and the transpose of `_Unselect`."""

    @staticmethod
    def forward(ctx, needs, x, choices):
        ctx.choices, ctx.rows = choices, x.shape[1]
        size = choices[0].shape[1]
        return paddle.add_n([x[:, k * size:(k + 1) * size] * choice for k, choice in enumerate(choices)])

    @staticmethod
    def backward(ctx, g):
        return apply(_Unselect, g, choices=ctx.choices, rows=ctx.rows)


class _Unselect(PyLayer):
    @staticmethod
    def forward(ctx, needs, g, choices, rows):
        ctx.choices = choices
        rest = paddle.zeros([g.shape[0], rows - 4 * g.shape[1], g.shape[2]], g.dtype)
        return paddle.concat([g * choice for choice in choices] + [rest], axis=1)

    @staticmethod
    def backward(ctx, x):
        return apply(_Select, x, choices=ctx.choices)


def max_pool(x: Tensor, height: int, width: int, images: int) -> Tensor:
    """The largest of each 2x2 window, [T, (height // 2) * (width // 2) * N, C]; of equal ones the first, as blank paper has many."""
    return apply(_MaxPool, x, size=height // 2 * (width // 2) * images)
