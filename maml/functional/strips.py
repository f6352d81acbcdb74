"""Convolution by large kernels without padding, differentiable any number of times.

Images are [H, N, W, C] here, so that neighbouring rows of all N images are one block of memory. A
patch of k x k pixels consists of k strips of k pixels, and an image's strips are a k-th of its
patches. So strips are gathered, and a convolution is the sum over the rows i of its kernel of

    strips[i : i + H - k + 1] times w[i]    (k * C rows)

where gathered patches would be one product and k times as much memory to write and read. Where a
strip has few numbers, as those of grey images have, products of it would be thin, and an image's
patches are cheap: then they are one product.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor
from paddle.autograd import PyLayer

from maml.functional.devices import at_once, remembered
from maml.functional.pooling import max_pool
from maml.functional.rows import append_zero_row, apply
from maml.functional.windows import corners_first, permute_rows

BLOCK = 16 << 20  # bytes of the strips that are gathered at once
NARROW = 64  # numbers in a strip, below which whole patches are multiplied


@remembered(128)
def _reads(first: int, last: int, images: int, width: int, kernel: int, padding: int) -> Tensor:
    """Return the row of [N * W, C] of each pixel of the strips of images `first` to `last` - 1.

    The row of the padding, on both sides, is the one after the last.
    """
    j = np.arange(width - kernel + 1 + 2 * padding)[:, None] + np.arange(kernel) - padding
    whole = np.arange(first, last)[:, None, None] * width + j
    return paddle.to_tensor(
        np.where((0 <= j) & (j < width), whole, images * width).ravel().astype("int32")
    )


def _strips(x: Tensor, kernel: int, padding: int = 0) -> Iterator[tuple[slice, Tensor]]:
    """Yield the strips of some images at a time: a slice of the N, and [H, n * W', kernel * C]."""
    height, images, width, channels = x.shape
    rows = x.detach().reshape([height, images * width, channels])
    rows = append_zero_row(rows) if padding else rows
    across = width - kernel + 1 + 2 * padding
    size = max(1, at_once(BLOCK) // (height * across * kernel * channels * x.element_size()))
    for first in range(0, images, size):
        last = min(first + size, images)
        table = _reads(first, last, images, width, kernel, padding)
        strips = paddle.gather(rows, table, axis=1)
        yield slice(first, last), strips.reshape([height, -1, kernel * channels])


def _patches(x: Tensor, kernel: int) -> list[Tensor]:
    """Return the patches of each image [H, N, W, C], [C * k * k, H_out * W_out]."""
    return list(F.unfold(x.detach().transpose([1, 3, 0, 2]), kernel))


def _as_images(rows: list[Tensor], width: int) -> Tensor:
    """Return blocks [H, n * W, C] of images as [H, N, W, C]."""
    blocks = [block.reshape([block.shape[0], -1, width, block.shape[-1]]) for block in rows]
    return blocks[0] if len(blocks) == 1 else paddle.concat(blocks, axis=1)


class _Convolve(PyLayer):
    @staticmethod
    def forward(ctx, needs, x, w):
        ctx.needs = needs
        ctx.save_for_backward(x, w)
        kernel, _, channels, filters = w.shape
        height, across = (side - kernel + 1 for side in (x.shape[0], x.shape[2]))
        if kernel * channels < NARROW:
            matrix = w.detach().transpose([2, 0, 1, 3]).reshape([-1, filters])
            products = [paddle.matmul(p, matrix, transpose_x=True) for p in _patches(x, kernel)]
            return _as_images([y.reshape([height, across, filters]) for y in products], across)
        width = kernel * channels
        matrix = w.detach().reshape([kernel, width, filters])
        blocks = []
        for _, strips in _strips(x, kernel):
            y = paddle.matmul(strips[:height].reshape([-1, width]), matrix[0])
            for i in range(1, kernel):
                paddle.addmm_(y, strips[i : i + height].reshape([-1, width]), matrix[i])
            blocks.append(y.reshape([height, -1, filters]))
        return _as_images(blocks, across)

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensor()
        dx = apply(_ConvolveTransposed, g, w) if ctx.needs[0] else None
        dw = apply(_ConvolveWeights, x, g) if ctx.needs[1] else None
        return dx, dw


class _ConvolveTransposed(PyLayer):
    @staticmethod
    def forward(ctx, needs, g, w):
        ctx.needs = needs
        ctx.save_for_backward(g, w)
        kernel, _, channels, filters = w.shape
        flipped = w.detach().flip(1).transpose([0, 1, 3, 2])  # its strips run the other way
        matrix = flipped.reshape([kernel, kernel * filters, channels])
        blocks = []
        for _, strips in _strips(g, kernel, padding=kernel - 1):
            height, across, width = strips.shape
            x = paddle.zeros([height + kernel - 1, across, channels], g.dtype)
            for i in range(kernel):
                rows = x[i : i + height].reshape([-1, channels])  # a view, which is added to
                paddle.addmm_(rows, strips.reshape([-1, width]), matrix[i])
            blocks.append(x)
        return _as_images(blocks, g.shape[2] + kernel - 1)

    @staticmethod
    def backward(ctx, x):
        g, w = ctx.saved_tensor()
        dg = apply(_Convolve, x, w) if ctx.needs[0] else None
        dw = apply(_ConvolveWeights, x, g) if ctx.needs[1] else None
        return dg, dw


class _ConvolveWeights(PyLayer):
    @staticmethod
    def forward(ctx, needs, x, g):
        ctx.needs = needs
        ctx.save_for_backward(x, g)
        (height, images, _, filters), channels = g.shape, x.shape[-1]
        kernel = x.shape[0] - height + 1
        if kernel * channels < NARROW:
            cotangents = [g[:, n].reshape([-1, filters]) for n in range(images)]
            products = [paddle.matmul(p, c) for p, c in zip(_patches(x, kernel), cotangents)]
            total = paddle.add_n(products).reshape([channels, kernel, kernel, filters])
            return total.transpose([1, 2, 0, 3])
        width = kernel * channels
        products = []
        for part, strips in _strips(x, kernel):
            cotangent = g[:, part].reshape([-1, filters])
            rows = [strips[i : i + height].reshape([-1, width]) for i in range(kernel)]
            products.append(
                paddle.stack([paddle.matmul(r, cotangent, transpose_x=True) for r in rows])
            )
        return paddle.add_n(products).reshape([kernel, kernel, channels, filters])

    @staticmethod
    def backward(ctx, w):
        x, g = ctx.saved_tensor()
        dx = apply(_ConvolveTransposed, g, w) if ctx.needs[0] else None
        dg = apply(_Convolve, x, w) if ctx.needs[1] else None
        return dx, dg


def convolve_valid(x: Tensor, w: Tensor) -> Tensor:
    """Return the convolution of images with weights, without padding and bias, of stride 1.

    It is differentiable any number of times.

    Args:
        x (Tensor): images, [H, N, W, C_in].
        w (Tensor): weights, [k, k, C_in, C_out].

    Returns:
        Tensor: [H - k + 1, N, W - k + 1, C_out].

    Example:
        >>> import paddle
        >>> from maml import functional as fn
        >>> y = fn.convolve_valid(paddle.ones([5, 2, 6, 3]), paddle.ones([4, 4, 3, 8]))
        >>> list(y.shape), y[0, 0, 0, 0].item()
        ([2, 2, 3, 8], 48.0)
    """
    return apply(_Convolve, x, w)


def max_pool_valid(x: Tensor) -> Tensor:
    """Return the maximum of each 2x2 window, differentiable any number of times.

    Args:
        x (Tensor): images, [H, N, W, C].

    Returns:
        Tensor: [H // 2, N, W // 2, C].

    Example:
        >>> import paddle
        >>> from maml import functional as fn
        >>> x = paddle.to_tensor([[1.0, 4.0, 0.0], [3.0, 2.0, 9.0]])  # an odd column is left out
        >>> fn.max_pool_valid(x.reshape([2, 1, 3, 1])).item()
        4.0
    """
    height, images, width, channels = x.shape
    order = corners_first(height, width, images, by_image=False)
    rows = permute_rows(x.reshape([1, -1, channels]), *order)
    pooled = max_pool(rows, height, width, images)
    return pooled.reshape([height // 2, images, width // 2, channels])
