"""The first convolution and its batch normalisation as one matrix product.

The product is with the patches of the images, which stay the same while weights adapt.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import paddle
from paddle import Tensor

from maml.functional.devices import remembered
from maml.functional.normalization import EPSILON, Statistics
from maml.functional.pooling import max_pool_product
from maml.functional.positions import taps
from maml.functional.rows import repeat_rows, sum_rows
from maml.functional.team import Team


class InputPatches(NamedTuple):
    """The images as the first layer reads them, which stay the same while weights adapt.

    See `input_patches`.

    Args:
        columns (Tensor): the patches, with a column of ones and a row of zeros at the end,
            [T, P_out * N + 1, 9 * C + 1].
        mean (Tensor): the mean of the patches, [T, 1, 9 * C].
        covariance (Tensor): the (biased) covariance of the patches, [T, 9 * C, 9 * C].
        images (int): images of each task, N.
    """

    columns: Tensor
    mean: Tensor
    covariance: Tensor
    images: int


@remembered(64)
def _input_table(
    height: int, width: int, stride: int, images: int, channels: int, pooled: bool
) -> Tensor:
    """Return the index of each element of `InputPatches.columns` in a task's pixels.

    The pixels are [N, C, H, W], flat, followed by a 0 and a 1.
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
    """Return the patches that the first convolution multiplies by its weights.

    Args:
        x (Tensor): images, [T, N, C, H, W].
        stride (int): stride of the convolution.
        pooled (bool): max-pooling follows: use `pooled_input_block`. If false, use `input_block`.

    Returns:
        InputPatches: the patches, and their mean and covariance.

    Example:
        >>> import paddle
        >>> from maml import functional as fn
        >>> x = fn.input_patches(paddle.rand([1, 2, 1, 4, 4]), stride=2)  # 2 images
        >>> x.images
        2
    """
    tasks, images, channels, height, width = x.shape
    constants = paddle.to_tensor([[0.0, 1.0]], x.dtype).expand([tasks, 2])
    pixels = paddle.concat([x.reshape([tasks, -1]), constants], axis=1)
    table = _input_table(height, width, stride, images, channels, pooled)
    columns = paddle.gather(pixels, table, axis=1).reshape([tasks, -1, 9 * channels + 1])
    rows = columns.shape[1] - 1
    # The last row and column are the moments of each element with the 1, hence the mean.
    moments = paddle.matmul(columns, columns, transpose_x=True) / rows
    mean = moments[:, -1:, :-1]
    covariance = moments[:, :-1, :-1] - paddle.matmul(mean, mean, transpose_x=True)
    return InputPatches(columns, mean, covariance, images)


def input_statistics(x: InputPatches, w: Tensor) -> Statistics:
    """Return the statistics of the first convolution's output, without computing the output.

    If m is the mean and C the covariance of the patches x, y = x w has mean m w and variance
    w' C w.

    Args:
        x (InputPatches): the patches.
        w (Tensor): weights of the convolution, [T, 9 * C, C_out].

    Returns:
        Statistics: mean and variance, [T, 1, C_out] each.
    """
    return Statistics(paddle.matmul(x.mean, w), sum_rows(w * paddle.matmul(x.covariance, w)))


def _of_team(x: InputPatches, team: Team) -> InputPatches:
    """Return x with the mean and the covariance of the patches of all processes."""
    second = x.covariance + paddle.matmul(x.mean, x.mean, transpose_x=True)
    own = paddle.concat([x.mean, second], axis=1)
    moments = team.mean(own, rows=x.columns.shape[1] - 1)  # whose last row is of zeros
    mean, second = moments[:, :1], moments[:, 1:]
    covariance = second - paddle.matmul(mean, mean, transpose_x=True)
    return x._replace(mean=mean, covariance=covariance)


def _folded(
    x: InputPatches,
    w: Tensor,
    gamma: Tensor,
    beta: Tensor,
    given: Statistics | Team | None,
    record: list[Statistics] | None,
) -> Tensor:
    """Return the weights [T, 9 * C + 1, C_out] of convolution and batch normalisation together.

    Batch normalisation is affine in the convolution's output, y s + (beta - mean s) with s = gamma
    / sqrt(variance + eps), so it can be folded into the weights exactly: s scales their columns and
    the rest is a bias, against the patches' ones.
    """
    if isinstance(given, Team):
        x, given = _of_team(x, given), None
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
    given: Statistics | Team | None = None,
    record: list[Statistics] | None = None,
) -> Tensor:
    """Return batch_norm(convolve(x, w), gamma, beta), computed as one product.

    Args:
        x (InputPatches): the patches of the images.
        w (Tensor): weights of the convolution, [T, 9 * C, C_out].
        gamma, beta (Tensor): scale and shift of batch normalisation, [T, 1, C_out] each.
        given (Statistics | Team | None): statistics to normalise with, instead of those of x; or
            the processes whose images are normalised together.
        record (list[Statistics] | None): a list that receives the statistics that are used.

    Returns:
        Tensor: rows of activations and a row of zeros, [T, P_out * N + 1, C_out].

    Example:
        >>> import paddle
        >>> from maml import functional as fn
        >>> x = fn.input_patches(paddle.rand([1, 2, 1, 4, 4]), stride=2)  # 2 images
        >>> w, gamma, beta = paddle.rand([1, 9, 3]), paddle.ones([1, 1, 3]), paddle.zeros([1, 1, 3])
        >>> list(fn.input_block(x, w, gamma, beta).shape)  # 2 x 2 positions of 2 images, and zeros
        [1, 9, 3]
    """
    return paddle.matmul(x.columns, _folded(x, w, gamma, beta, given, record))


def pooled_input_block(
    x: InputPatches,
    w: Tensor,
    gamma: Tensor,
    beta: Tensor,
    height: int,
    width: int,
    given: Statistics | Team | None = None,
    record: list[Statistics] | None = None,
) -> Tensor:
    """Return max_pool(batch_norm(convolve(x, w), gamma, beta)), computed as one product.

    Args:
        x (InputPatches): the patches of the images, with `pooled=True`.
        w (Tensor): weights of the convolution, [T, 9 * C, C_out].
        gamma, beta (Tensor): scale and shift of batch normalisation, [T, 1, C_out] each.
        height, width (int): size of the convolution's output, before pooling.
        given (Statistics | Team | None): statistics to normalise with, instead of those of x; or
            the processes whose images are normalised together.
        record (list[Statistics] | None): a list that receives the statistics that are used.

    Returns:
        Tensor: rows of activations and a row of zeros,
        [T, (height // 2) * (width // 2) * N + 1, C_out].

    Example:
        >>> import paddle
        >>> from maml import functional as fn
        >>> x = fn.input_patches(paddle.rand([1, 2, 1, 4, 4]), stride=1, pooled=True)  # 2 images
        >>> w, gamma, beta = paddle.rand([1, 9, 3]), paddle.ones([1, 1, 3]), paddle.zeros([1, 1, 3])
        >>> list(fn.pooled_input_block(x, w, gamma, beta, 4, 4).shape)  # 2 x 2 positions, and zeros
        [1, 9, 3]
    """
    weights = _folded(x, w, gamma, beta, given, record)
    return max_pool_product(x.columns, weights, height, width, x.images)
