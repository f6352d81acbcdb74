"""The order in which the rows of an activation hold the positions of the images."""

from __future__ import annotations

import numpy as np
import paddle
from paddle import Tensor


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


def rows_of(
    positions: np.ndarray, order: np.ndarray, images: int, by_image: bool = False
) -> Tensor:
    """Return the rows that hold the positions [P, K] of every image, [P * N * K].

    `order` is the order of the positions in the rows. The position len(order) means none, and its
    row is the one after the last, for all images. `by_image` says that rows hold one image after
    the other, and not one position after the other.
    """
    rank = np.argsort(np.append(order, len(order)))[positions]
    image = np.arange(images)[:, None, None]
    whole = image * len(order) + rank if by_image else rank * images + image
    rows = np.where(rank == len(order), len(order) * images, whole).transpose(1, 0, 2)
    return paddle.to_tensor(rows.ravel().astype("int32"))
