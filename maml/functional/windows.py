"""Windows of any kernel, stride, padding and dilation, on rows in the order of images.

Here row n * P + p of [T, N * P, C] is of image n, position p: the channels-last form of an
activation [T * N, C, H, W]. Taking rows by a table and its transpose, adding rows to where they
were taken from, differentiate each other; convolution and pooling of any shape follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import paddle
from paddle import Tensor
from paddle.autograd import PyLayer

from maml.functional.convolution import Patches
from maml.functional.devices import remembered
from maml.functional.winograd import Tiles, tiles, worth_it

TILED = 16  # channels of the input from which on tiles are faster than patches


class Geometry(NamedTuple):
    """The shape of a window that slides over an image; all of it in (height, width)."""

    size: tuple[int, int]  # of the input
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]  # top, bottom, left, right
    dilation: tuple[int, int] = (1, 1)

    @property
    def out(self) -> tuple[int, int]:
        """The size of the output."""
        top, bottom, left, right = self.padding
        padded = (self.size[0] + top + bottom, self.size[1] + left + right)
        spans = ((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation))
        height, width = ((p - span) // s + 1 for p, span, s in zip(padded, spans, self.stride))
        return height, width

    def reads(self) -> np.ndarray:
        """The input position of each output and tap, [P, K]; -1 for the padding."""
        top, _, left, _ = self.padding
        (height, width), (rows, columns) = self.size, self.out
        i = np.arange(rows)[:, None] * self.stride[0] - top
        i = i + np.arange(self.kernel[0]) * self.dilation[0]  # [rows, kernel height]
        j = np.arange(columns)[:, None] * self.stride[1] - left
        j = j + np.arange(self.kernel[1]) * self.dilation[1]
        i, j = i[:, None, :, None], j[None, :, None, :]
        inside = (0 <= i) & (i < height) & (0 <= j) & (j < width)
        position = np.where(inside, i * width + j, -1)
        return position.reshape(rows * columns, -1)


@remembered(128)
def window_patches(
    at: Geometry, images: int, channels: int
) -> tuple[Patches | Tiles, Tensor | None, Tensor | None]:
    """Return the index tables with which `convolve` slides a window over `images` images.

    Beside them, with a stride, are the order in which it wants its input's rows, and the inverse
    order.
    """
    if (
        at == Geometry(at.size, (3, 3), (1, 1), (1,) * 4)
        and channels >= TILED
        and worth_it(*at.size)
    ):
        return tiles(*at.size, images, pooled=False, by_image=True), None, None
    positions, reads = at.size[0] * at.size[1], at.reads()
    outputs, taps = reads.shape
    writes = np.full([positions, taps], -1)  # the output that reads a position through a tap
    output, tap = np.nonzero(reads >= 0)
    writes[reads[output, tap], tap] = output
    # positions of one class are reached through the same taps, so that its part of the transposed
    # convolution is a dense gather and a product
    i, j = np.divmod(np.arange(positions), at.size[1])
    remainder = i % at.stride[0] * at.stride[1] + j % at.stride[1]
    classes = [np.flatnonzero(remainder == r) for r in np.unique(remainder)]
    image = np.arange(images)[:, None]
    order = np.concatenate([(image * positions + members).ravel() for members in classes])
    place = np.empty_like(order)
    place[order] = np.arange(len(order))

    def rows(table: np.ndarray, per_image: int) -> np.ndarray:  # [..., K] -> [N * ..., K]
        whole = image[:, :, None] * per_image + table
        return np.where(table < 0, images * per_image, whole).reshape(-1, table.shape[-1])

    def index(values: np.ndarray) -> Tensor:
        return paddle.to_tensor(values.ravel().astype("int32"))

    gather = rows(reads, positions)
    gather = np.append(place, images * positions)[gather]
    scatter = []
    for members in classes:
        reached = np.flatnonzero((writes[members] >= 0).any(axis=0))
        if not len(reached):  # a stride larger than the kernel leaves them unread
            reached = np.array([0])
        scatter.append((index(reached), index(rows(writes[members][:, reached], outputs))))
    tables = Patches(index(gather), scatter, images * positions, images * outputs)
    if len(classes) == 1:
        return tables, None, None
    return tables, index(order), index(place)


class _Take(PyLayer):
    """Rows by a table of row numbers: [T, M, C] -> [T, len(table), C]."""

    @staticmethod
    def forward(ctx, x, table):
        ctx.table, ctx.rows = table, x.shape[1]
        return paddle.gather(x, table, axis=1)

    @staticmethod
    def backward(ctx, g):
        return _Put.apply(g, ctx.table, ctx.rows)


class _Put(PyLayer):
    """The transpose of `_Take`: rows that were taken several times add up."""

    @staticmethod
    def forward(ctx, g, table, rows):
        ctx.table = table
        zeros = paddle.zeros([g.shape[0], rows, g.shape[2]], g.dtype)
        return paddle.index_add(zeros, table, 1, g)

    @staticmethod
    def backward(ctx, x):
        return _Take.apply(x, ctx.table)


def take_rows(x: Tensor, table: Tensor) -> Tensor:
    """Return rows [T, len(table), C] of x [T, M, C], differentiable any number of times."""
    return _Take.apply(x, table)


class _Permute(PyLayer):
    """Rows in another order; the transpose is the inverse order."""

    @staticmethod
    def forward(ctx, x, order, inverse):
        ctx.orders = inverse, order
        return paddle.gather(x, order, axis=1)

    @staticmethod
    def backward(ctx, g):
        return _Permute.apply(g, *ctx.orders)


def permute_rows(x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
    """Return the rows of x [T, M, C] in another order, of which `inverse` is the inverse."""
    return _Permute.apply(x, order, inverse)


@remembered(128)
def corners_first(
    height: int, width: int, images: int, by_image: bool = True
) -> tuple[Tensor, Tensor]:
    """Return the order of rows that `max_pool` reads, and the inverse order.

    The upper left corners of the 2x2 windows of all images come first, then the others. The rows,
    and so the windows, are those of [N, H, W] or, if not `by_image`, of [H, N, W].
    """
    shape = (images, height, width) if by_image else (height, images, width)
    position = np.arange(images * height * width).reshape(shape)
    down = 1 if by_image else 0
    by_height = np.moveaxis(position, down, 0)[: height // 2 * 2, :, : width // 2 * 2]
    corners = [np.moveaxis(by_height[i::2, :, j::2], 0, down).ravel() for i, j in np.ndindex(2, 2)]
    rest = np.setdiff1d(position, by_height)
    order = np.concatenate([*corners, rest]).astype("int32")
    return paddle.to_tensor(order), paddle.to_tensor(np.argsort(order).astype("int32"))


@remembered(128)
def window_rows(at: Geometry, images: int) -> Tensor:
    """Return the row of the input that each output row reads through each tap, [N * P * K].

    Outside of the image it is the row after the last.
    """
    positions, reads = at.size[0] * at.size[1], at.reads()
    image = np.arange(images)[:, None, None]
    rows = np.where(reads < 0, images * positions, image * positions + reads)
    return paddle.to_tensor(rows.ravel().astype("int32"))


def max_windows(x: Tensor, at: Geometry) -> Tensor:
    """Return the largest of each window, [T, N * P_out, C], of rows x [T, N * P_in, C].

    Of equal ones the first has the gradient.
    """
    tasks, rows, channels = x.shape
    positions = at.size[0] * at.size[1]
    outside = paddle.full([tasks, 1, channels], -float("inf"), x.dtype)
    padded = paddle.concat([x.detach(), outside], axis=1)
    table = window_rows(at, rows // positions)
    taps = at.kernel[0] * at.kernel[1]
    seen = paddle.gather(padded, table, axis=1).reshape([tasks, -1, taps, channels])
    best = seen.argmax(axis=2)  # [T, N * P_out, C]
    number = table.reshape([-1, taps])
    chosen = paddle.take_along_axis(
        number.unsqueeze(0).unsqueeze(-1).expand([tasks, number.shape[0], taps, channels]),
        best.unsqueeze(2),
        axis=2,
    ).squeeze(2)  # the row that each output and channel comes from
    return _Pick.apply(x, chosen)


class _Pick(PyLayer):
    """A row for each output row and channel: [T, M, C] and rows [T, R, C] -> [T, R, C]."""

    @staticmethod
    def forward(ctx, x, rows):
        ctx.chosen, ctx.rows = rows, x.shape[1]
        return paddle.take_along_axis(x, rows, axis=1)

    @staticmethod
    def backward(ctx, g):
        return _Unpick.apply(g, ctx.chosen, ctx.rows)


class _Unpick(PyLayer):
    """The transpose of `_Pick`."""

    @staticmethod
    def forward(ctx, g, chosen, rows):
        ctx.chosen = chosen
        zeros = paddle.zeros([g.shape[0], rows, g.shape[2]], g.dtype)
        return paddle.put_along_axis(zeros, chosen, g, axis=1, reduce="add")

    @staticmethod
    def backward(ctx, x):
        return _Pick.apply(x, ctx.chosen)


def averaging_matrix(
    size: Sequence[int], windows: Sequence[Sequence[tuple[int, int]]]
) -> np.ndarray:
    """Return the matrix [P_out, P_in] that averages windows, (start, end) along each axis."""
    parts = []
    for length, ends in zip(size, windows):
        part = np.zeros([len(ends), length])
        for row, (start, end) in zip(part, ends):
            row[start:end] = 1 / (end - start)
        parts.append(part)
    return np.kron(*parts)


def adaptive_windows(length: int, out: int) -> list[tuple[int, int]]:
    """Return the (start, end) of each window of adaptive pooling, as PaddlePaddle has them."""
    return [(i * length // out, -(-(i + 1) * length // out)) for i in range(out)]
