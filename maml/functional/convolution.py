"""3x3 convolution with one pixel of padding, differentiable any number of times.

It is a gather and one matrix product for every task; with stride 1, see `winograd`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
import paddle
from paddle import Tensor
from paddle.autograd import PyLayer

from maml.functional.devices import at_once, remembered
from maml.functional.positions import by_remainder, output_order, rows_of, taps
from maml.functional.rows import CACHE, append_zero_row, apply, zero_row
from maml.functional.winograd import Tiles, tiles, worth_it


class Patches(NamedTuple):
    """The rows that a convolution reads and, for its transpose, writes. See `patches`.

    Args:
        gather (Tensor): the row of the input for each pair (output row, tap), [P_out * N * taps]
            int32.
        scatter (list[tuple[Tensor, Tensor]]): a pair (taps, rows) for each class of input positions
            that are read through the same taps. taps [K] are these taps. rows
            [P_class * N * K] are, for each input row of the class, the K output rows that it
            contributes to.
        rows_in (int): rows of the input, P_in * N.
        rows_out (int): rows of the output, P_out * N.
    """

    gather: Tensor
    scatter: list[tuple[Tensor, Tensor]]
    rows_in: int
    rows_out: int

    @property
    def taps(self) -> int:
        """The number of input rows that an output row reads: 9 for a 3x3 convolution."""
        return self.gather.shape[0] // self.rows_out

    def view(self, x: Tensor) -> _View:
        """Return the patches of an activation, for the products that need them."""
        return _View(x, self)

    def filters(self, w: Tensor) -> _Filters:
        """Return weights, for the products that need them."""
        return _Filters(w, self)


@remembered(64)
def patches(
    height: int, width: int, stride: int, images: int, pooled: bool = False
) -> Patches | Tiles:
    """Return the index tables of a convolution, which depend on the sizes alone.

    The positions of the input must be in the order of `by_remainder`. Those of the output are in
    the order of `output_order`.

    Args:
        height, width (int): size of the input images.
        stride (int): stride of the convolution. The output has the size ceil(height / stride) x
            ceil(width / stride).
        images (int): images of each task, N.
        pooled (bool): `max_pool` follows the convolution.

    Returns:
        Patches | Tiles: the tables, which are cached; tiles where these take fewer products.

    Example:
        >>> from maml import functional as fn
        >>> fn.patches(4, 4, stride=2, images=3).rows_out  # 2 x 2 positions of 3 images
        12
    """
    if stride == 1 and worth_it(height, width):
        return tiles(height, width, images, pooled)
    classes = by_remainder(height, width, stride)
    out = output_order(height, width, stride, pooled)
    reads = taps(height, width, stride, pooled)
    # the output that reads each position through each tap, [P_in, 9]
    writes = np.full([height * width + 1, 9], len(out))
    writes[reads, np.arange(9)] = out[:, None]
    scatter = []
    for members in classes:
        reached = np.flatnonzero((writes[members] < len(out)).any(axis=0))
        rows = rows_of(writes[members][:, reached], out, images)
        scatter.append((paddle.to_tensor(reached.astype("int32")), rows))
    return Patches(
        gather=rows_of(reads, np.concatenate(classes), images),
        scatter=scatter,
        rows_in=height * width * images,
        rows_out=len(out) * images,
    )


# Gathered rows of at most this number of bytes are kept for the next product. Larger ones are
# gathered again.
KEEP = 16 << 20


class _View:
    """An activation, and the rows that the products below gather from it.

    Several products may need the same rows. If these are few, they are gathered once and kept. If
    they are many, they are gathered in blocks, and again for each product.
    """

    def __init__(self, x: Tensor, at: Patches):
        self.x, self.at = x.detach(), at
        self.kept: dict[object, Tensor] = {}

    def _gather(
        self, key: object, table: Tensor, width: int, rows_in: int
    ) -> Iterator[tuple[slice, Tensor]]:
        """Yield the rows of x by `table` [R * width] in blocks.

        A block consists of a slice of the R rows, and of these rows, [T, block, width * C]. If the
        rows are few, they are kept under the name `key`.
        """
        has_zero_row = self.x.shape[1] > rows_in  # the first layer has appended it
        x = self.x if has_zero_row else append_zero_row(self.x)
        tasks, _, channels = x.shape
        rows = table.shape[0] // width
        bytes_per_row = tasks * width * channels * x.element_size()
        if rows * bytes_per_row <= KEEP:
            if key not in self.kept:
                gathered = paddle.gather(x, table, axis=1)
                self.kept[key] = gathered.reshape([tasks, rows, width * channels])
            yield slice(0, rows), self.kept[key]
        else:
            size = max(1, at_once(CACHE) // bytes_per_row)
            for i in range(0, rows, size):
                block = slice(i, min(i + size, rows))
                gathered = paddle.gather(x, table[block.start * width : block.stop * width], axis=1)
                yield block, gathered.reshape([tasks, -1, width * channels])

    def columns(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield an input [T, P_in * N, C] as patches [T, P_out * N, taps * C], in blocks."""
        return self._gather("columns", self.at.gather, self.at.taps, self.at.rows_in)

    def reached(self, k: int) -> Iterator[tuple[slice, Tensor]]:
        """Yield an output [T, P_out * N, C] as [T, P_class * N, K * C], in blocks of rows.

        The rows are those that the input positions of class k contribute to.
        """
        taps, table = self.at.scatter[k]
        return self._gather(k, table, taps.shape[0], self.at.rows_out)

    def convolved(self, filters: _Filters) -> Tensor:
        """Return the convolution of an input."""
        return _concatenate([paddle.matmul(columns, filters.w) for _, columns in self.columns()])

    def transposed(self, filters: _Filters, rows: int) -> Tensor:
        """Return the transposed convolution of an output, for an input of this number of rows."""
        x = [
            paddle.matmul(gathered, w_class)
            for k, w_class in enumerate(filters.classes)
            for _, gathered in self.reached(k)
        ]
        if rows > self.at.rows_in:  # the input had a row of zeros
            x.append(zero_row(x[0]))
        return _concatenate(x)

    def weights(self, output: _View) -> Tensor:
        """Return the gradient of the weights, of this input and an output's cotangent."""
        products = [
            paddle.matmul(columns, output.x[:, block], transpose_x=True)
            for block, columns in self.columns()
        ]
        return paddle.add_n(products)


class _Filters:
    """Weights [T, taps * C_in, C_out] in the order that the transposed convolution needs.

    They are brought into this order once, when they are first needed.
    """

    def __init__(self, w: Tensor, at: Patches):
        self.w, self.at = w.detach(), at

    @cached_property
    def classes(self) -> list[Tensor]:
        """The weights of the K taps of each class of input positions, [T, K * C_out, C_in]."""
        tasks, rows, filters = self.w.shape
        channels = rows // self.at.taps
        w = self.w.reshape([tasks, self.at.taps, channels, filters])
        w = w.transpose([0, 1, 3, 2]).contiguous()  # [T, taps, C_out, C_in]
        return [
            paddle.gather(w, taps, axis=1).reshape([tasks, -1, channels])
            for taps, _ in self.at.scatter
        ]


def _concatenate(blocks: list[Tensor]) -> Tensor:
    """Return blocks of rows as one tensor, without a copy if there is only one block."""
    return blocks[0] if len(blocks) == 1 else paddle.concat(blocks, axis=1)


# For x, w and a cotangent g the convolution is the trilinear form <g, x * w>. Fixing two of its
# arguments gives the convolution, its transpose and the gradient of its weights, and each of the
# three is differentiated by the other two.


class _Convolve(PyLayer):
    @staticmethod
    def forward(ctx, needs, x, w, x_view):
        ctx.needs, ctx.x_view, ctx.filters = needs, x_view, x_view.at.filters(w)
        ctx.save_for_backward(x, w)
        return x_view.convolved(ctx.filters)

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensor()
        g = g.contiguous()  # batch normalisation may leave its rows strided: one copy, not several
        g_view = ctx.x_view.at.view(g)
        dx = dw = None
        if ctx.needs[0]:
            shared = dict(g_view=g_view, filters=ctx.filters, rows=x.shape[1])
            dx = apply(_ConvolveTransposed, g, w, **shared)
        if ctx.needs[1]:
            dw = apply(_ConvolveWeights, x, g, x_view=ctx.x_view, g_view=g_view)
        return dx, dw


class _ConvolveTransposed(PyLayer):
    @staticmethod
    def forward(ctx, needs, g, w, g_view, filters, rows):
        ctx.needs, ctx.g_view = needs, g_view
        ctx.save_for_backward(g, w)
        return g_view.transposed(filters, rows)

    @staticmethod
    def backward(ctx, x):
        g, w = ctx.saved_tensor()
        x_view = ctx.g_view.at.view(x)
        dg = dw = None
        if ctx.needs[0]:
            dg = apply(_Convolve, x, w, x_view=x_view)
        if ctx.needs[1]:
            dw = apply(_ConvolveWeights, x, g, x_view=x_view, g_view=ctx.g_view)
        return dg, dw


class _ConvolveWeights(PyLayer):
    @staticmethod
    def forward(ctx, needs, x, g, x_view, g_view):
        ctx.needs, ctx.x_view, ctx.g_view = needs, x_view, g_view
        ctx.save_for_backward(x, g)
        return x_view.weights(g_view)

    @staticmethod
    def backward(ctx, w):
        x, g = ctx.saved_tensor()
        dx = dg = None
        if ctx.needs[0]:
            filters = ctx.x_view.at.filters(w)
            shared = dict(g_view=ctx.g_view, filters=filters, rows=x.shape[1])
            dx = apply(_ConvolveTransposed, g, w, **shared)
        if ctx.needs[1]:
            dg = apply(_Convolve, x, w, x_view=ctx.x_view)
        return dx, dg


def convolve(x: Tensor, w: Tensor, at: Patches | Tiles) -> Tensor:
    """Return the 3x3 convolution of each task's images with each task's weights.

    It has padding 1 and no bias, and is differentiable any number of times.

    Args:
        x (Tensor): rows of activations, [T, P_in * N, C_in]. A further row of zeros is allowed: the
            convolution then reads its padding from that row and needs no copy of x.
        w (Tensor): weights, [T, 9 * C_in, C_out], row `tap * C_in + c`.
        at (Patches | Tiles): the tables that `patches` returns.

    Returns:
        Tensor: rows of activations, [T, P_out * N, C_out].

    Example:
        >>> import paddle
        >>> from maml import functional as fn
        >>> x = paddle.ones([2, 9 * 4, 1])  # 2 tasks of 4 images, 3 x 3 pixels, 1 channel
        >>> w = paddle.ones([2, 9 * 1, 5])  # 5 filters
        >>> y = fn.convolve(x, w, fn.patches(3, 3, stride=1, images=4))
        >>> list(y.shape)
        [2, 36, 5]
        >>> y[0, ::4, 0].tolist()  # one image: padding is 0
        [4.0, 6.0, 4.0, 6.0, 9.0, 6.0, 4.0, 6.0, 4.0]
    """
    return apply(_Convolve, x, w, x_view=at.view(x))
