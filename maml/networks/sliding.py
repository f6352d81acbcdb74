"""Twins of what slides a window over images: convolution and pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from maml import functional as fn
from maml.functional.convolution import convolve
from maml.functional.rows import repeat_rows
from maml.functional.windows import (
    Geometry,
    adaptive_windows,
    averaging_matrix,
    corners_first,
    max_windows,
    permute_rows,
    window_patches,
)
from maml.networks.passes import Pass, from_rows, of_tasks, to_rows
from maml.system.errors import UserError


def pair(value: Any, count: int = 2) -> tuple[int, ...]:
    """One number or one for each axis, as one for each axis."""
    return (value,) * count if isinstance(value, int) else tuple(value)


def paddings(padding: Any, size: Sequence[int], kernel: Any, stride: Any, dilation: Any) -> tuple:
    """Padding as paddle.nn takes it, as (top, bottom, left, right)."""
    if isinstance(padding, str):
        if padding.upper() == "VALID":
            return (0, 0, 0, 0)
        ends: list[int] = []
        for length, k, s, d in zip(size, kernel, stride, dilation):  # "SAME"
            whole = max(0, (-(-length // s) - 1) * s + (k - 1) * d + 1 - length)
            ends += [whole // 2, whole - whole // 2]
        return tuple(ends)
    if isinstance(padding, int):
        return (padding,) * 4
    if len(padding) == 2:
        return (padding[0], padding[0], padding[1], padding[1])
    if len(padding) == 4 and all(isinstance(p, int) for p in padding):
        return tuple(padding)
    return tuple(end for ends in list(padding)[-2:] for end in ends)


def conv(
    now: Pass,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Convolve [T * N, C, H, W] with each task's weights [O, C / groups, KH, KW]."""
    w = of_tasks(weight, x.ndim)
    (filters, _, *kernel), size = w.shape[1:], x.shape[2:]
    stride, dilation = pair(stride), pair(dilation)
    padding = paddings(padding, size, kernel, stride, dilation)
    at = Geometry(tuple(size), tuple(kernel), stride, padding, dilation)
    if min(at.out) < 1:
        raise UserError(
            f"a convolution of {kernel[0]} x {kernel[1]} does not fit images of {size[0]} x "
            f"{size[1]} pixels; make the images larger or the network shallower"
        )
    tables, order, inverse = window_patches(at, x.shape[0] // now.tasks, weight.shape[-3])
    rows = to_rows(x, now.tasks)
    if order is not None and inverse is not None:
        rows = permute_rows(rows, order, inverse)
    taps = kernel[0] * kernel[1]
    tasks, given = rows.shape[0], w.shape[0]
    if groups == 1:
        matrix = w.reshape([given, filters, -1, taps]).transpose([0, 3, 2, 1])
        y = convolve(rows, matrix.reshape([given, -1, filters]), tables)
    else:  # each group is a task of its own
        if given < tasks:
            w = w.expand([tasks, *w.shape[1:]])
        of_group = rows.reshape([tasks, rows.shape[1], groups, -1]).transpose([0, 2, 1, 3])
        of_group = of_group.reshape([tasks * groups, rows.shape[1], -1])
        matrix = w.reshape([tasks * groups, filters // groups, -1, taps]).transpose([0, 3, 2, 1])
        y = convolve(of_group, matrix.reshape([tasks * groups, -1, filters // groups]), tables)
        y = y.reshape([tasks, groups, -1, filters // groups]).transpose([0, 2, 1, 3])
        y = y.reshape([tasks, -1, filters])
    if bias is not None:
        y = y + repeat_rows(of_tasks(bias, 1).unsqueeze(1), y.shape[1])
    return from_rows(y, x.shape[0], at.out)


def conv2d(
    now: Pass, x: Tensor, weight: Tensor, bias: Tensor | None = None, *rest: Any, **options: Any
) -> Tensor:
    """`paddle.nn.functional.conv2d`"""
    names = ("stride", "padding", "dilation", "groups", "data_format", "name")
    options.update(zip(names, rest))
    channels_first(options, "conv2d")
    return conv(now, x, weight, bias, **options)


def conv1d(
    now: Pass, x: Tensor, weight: Tensor, bias: Tensor | None = None, *rest: Any, **options: Any
) -> Tensor:
    """`paddle.nn.functional.conv1d`, as a convolution of images one pixel high."""
    names = ("stride", "padding", "dilation", "groups", "data_format", "name")
    options.update(zip(names, rest))
    channels_first(options, "conv1d")
    for key, across in (("stride", 1), ("padding", 0), ("dilation", 1)):
        value = options.get(key, across)
        if not isinstance(value, str):
            ends = pair(value, 1)
            ends = ends if len(ends) == 2 else (ends[0], ends[0])
            options[key] = (0, 0, *ends) if key == "padding" else (1, ends[0])
    y = conv(now, x.unsqueeze(2), weight.unsqueeze(-2), bias, **options)
    return y.squeeze(2)


def channels_first(options: dict, name: str) -> None:
    """Refuse images with channels last, for which `name` has no twin."""
    options.pop("name", None)
    data_format = options.pop("data_format", "NC")
    if not data_format.startswith("NC"):
        raise UserError(f"{name} has data_format {data_format}; use channels first, NCHW or NCL")


def conv_layer(now: Pass, layer: nn.Layer, x: Tensor) -> Tensor:
    """`nn.Conv1D` and `nn.Conv2D`"""
    function, padding = conv2d if x.ndim == 4 else conv1d, layer._padding
    if layer._padding_mode != "zeros":
        ends, padding = layer._reversed_padding_repeated_twice, 0
        x = F.pad(x, ends, mode=layer._padding_mode, data_format=layer._data_format)
    options = dict(stride=layer._stride, dilation=layer._dilation, groups=layer._groups)
    options.update(padding=padding, data_format=layer._data_format)
    return function(now, x, layer.weight, layer.bias, **options)


def max_pool2d(
    now: Pass,
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    return_mask: bool = False,
    **options: Any,
) -> Tensor:
    """`paddle.nn.functional.max_pool2d`"""
    channels_first(options, "max_pool2d")
    if return_mask or ceil_mode:
        raise UserError(
            "max_pool2d has no second derivative with return_mask or ceil_mode; drop it"
        )
    kernel = pair(kernel_size)
    stride = kernel if stride is None else pair(stride)
    size = x.shape[2:]
    ends = paddings(padding, size, kernel, stride, (1, 1))
    rows = to_rows(x, now.tasks)
    if (kernel, stride, ends) == ((2, 2), (2, 2), (0, 0, 0, 0)):
        images = x.shape[0] // now.tasks
        rows = permute_rows(rows, *corners_first(size[0], size[1], images))
        at = Geometry((size[0], size[1]), (2, 2), (2, 2), ends)
        return from_rows(fn.max_pool(rows, size[0], size[1], images), x.shape[0], at.out)
    at = Geometry((size[0], size[1]), (kernel[0], kernel[1]), (stride[0], stride[1]), ends)
    rows = max_windows(rows, at)
    return from_rows(rows, x.shape[0], at.out)


def max_pool1d(
    now: Pass,
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    return_mask: bool = False,
    ceil_mode: bool = False,
    name: Any = None,
) -> Tensor:
    """`paddle.nn.functional.max_pool1d`, as pooling of images one pixel high."""
    kernel = (1, *pair(kernel_size, 1))
    stride = kernel if stride is None else (1, *pair(stride, 1))
    if not isinstance(padding, str):
        ends = pair(padding, 2)
        padding = (0, 0, *(ends if len(ends) == 2 else 2 * ends))
    return max_pool2d(now, x.unsqueeze(2), kernel, stride, padding, ceil_mode, return_mask).squeeze(
        2
    )


def adaptive_max_pool2d(
    now: Pass, x: Tensor, output_size: Any, return_mask: bool = False, name: Any = None
) -> Tensor:
    """`paddle.nn.functional.adaptive_max_pool2d`, for windows of one size."""
    size, out = x.shape[2:], pair(output_size)
    if any(length % o for length, o in zip(size, out)) or return_mask:
        raise UserError(
            f"adaptive_max_pool2d from {size[0]} x {size[1]} to {out[0]} x {out[1]} has no second "
            "derivative here; choose an output size that divides the input's"
        )
    kernel = tuple(length // o for length, o in zip(size, out))
    return max_pool2d(now, x, kernel, kernel)


def adaptive_max_pool1d(
    now: Pass, x: Tensor, output_size: Any, return_mask: bool = False, name: Any = None
) -> Tensor:
    """`paddle.nn.functional.adaptive_max_pool1d`, as pooling of images one pixel high."""
    out = (1, *pair(output_size, 1))
    return adaptive_max_pool2d(now, x.unsqueeze(2), out, return_mask).squeeze(2)


def adaptive_avg_pool2d(
    now: Pass, x: Tensor, output_size: Any, data_format: str = "NCHW", name: Any = None
) -> Tensor:
    """`paddle.nn.functional.adaptive_avg_pool2d`, as a product with the matrix that averages."""
    channels_first({"data_format": data_format}, "adaptive_avg_pool2d")
    size, out = x.shape[2:], pair(output_size)
    windows = [adaptive_windows(length, o) for length, o in zip(size, out)]
    matrix = paddle.to_tensor(averaging_matrix(size, windows).T, x.dtype)  # [P_in, P_out]
    y = paddle.matmul(x.reshape([x.shape[0], x.shape[1], -1]), matrix)
    return y.reshape([x.shape[0], x.shape[1], *out])
