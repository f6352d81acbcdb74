"""3x3 convolution with one pixel of padding, as a gather and one matrix product for every task,
differentiable any number of times.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
import paddle
from paddle import Tensor
from paddle.autograd import PyLayer

from maml.functional.rows import CACHE, append_zero_row, apply


class Patches(NamedTuple):
    """Where a 3x3 convolution reads and, for its transpose, writes. Made by `patches`."""

    gather: Tensor
    """[P_out * N * 9] int32, the row of the input for each (output row, tap)"""
    scatter: list[tuple[Tensor, Tensor]]
    """One (taps, rows) for each class of input positions that are reached by the same taps: taps
    [K] and, for each input row of the class, the K output rows that it contributed to, [P_class * N
    * K]
    """
    rows_in: int
    rows_out: int

    @property
    def taps(self) -> int:
        """The number of input rows that an output row reads."""
        return self.gather.shape[0] // self.rows_out


def by_remainder(height: int, width: int, stride: int) -> list[np.ndarray]:
    """The positions i * width + j in classes of the same remainders of i and j modulo the stride,
    as the rows of activations are ordered.

    An input position (i, j) is read through tap (a, b) by output ((i + 1 - a) / stride, (j + 1 - b)
    / stride) where these are whole numbers, so a class is reached by the same taps. Its share of
    the transposed convolution is therefore a dense gather and a matrix product, and nothing needs a
    scatter-add.
    """
    position = np.arange(height * width).reshape(height, width)
    classes = [position[i::stride, j::stride].ravel() for i, j in np.ndindex(stride, stride)]
    return [members for members in classes if len(members)]


def _pooling_order(height: int, width: int) -> np.ndarray:
    """Positions such that `max_pool` finds the upper left corners of all 2x2 windows first, then
    the upper right, lower left and lower right ones in the same order, then positions in no window.
    """
    position = np.arange(height * width).reshape(height, width)
    windows = position[: height // 2 * 2, : width // 2 * 2]
    corners = np.concatenate([windows[i::2, j::2].ravel() for i in (0, 1) for j in (0, 1)])
    return np.concatenate([corners, np.setdiff1d(position, corners)])


def output_order(height: int, width: int, stride: int, pooled: bool) -> np.ndarray:
    """The output's positions, in the order of its rows: as `max_pool` takes them if `pooled`, else
    as the next convolution does.
    """
    high, wide = -(-height // stride), -(-width // stride)
    return (
        _pooling_order(high, wide) if pooled else np.concatenate(by_remainder(high, wide, stride))
    )


def taps(height: int, width: int, stride: int, pooled: bool) -> np.ndarray:
    """[P_out, 9]: the position that each output reads through each tap, height * width for one
    outside of the image.
    """
    out, tap, wide = (
        output_order(height, width, stride, pooled)[:, None],
        np.arange(9),
        -(-width // stride),
    )
    i, j = out // wide * stride + tap // 3 - 1, out % wide * stride + tap % 3 - 1
    return np.where((0 <= i) & (i < height) & (0 <= j) & (j < width), i * width + j, height * width)


def _rows(positions: np.ndarray, order: np.ndarray, images: int) -> Tensor:
    """Positions [..., K], len(order) for none -> the rows [..., N, K] that hold them, flat; none is
    the row after the last.
    """
    place = np.argsort(np.append(order, len(order)))[positions]
    rows = np.where(
        place == len(order), place * images, place * images + np.arange(images)[:, None, None]
    ).transpose(1, 0, 2)
    return paddle.to_tensor(rows.ravel().astype("int32"))


@lru_cache(maxsize=64)
def patches(height: int, width: int, stride: int, images: int, pooled: bool = False) -> Patches:
    """Index tables for `images` images of `height` x `width`; the output is ceil(height / stride) x
    ceil(width / stride).

    The input's positions are in the order of `by_remainder`, the output's in that of
    `output_order`.
    """
    classes, out = by_remainder(height, width, stride), output_order(height, width, stride, pooled)
    read = taps(height, width, stride, pooled)
    writes = np.full(
        [height * width + 1, 9], len(out)
    )  # [P_in, 9]: the output that reads each position through each tap
    writes[read, np.arange(9)] = out[:, None]
    scatter = []
    for members in classes:
        reached = np.flatnonzero((writes[members] < len(out)).any(axis=0))
        scatter.append(
            (
                paddle.to_tensor(reached.astype("int32")),
                _rows(writes[members][:, reached], out, images),
            )
        )
    return Patches(
        _rows(read, np.concatenate(classes), images),
        scatter,
        height * width * images,
        len(out) * images,
    )


KEEP = (
    16 << 20
)  # bytes up to which what was gathered is kept for the next product instead of gathered anew


class _View:
    """An activation, and what the products below gather from it: small ones once, though several
    need them, large ones bit by bit.
    """

    def __init__(self, x: Tensor, at: Patches):
        self.x, self.at = x.detach(), at
        self.kept: dict[object, Tensor] = {}

    def _gather(
        self, what: object, table: Tensor, width: int, rows_in: int
    ) -> Iterator[tuple[slice, Tensor]]:
        """Rows of x by `table` [R * width], in blocks: which of the R they are, and [T, block,
        width * C].
        """
        x = (
            self.x if self.x.shape[1] > rows_in else append_zero_row(self.x)
        )  # patches of an input may already have that row
        tasks, _, channels = x.shape
        rows, row = table.shape[0] // width, tasks * width * channels * x.element_size()
        if rows * row <= KEEP:
            if what not in self.kept:
                self.kept[what] = paddle.gather(x, table, axis=1).reshape(
                    [tasks, rows, width * channels]
                )
            yield slice(0, rows), self.kept[what]
        else:
            size = max(1, CACHE // row)
            for i in range(0, rows, size):
                block = slice(i, min(i + size, rows))
                gathered = paddle.gather(x, table[block.start * width : block.stop * width], axis=1)
                yield block, gathered.reshape([tasks, -1, width * channels])

    def columns(self) -> Iterator[tuple[slice, Tensor]]:
        """An input [T, P_in * N, C] as patches [T, P_out * N, 9 * C], in blocks of rows."""
        return self._gather("columns", self.at.gather, self.at.taps, self.at.rows_in)

    def reached(self, k: int) -> Iterator[tuple[slice, Tensor]]:
        """An output [T, P_out * N, C] as [T, P_class * N, K * C] by the input positions of class k,
        in blocks of rows.
        """
        taps, table = self.at.scatter[k]
        return self._gather(k, table, taps.shape[0], self.at.rows_out)


class _Filters:
    """Weights [T, 9 * C_in, C_out] as the transposed convolution multiplies by them, made once and
    when first needed.
    """

    def __init__(self, w: Tensor, at: Patches):
        self.w, self.at = w.detach(), at

    @cached_property
    def classes(self) -> list[Tensor]:
        """[T, K * C_out, C_in] for each class of input positions, its K taps."""
        tasks, rows, filters = self.w.shape
        w = (
            self.w.reshape([tasks, self.at.taps, -1, filters]).transpose([0, 1, 3, 2]).contiguous()
        )  # [T, taps, C_out, C_in]
        return [
            paddle.gather(w, taps, axis=1).reshape([tasks, -1, rows // self.at.taps])
            for taps, _ in self.at.scatter
        ]


def _stacked(blocks: list[Tensor]) -> Tensor:
    return blocks[0] if len(blocks) == 1 else paddle.concat(blocks, axis=1)


# For x, w and a cotangent g the convolution is the trilinear form <g, x * w>. Fixing two of its
# arguments gives the convolution, its transpose and the gradient of its weights, and each of the
# three is differentiated by the other two.


class _Convolve(PyLayer):
    @staticmethod
    def forward(ctx, needs, x, w, x_view):
        ctx.needs, ctx.x_view, ctx.filters = needs, x_view, _Filters(w, x_view.at)
        ctx.save_for_backward(x, w)
        return _stacked([paddle.matmul(columns, w) for _, columns in x_view.columns()])

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensor()
        g = g.contiguous()  # once, where batch normalisation left its rows strided
        g_view = _View(g, ctx.x_view.at)
        return (
            (
                apply(
                    _ConvolveTransposed, g, w, g_view=g_view, filters=ctx.filters, rows=x.shape[1]
                )
                if ctx.needs[0]
                else None
            ),
            (
                apply(_ConvolveWeights, x, g, x_view=ctx.x_view, g_view=g_view)
                if ctx.needs[1]
                else None
            ),
        )


class _ConvolveTransposed(PyLayer):
    @staticmethod
    def forward(ctx, needs, g, w, g_view, filters, rows):
        ctx.needs, ctx.g_view = needs, g_view
        ctx.save_for_backward(g, w)
        at = g_view.at
        x = [
            paddle.matmul(gathered, w_class)
            for k, w_class in enumerate(filters.classes)
            for _, gathered in g_view.reached(k)
        ]
        return _stacked(
            x if rows == at.rows_in else x + [paddle.zeros([g.shape[0], 1, x[0].shape[2]], g.dtype)]
        )

    @staticmethod
    def backward(ctx, x):
        g, w = ctx.saved_tensor()
        x_view = _View(x, ctx.g_view.at)
        return (
            apply(_Convolve, x, w, x_view=x_view) if ctx.needs[0] else None,
            (
                apply(_ConvolveWeights, x, g, x_view=x_view, g_view=ctx.g_view)
                if ctx.needs[1]
                else None
            ),
        )


class _ConvolveWeights(PyLayer):
    @staticmethod
    def forward(ctx, needs, x, g, x_view, g_view):
        ctx.needs, ctx.x_view, ctx.g_view = needs, x_view, g_view
        ctx.save_for_backward(x, g)
        return paddle.add_n(
            [
                paddle.matmul(columns, g[:, block], transpose_x=True)
                for block, columns in x_view.columns()
            ]
        )

    @staticmethod
    def backward(ctx, w):
        x, g = ctx.saved_tensor()
        filters = _Filters(w, ctx.x_view.at)
        return (
            (
                apply(
                    _ConvolveTransposed, g, w, g_view=ctx.g_view, filters=filters, rows=x.shape[1]
                )
                if ctx.needs[0]
                else None
            ),
            apply(_Convolve, x, w, x_view=ctx.x_view) if ctx.needs[1] else None,
        )


def convolve(x: Tensor, w: Tensor, at: Patches) -> Tensor:
    """3x3 convolution with padding 1 and without a bias: x [T, P_in * N, C_in], w [T, 9 * C_in,
    C_out] -> [T, P_out * N, C_out].
    """
    return apply(_Convolve, x, w, x_view=_View(x, at))
