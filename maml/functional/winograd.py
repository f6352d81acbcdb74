"""3x3 convolution of stride 1 by Winograd's algorithm F(2x2, 3x3) (Lavin & Gray 2016, section 4.1).

    Y = A^T ((G w G^T) * (B^T d B)) A, summed over the input's channels

d are 4 x 4 positions of the input, w is a filter, * multiplies element by element, and Y are 2 x 2
positions of the output: 16 multiplications do what takes 36. The tiles d of all images are gathered
once, and each transform is one matrix product, for A^T Y A = (A^T kron A^T) Y as a vector. The sums
over channels are 16 matrix products.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import paddle
from paddle import Tensor

from maml.functional.devices import at_once, remembered
from maml.functional.positions import output_order, rows_of
from maml.functional.rows import append_zero_row

B_T = [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]
G = [[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]]
A_T = [[1, 1, 1, 0], [0, 1, -1, -1]]
BLOCK = 256  # tiles at once, on a CPU: those of one task stay in the cache with 64 channels
KEEP = 64 << 20  # bytes of an activation's transformed tiles; more are made again for the gradient


@remembered(16)
def _squared(name: str, dtype: paddle.dtype) -> Tensor:
    """The Kronecker square of a transform: of images that are flattened to vectors."""
    m = np.array({"B^T": B_T, "G": G, "A^T": A_T}[name], float)
    return paddle.to_tensor(np.kron(m, m)).astype(dtype)


def _transformed(m: Tensor, x: Tensor) -> Tensor:
    """Return m [J, K] times x [T, K, M, C], as [T, J, M, C]."""
    tasks, size, rows, channels = x.shape
    y = paddle.matmul(m, x.reshape([tasks, size, rows * channels]))
    return y.reshape([tasks, -1, rows, channels])


class Tiles(NamedTuple):
    """The rows of M tiles, one for each 2 x 2 positions of each image, in blocks. See `tiles`.

    Args:
        read (list[Tensor]): the rows of the input at the 4 x 4 positions of each block's tiles,
            [16 * block] int32.
        written (list[Tensor]): the rows of the output at the 2 x 2 positions, [4 * block].
        places (Tensor | None): for each row of the output, where it stands in [4, M]; None if the
            output is in this order.
        read_back, places_back: read and places for the way back, from the output to the input;
            places are in [4, M + 1], and that of a row of zeros follows.
        rows_in (int): rows of the input, P * N.
    """

    read: list[Tensor]
    written: list[Tensor]
    places: Tensor | None
    read_back: list[Tensor]
    places_back: Tensor
    rows_in: int

    def view(self, x: Tensor) -> _View:
        """Return the tiles of an activation, for the products that need them."""
        tasks, _, channels = x.shape
        size = tasks * channels * x.element_size() * sum(rows.shape[0] for rows in self.read)
        return _View(x, self, keep=paddle.is_grad_enabled() and size <= at_once(KEEP))

    def filters(self, w: Tensor) -> _Filters:
        """Return transformed weights, for the products that need them."""
        return _Filters(w)


def worth_it(height: int, width: int) -> bool:
    """Whether tiles, which overlap the border, take less than two thirds of the products."""
    return 16 * -(-height // 2) * -(-width // 2) < 6 * height * width


def tiles(height: int, width: int, images: int, pooled: bool, by_image: bool = False) -> Tiles:
    """Return the tables of a convolution of stride 1; see `patches`, whose rows these are too.

    With `by_image`, the rows are those of `windows`.
    """
    down, right = -(-height // 2), -(-width // 2)
    outside, number = height * width, down * right * images
    position = np.full((2 * down + 2, 2 * right + 2), outside)
    position[1 : height + 1, 1 : width + 1] = np.arange(outside).reshape(height, width)
    shifted = [position[i : i + 2 * down : 2, j : j + 2 * right : 2] for i, j in np.ndindex(4, 4)]
    d = np.reshape(shifted, (16, -1))
    y = d[[5, 6, 9, 10]]  # its inner positions
    order_in, order_out = np.arange(outside), output_order(height, width, 1, pooled)

    def blocks(positions: np.ndarray, order: np.ndarray) -> list[Tensor]:
        table = rows_of(positions.reshape(-1, 1), order, images, by_image)
        table = table.reshape([len(positions), number])
        size = at_once(BLOCK)
        return [table[:, i : i + size].flatten() for i in range(0, number, size)]

    def places(order: np.ndarray, step: int) -> np.ndarray:
        """Where the rows in this order stand in [4, step]."""
        found = np.empty((outside + 1, images), int)
        corner, tile = np.indices(y.shape)
        found[y] = (corner * step + tile * images)[:, :, None] + np.arange(images)
        return (found[order].T if by_image else found[order]).ravel()

    write = places(order_out, number)
    in_order = len(write) == 4 * number and (np.diff(write) == 1).all()
    write_back = np.append(places(order_in, number + 1), number)
    return Tiles(
        read=blocks(d, order_in),
        written=blocks(y, order_out),
        places=None if in_order else paddle.to_tensor(write.astype("int32")),
        read_back=blocks(d, order_out),
        places_back=paddle.to_tensor(write_back.astype("int32")),
        rows_in=outside * images,
    )


class _Filters:
    """Weights [T, 9 * C_in, C_out], transformed once when they are first needed."""

    def __init__(self, w: Tensor):
        self.w = w.detach()

    @cached_property
    def forwards(self) -> Tensor:
        """G w G^T, [T, 16, C_in, C_out]."""
        tasks, rows, filters = self.w.shape
        w = self.w.reshape([tasks, 9, rows // 9, filters])
        return _transformed(_squared("G", w.dtype), w)

    @cached_property
    def backwards(self) -> Tensor:
        """The same of the weights turned by 180 degrees, [T, 16, C_out, C_in]."""
        tasks, rows, filters = self.w.shape
        w = self.w.reshape([tasks, 9, rows // 9, filters]).flip(1).transpose([0, 1, 3, 2])
        return _transformed(_squared("G", w.dtype), w)


class _View:
    """An activation [T, P * N (+ 1), C], of which `at` says which rows make the tiles."""

    def __init__(self, x: Tensor, at: Tiles, keep: bool):
        self.x, self.at, self.keep = x.detach(), at, keep
        self.kept: list[Tensor] = []

    @cached_property
    def padded(self) -> Tensor:
        """The activation with a row of zeros."""
        return append_zero_row(self.x) if self.x.shape[1] == self.at.rows_in else self.x

    def transformed(self, m: Tensor, blocks: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield m [J, K] times the rows of each block of tiles [K * block], [T, J, block, C]."""
        x = self.padded
        for rows in blocks:
            tiles = paddle.gather(x, rows, axis=1)
            yield _transformed(m, tiles.reshape([x.shape[0], m.shape[1], -1, x.shape[2]]))

    def inputs(self) -> Iterator[Tensor]:
        """Yield B^T d B of each block of an input's tiles, [T, 16, block, C]."""
        if self.kept:
            yield from self.kept
            return
        for v in self.transformed(_squared("B^T", self.x.dtype), self.at.read):
            if self.keep:  # for the gradient of the weights
                self.kept.append(v)
            yield v

    def convolved(self, filters: _Filters) -> Tensor:
        """Return the convolution of an input."""
        u, a = filters.forwards, _squared("A^T", self.x.dtype)
        y = paddle.concat([_transformed(a, paddle.matmul(v, u)) for v in self.inputs()], axis=2)
        y = y.reshape([y.shape[0], -1, y.shape[-1]])
        return y if self.at.places is None else paddle.gather(y, self.at.places, axis=1)

    def transposed(self, filters: _Filters, rows: int) -> Tensor:
        """Return the transposed convolution of an output, for an input of this number of rows."""
        u, a, b = filters.backwards, _squared("A^T", self.x.dtype), _squared("B^T", self.x.dtype)
        tiles = self.transformed(b, self.at.read_back)
        x = [_transformed(a, paddle.matmul(v, u)) for v in tiles]
        x.append(paddle.zeros([x[0].shape[0], 4, 1, x[0].shape[-1]], x[0].dtype))
        planes = paddle.concat(x, axis=2).reshape([x[0].shape[0], -1, x[0].shape[-1]])
        return paddle.gather(planes, self.at.places_back[:rows], axis=1)

    def weights(self, output: _View) -> Tensor:
        """Return the gradient of the weights, of this input and an output's cotangent."""
        outputs = output.transformed(_squared("A^T", self.x.dtype).t(), self.at.written)
        u = sum(paddle.matmul(v, g, transpose_x=True) for v, g in zip(self.inputs(), outputs))
        w = _transformed(_squared("G", u.dtype).t(), u)  # [T, 9, C_in, C_out]
        return w.flatten(1, 2)
