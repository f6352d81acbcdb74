"""The first convolution and its batch normalisation in one product, over patches that stay the same
while weights adapt.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import paddle
from paddle import Tensor

from maml.functional.convolution import taps
from maml.functional.normalization import EPSILON, Statistics
from maml.functional.pooling import max_pool_product
from maml.functional.rows import repeat_rows, sum_rows


class InputPatches(NamedTuple):
    """The first layer's view of the images, which stays the same while weights adapt. Made by
    `input_patches`.
    """

    columns: Tensor
    """[T, P_out * N + 1, 9 * C + 1]: the patches, with a column of ones, and a row of zeros at the
    end
    """
    mean: Tensor
    """[T, 1, 9 * C], the patches' mean"""
    covariance: Tensor
    """[T, 9 * C, 9 * C], their (biased) covariance"""
    images: int


@lru_cache(maxsize=64)
def _input_table(
    height: int, width: int, stride: int, images: int, channels: int, pooled: bool
) -> Tensor:
    """Where `InputPatches.columns` come from, in the pixels [N, C, H, W] of a task with a 0 and a 1
    behind them.
    """
    pixels = images * channels * height * width
    position = taps(height, width, stride, pooled)[:, None, :, None]  # [P_out, 1, 9, 1]
    image = np.arange(images).reshape(-1, 1, 1)
    pixel = (image * channels + np.arange(channels)) * height * width + position  # [P_out, N, 9, C]
    pixel = np.where(position == height * width, pixels, pixel).reshape(-1, 9 * channels)
    table = np.pad(pixel, ((0, 1), (0, 1)), constant_values=pixels)
    table[:-1, -1] = pixels + 1
    return paddle.to_tensor(table.ravel().astype("int32"))


def input_patches(x: Tensor, stride: int, pooled: bool = False) -> InputPatches:
    """x [T, N, C, H, W] -> the patches that the first convolution multiplies by its weights;
    `pooled` as for `patches`.
    """
    tasks, images, channels, height, width = x.shape
    pixels = paddle.concat(
        [x.reshape([tasks, -1]), paddle.to_tensor([[0.0, 1.0]], x.dtype).expand([tasks, 2])], axis=1
    )
    table = _input_table(height, width, stride, images, channels, pooled)
    columns = paddle.gather(pixels, table, axis=1).reshape([tasks, -1, 9 * channels + 1])
    moments = paddle.matmul(columns, columns, transpose_x=True) / (
        columns.shape[1] - 1
    )  # the last row and column: of a 1
    mean = moments[:, -1:, :-1]
    covariance = moments[:, :-1, :-1] - paddle.matmul(mean, mean, transpose_x=True)
    return InputPatches(columns, mean, covariance, images)


def input_statistics(x: InputPatches, w: Tensor) -> Statistics:
    """The statistics of the first convolution's output, without computing it: y = x w has mean m w
    and variance w' C w.
    """
    return Statistics(paddle.matmul(x.mean, w), sum_rows(w * paddle.matmul(x.covariance, w)))


def _folded(
    x: InputPatches,
    w: Tensor,
    gamma: Tensor,
    beta: Tensor,
    given: Statistics | None,
    record: list[Statistics] | None,
) -> Tensor:
    """Weights [T, 9 * C + 1, C_out] by which the patches are convolved, normalised, scaled and
    shifted.

    Batch normalisation is affine in the convolution's output, y s + (beta - mean s) with s = gamma
    / sqrt(variance + eps), so it can be folded into the weights exactly: s scales their columns and
    the rest is a bias, against the patches' ones.
    """
    mean, variance = given or input_statistics(x, w)
    if record is not None:
        record.append(Statistics(mean.detach(), variance.detach()))
    scale = gamma * paddle.rsqrt(variance + EPSILON)
    return paddle.concat([w * repeat_rows(scale, w.shape[1]), beta - mean * scale], axis=1)


def input_block(
    x: InputPatches,
    w: Tensor,
    gamma: Tensor,
    beta: Tensor,
    given: Statistics | None = None,
    record: list[Statistics] | None = None,
) -> Tensor:
    """batch_norm(convolve(x, w)) as one product, [T, P_out * N + 1, C]; the last row is zero."""
    return paddle.matmul(x.columns, _folded(x, w, gamma, beta, given, record))


def pooled_input_block(
    x: InputPatches,
    w: Tensor,
    gamma: Tensor,
    beta: Tensor,
    height: int,
    width: int,
    given: Statistics | None = None,
    record: list[Statistics] | None = None,
) -> Tensor:
    """max_pool(batch_norm(convolve(x, w))) of `height` x `width` pixels, [T, (height // 2) * (width
    // 2) * N + 1, C], and a zero row.
    """
    return max_pool_product(
        x.columns, _folded(x, w, gamma, beta, given, record), height, width, x.images
    )
