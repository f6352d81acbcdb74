"""3x3 convolution with one pixel of padding, differentiable any number of times.

It is a gather and one matrix product for every task.
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
from maml.functional.rows import CACHE, append_zero_row, apply


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


def by_remainder(height: int, width: int, stride: int) -> list[np.ndarray]:
    """Return the positions i * width + j by the remainders of i and j modulo the stride.

    A class of positions has the same remainders. The rows of activations are in the order of these
    classes.

    An input position (i, j) is read through tap (a, b) by output ((i + 1 - a) / stride, (j + 1 - b)
    / stride) where these are whole numbers, so a class is reached by the same taps. Its share of
    the transposed convolution is therefore a dense gather and a matrix product, and nothing needs a
    scatter-add.

    Args:
        height, width (int): size of the image.
        stride (int): stride of the convolution that reads the image.

    Returns:
        list[ndarray]: the positions of each class, without empty classes.
    """
    position = np.arange(height * width).reshape(height, width)
    classes = [position[i::stride, j::stride].ravel() for i, j in np.ndindex(stride, stride)]
    return [members for members in classes if len(members)]


def _pooling_order(height: int, width: int) -> np.ndarray:
    """Return the positions in the order that `max_pool` needs.

    The upper left corners of all 2x2 windows come first, then the upper right, the lower left and
    the lower right corners, in the same order of windows. The positions in no window come last.
    """
    position = np.arange(height * width).reshape(height, width)
    windows = position[: height // 2 * 2, : width // 2 * 2]
    corners = np.concatenate([windows[i::2, j::2].ravel() for i in (0, 1) for j in (0, 1)])
    return np.concatenate([corners, np.setdiff1d(position, corners)])


def output_order(height: int, width: int, stride: int, pooled: bool) -> np.ndarray:
    """Return the positions of a convolution's output, in the order of its rows.

    Args:
        height, width (int): size of the input.
        stride (int): stride of the convolution.
        pooled (bool): the order that `max_pool` needs. If false, the order that the next
            convolution needs, which has the same stride.

    Returns:
        ndarray: positions i * width_out + j, [P_out].
    """
    height_out, width_out = -(-height // stride), -(-width // stride)
    if pooled:
        return _pooling_order(height_out, width_out)
    return np.concatenate(by_remainder(height_out, width_out, stride))


def taps(height: int, width: int, stride: int, pooled: bool) -> np.ndarray:
    """Return the position that each output reads through each tap, [P_out, 9].

    It is height * width for a position outside of the image. The arguments are those of
    `output_order`.
    """
    out = output_order(height, width, stride, pooled)[:, None]
    tap = np.arange(9)
    width_out = -(-width // stride)
    i = out // width_out * stride + tap // 3 - 1
    j = out % width_out * stride + tap % 3 - 1
    inside = (0 <= i) & (i < height) & (0 <= j) & (j < width)
    return np.where(inside, i * width + j, height * width)


def _rows(positions: np.ndarray, order: np.ndarray, images: int) -> Tensor:
    """Return the rows that hold the positions [P, K] of every image, [P * N * K].

    `order` is the order of the positions in the rows. The position len(order) means none, and its
    row is the one after the last, for all images.
    """
    rank = np.argsort(np.append(order, len(order)))[positions]
    image = np.arange(images)[:, None, None]
    none = rank == len(order)
    rows = np.where(none, rank * images, rank * images + image).transpose(1, 0, 2)
    return paddle.to_tensor(rows.ravel().astype("int32"))


@remembered(64)
def patches(height: int, width: int, stride: int, images: int, pooled: bool = False) -> Patches:
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
        Patches: the tables, which are cached.

    Example:
        >>> from maml import functional as fn
        >>> fn.patches(4, 4, stride=2, images=3).rows_out  # 2 x 2 positions of 3 images
        12
    """
    classes = by_remainder(height, width, stride)
    out = output_order(height, width, stride, pooled)
    reads = taps(height, width, stride, pooled)
    # the output that reads each position through each tap, [P_in, 9]
    writes = np.full([height * width + 1, 9], len(out))
    writes[reads, np.arange(9)] = out[:, None]
    scatter = []
    for members in classes:
        reached = np.flatnonzero((writes[members] < len(out)).any(axis=0))
        rows = _rows(writes[members][:, reached], out, images)
        scatter.append((paddle.to_tensor(reached.astype("int32")), rows))
    return Patches(
        gather=_rows(reads, np.concatenate(classes), images),
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
        ctx.needs, ctx.x_view, ctx.filters = needs, x_view, _Filters(w, x_view.at)
        ctx.save_for_backward(x, w)
        return _concatenate([paddle.matmul(columns, w) for _, columns in x_view.columns()])

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensor()
        g = g.contiguous()  # batch normalisation may leave its rows strided: one copy, not several
        g_view = _View(g, ctx.x_view.at)
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
        x = [
            paddle.matmul(gathered, w_class)
            for k, w_class in enumerate(filters.classes)
            for _, gathered in g_view.reached(k)
        ]
        if rows > g_view.at.rows_in:  # the input had a row of zeros
            x.append(paddle.zeros([g.shape[0], 1, x[0].shape[2]], g.dtype))
        return _concatenate(x)

    @staticmethod
    def backward(ctx, x):
        g, w = ctx.saved_tensor()
        x_view = _View(x, ctx.g_view.at)
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
        products = [
            paddle.matmul(columns, g[:, block], transpose_x=True)
            for block, columns in x_view.columns()
        ]
        return paddle.add_n(products)

    @staticmethod
    def backward(ctx, w):
        x, g = ctx.saved_tensor()
        dx = dg = None
        if ctx.needs[0]:
            filters = _Filters(w, ctx.x_view.at)
            shared = dict(g_view=ctx.g_view, filters=filters, rows=x.shape[1])
            dx = apply(_ConvolveTransposed, g, w, **shared)
        if ctx.needs[1]:
            dg = apply(_Convolve, x, w, x_view=ctx.x_view)
        return dx, dg


def convolve(x: Tensor, w: Tensor, at: Patches) -> Tensor:
    """Return the 3x3 convolution of each task's images with each task's weights.

    It has padding 1 and no bias, and is differentiable any number of times.

    Args:
        x (Tensor): rows of activations, [T, P_in * N, C_in]. A further row of zeros is allowed: the
            convolution then reads its padding from that row and needs no copy of x.
        w (Tensor): weights, [T, 9 * C_in, C_out], row `tap * C_in + c`.
        at (Patches): the tables that `patches` returns.

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
    return apply(_Convolve, x, w, x_view=_View(x, at))
