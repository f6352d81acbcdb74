"""Twins of paddle.nn's layers and functions: twice differentiable, with weights for each task.

A layer sees the images of all tasks on its first axis, [T * N, ...], as paddle.nn has it. Layers
with weights look behind it: theirs are [T, ...], a set for each task. Convolutions and batch
normalisation compute on rows, [T, N * P, C]; what they return remembers its rows, so that the next
of them need not rearrange it again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from maml import functional as fn
from maml.functional import smooth
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
from maml.system.errors import UserError


@dataclass
class Pass:
    """One forward pass: how the tasks lie in the tensors, and batch normalisation's statistics."""

    tasks: int
    twice: bool
    given: list[fn.Statistics | fn.Team] | None = None
    record: list[fn.Statistics] | None = None
    check: bool = False
    """whether two ways to compute are compared, for which nothing may be random"""
    normalised: int = field(default=0)
    """layers of batch normalisation that were passed"""

    def next_statistics(self) -> fn.Statistics | fn.Team | None:
        """The given statistics of the next layer of batch normalisation."""
        self.normalised += 1
        return None if self.given is None else self.given[self.normalised - 1]


def to_rows(x: Tensor, tasks: int) -> Tensor:
    """[T * N, C, ...] -> [T, N * P, C]"""
    rows = kept_rows(x)
    if rows is not None and rows.shape[0] == tasks:
        return rows
    images, channels = x.shape[:2]
    if x.ndim > 2:
        x = x.reshape([images, channels, -1]).transpose([0, 2, 1])
    return x.reshape([tasks, -1, channels])


def from_rows(rows: Tensor, images: int, size: Sequence[int]) -> Tensor:
    """[T, N * P, C] -> [T * N, C, *size], which remembers its rows."""
    channels = rows.shape[-1]
    x = rows.reshape([images, *size, channels])
    if size:
        x = x.transpose([0, len(size) + 1, *range(1, len(size) + 1)])
    with suppress(AttributeError):  # PaddlePaddle 2.6's tensors remember nothing: only slower
        x._rows = (rows, x.inplace_version)
    return x


def kept_rows(x: Any) -> Tensor | None:
    """The rows that a tensor remembers, unless it was changed in place since."""
    kept = getattr(x, "_rows", None)
    return kept[0] if kept is not None and kept[1] == x.inplace_version else None


def of_tasks(w: Tensor, axes: int) -> Tensor:
    """A layer's weights with a leading task axis, [T, ...] or [1, ...].

    Weights that adapt have it where all tasks run at once. Fixed ones, of `axes` axes, do not.
    """
    return w if w.ndim > axes else w.unsqueeze(0)


def elementwise(function: Callable) -> Callable:
    """A function of each element by itself, applied to a tensor's rows where it has some."""

    def on_rows(x: Tensor, *arguments: Any, **options: Any) -> Tensor:
        options.pop("name", None)
        if arguments and (arguments[-1] is None or isinstance(arguments[-1], str)):
            arguments = arguments[:-1]  # a name, which layers pass last
        rows = kept_rows(x)
        if rows is None:
            return function(x, *arguments, **options)
        return from_rows(function(rows, *arguments, **options), x.shape[0], x.shape[2:])

    return on_rows


def of_two(function: Callable) -> Callable:
    """A function of two tensors' elements, applied to their rows where both have some."""

    def on_rows(x: Any, y: Any, *arguments: Any, **options: Any) -> Any:
        a, b = kept_rows(x), kept_rows(y)
        if a is None or b is None or x.shape != y.shape or a.shape != b.shape:
            return function(x, y, *arguments, **options)
        return from_rows(function(a, b), x.shape[0], x.shape[2:])

    return on_rows


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
    _channels_first(options, "conv2d")
    return conv(now, x, weight, bias, **options)


def conv1d(
    now: Pass, x: Tensor, weight: Tensor, bias: Tensor | None = None, *rest: Any, **options: Any
) -> Tensor:
    """`paddle.nn.functional.conv1d`, as a convolution of images one pixel high."""
    names = ("stride", "padding", "dilation", "groups", "data_format", "name")
    options.update(zip(names, rest))
    _channels_first(options, "conv1d")
    for key, across in (("stride", 1), ("padding", 0), ("dilation", 1)):
        value = options.get(key, across)
        if not isinstance(value, str):
            ends = pair(value, 1)
            ends = ends if len(ends) == 2 else (ends[0], ends[0])
            options[key] = (0, 0, *ends) if key == "padding" else (1, ends[0])
    y = conv(now, x.unsqueeze(2), weight.unsqueeze(-2), bias, **options)
    return y.squeeze(2)


def _channels_first(options: dict, name: str) -> None:
    options.pop("name", None)
    data_format = options.pop("data_format", "NC")
    if not data_format.startswith("NC"):
        raise UserError(f"{name} has data_format {data_format}; use channels first, NCHW or NCL")


def linear(
    now: Pass, x: Tensor, weight: Tensor, bias: Tensor | None = None, name: Any = None
) -> Tensor:
    """`paddle.nn.functional.linear`, x [T * N, ..., D] and weights [D, O] of each task."""
    w = of_tasks(weight, 2)
    y = paddle.matmul(x.reshape([now.tasks, -1, x.shape[-1]]), w)
    if bias is not None:
        y = y + of_tasks(bias, 1).unsqueeze(1)
    return y.reshape([*x.shape[:-1], w.shape[-1]])


def embedding(
    now: Pass, x: Tensor, weight: Tensor, padding_idx: int | None = None, **_: Any
) -> Tensor:
    """`paddle.nn.functional.embedding`, as a product with one-hot vectors."""
    w = of_tasks(weight, 2)
    chosen = F.one_hot(x, w.shape[1]).astype(w.dtype)
    if padding_idx is not None:
        chosen = chosen * (x != padding_idx).astype(w.dtype).unsqueeze(-1)
    y = paddle.matmul(chosen.reshape([now.tasks, -1, w.shape[1]]), w)
    return y.reshape([*x.shape, w.shape[-1]])


def per_channel(now: Pass, x: Tensor, scale: Tensor | None, shift: Tensor | None) -> Tensor:
    """x [T * N, C, ...] times scale plus shift, [C] of each task."""
    rows = to_rows(x, now.tasks)
    if scale is not None:
        rows = rows * repeat_rows(of_tasks(scale, 1).unsqueeze(1), rows.shape[1])
    if shift is not None:
        rows = rows + repeat_rows(of_tasks(shift, 1).unsqueeze(1), rows.shape[1])
    return from_rows(rows, x.shape[0], x.shape[2:])


def batch_norm_layer(now: Pass, layer: nn.Layer, x: Tensor) -> Tensor:
    """`nn.BatchNorm1D` and `2D`, with each task's own statistics, or with those that are given.

    A layer in eval mode uses its running statistics.
    """
    channels, epsilon = x.shape[1], layer._epsilon
    rows = to_rows(x, now.tasks)
    gamma, beta = (
        None if w is None else of_tasks(w, 1).unsqueeze(1) for w in (layer.weight, layer.bias)
    )
    if gamma is None:
        gamma = paddle.ones([1, 1, channels], x.dtype)
    if beta is None:
        beta = paddle.zeros([1, 1, channels], x.dtype)
    if layer.training:
        given = now.next_statistics()
    else:
        given = fn.Statistics(
            *(s.reshape([1, 1, channels]) for s in (layer._mean, layer._variance))
        )
    rows = _batch_norm(rows, gamma, beta, given, now, epsilon)
    return from_rows(rows, x.shape[0], x.shape[2:])


def _batch_norm(
    rows: Tensor, gamma: Tensor, beta: Tensor, given: Any, now: Pass, epsilon: float
) -> Tensor:
    """`functional.batch_norm`, with another epsilon where the layer has one."""
    of_batch = given is None or isinstance(given, fn.Team)
    if of_batch and epsilon == fn.EPSILON:
        return fn.batch_norm(rows, gamma, beta, given, now.record, now.twice)
    if of_batch:

        def mean_over_rows(x: Tensor) -> Tensor:
            own = x.mean(axis=1, keepdim=True)
            return own if given is None else given.mean(own, x.shape[1])

        mean = mean_over_rows(rows)
        centred = rows - mean
        variance = mean_over_rows(centred * centred)
        if now.record is not None:
            now.record.append(fn.Statistics(mean.detach(), variance.detach()))
        return centred * paddle.rsqrt(variance + epsilon) * gamma + beta
    scale = gamma * paddle.rsqrt(given.variance + epsilon)
    return rows * repeat_rows(scale, rows.shape[1]) + repeat_rows(
        beta - given.mean * scale, rows.shape[1]
    )


def layer_norm(
    now: Pass,
    x: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    epsilon: float = 1e-5,
    name: Any = None,
) -> Tensor:
    """`paddle.nn.functional.layer_norm`"""
    axes = len(pair(normalized_shape, 1))
    y = smooth.moments(x, list(range(x.ndim - axes, x.ndim)), epsilon)
    shape = x.shape[-axes:]
    y = y.reshape([now.tasks, -1, math.prod(shape)])
    if weight is not None:
        y = y * of_tasks(weight, 1).reshape([-1, 1, y.shape[-1]])
    if bias is not None:
        y = y + of_tasks(bias, 1).reshape([-1, 1, y.shape[-1]])
    return y.reshape(x.shape)


def group_norm_layer(now: Pass, layer: nn.GroupNorm, x: Tensor) -> Tensor:
    """`nn.GroupNorm`"""
    groups = layer._num_groups
    y = smooth.moments(x.reshape([x.shape[0], groups, -1]), [2], layer._epsilon).reshape(x.shape)
    return per_channel(now, y, layer.weight, layer.bias)


def instance_norm_layer(now: Pass, layer: nn.Layer, x: Tensor) -> Tensor:
    """`nn.InstanceNorm1D` and `2D`"""
    y = smooth.moments(x.reshape([*x.shape[:2], -1]), [2], layer._epsilon).reshape(x.shape)
    return per_channel(now, y, layer.scale, layer.bias)


def prelu(
    now: Pass, x: Tensor, weight: Tensor, data_format: str = "NCHW", name: Any = None
) -> Tensor:
    """`paddle.nn.functional.prelu`"""
    w = of_tasks(weight, 1)
    negative = -F.relu(-x)
    if w.shape[-1] == 1:
        flat = negative.reshape([now.tasks, -1]) * w
        return F.relu(x) + flat.reshape(x.shape)
    return F.relu(x) + per_channel(now, negative, weight, None)


def max_pool2d(
    now: Pass,
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    return_mask: bool = False,
    **_: Any,
) -> Tensor:
    """`paddle.nn.functional.max_pool2d`"""
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
    size, out = x.shape[2:], pair(output_size)
    windows = [adaptive_windows(length, o) for length, o in zip(size, out)]
    matrix = paddle.to_tensor(averaging_matrix(size, windows).T, x.dtype)  # [P_in, P_out]
    y = paddle.matmul(x.reshape([x.shape[0], x.shape[1], -1]), matrix)
    return y.reshape([x.shape[0], x.shape[1], *out])


def attention(
    now: Pass,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    training: bool = True,
    name: Any = None,
) -> Tensor:
    """`paddle.nn.functional.scaled_dot_product_attention`, [B, L, heads, D]."""
    q, k, v = (z.transpose([0, 2, 1, 3]) for z in (query, key, value))
    scores = paddle.matmul(q, k, transpose_y=True) / math.sqrt(q.shape[-1])
    if is_causal:
        mask = paddle.tril(paddle.ones(scores.shape[-2:], scores.dtype))
        scores = scores + (mask - 1) * 1e9
    if attn_mask is not None:
        scores = scores + attn_mask
    weights = smooth.dropout(smooth.softmax(scores), dropout_p, training=training)
    return paddle.matmul(weights, v).transpose([0, 2, 1, 3])


def random(function: Callable) -> Callable:
    """A function with a random mask, which is left out where two ways are compared."""

    def masked(now: Pass, x: Tensor, *arguments: Any, **options: Any) -> Tensor:
        return x if now.check else function(x, *arguments, **options)

    return masked


def conv_layer(now: Pass, layer: nn.Layer, x: Tensor) -> Tensor:
    """`nn.Conv1D` and `nn.Conv2D`"""
    function, padding = conv2d if x.ndim == 4 else conv1d, layer._padding
    if layer._padding_mode != "zeros":
        ends, padding = layer._reversed_padding_repeated_twice, 0
        x = F.pad(x, ends, mode=layer._padding_mode, data_format=layer._data_format)
    options = dict(stride=layer._stride, dilation=layer._dilation, groups=layer._groups)
    options.update(padding=padding, data_format=layer._data_format)
    return function(now, x, layer.weight, layer.bias, **options)


# Twins of layers, by class: (pass, layer, x) -> y. Other layers run as they are, with the twins of
# the functions that they call.
LAYERS: dict[type, Callable] = {
    nn.Conv1D: conv_layer,
    nn.Conv2D: conv_layer,
    nn.BatchNorm1D: batch_norm_layer,
    nn.BatchNorm2D: batch_norm_layer,
    nn.BatchNorm3D: batch_norm_layer,
    nn.GroupNorm: group_norm_layer,
    nn.InstanceNorm1D: instance_norm_layer,
    nn.InstanceNorm2D: instance_norm_layer,
    nn.Flatten: lambda now, layer, x: smooth.flatten(x, layer.start_axis, layer.stop_axis),
}

# Twins of functions that need to know the tasks, and of those that do not.
WITH_TASKS: dict[str, Callable] = {
    "conv2d": conv2d,
    "conv1d": conv1d,
    "linear": linear,
    "embedding": embedding,
    "layer_norm": layer_norm,
    "dropout": random(smooth.dropout),
    "dropout2d": random(smooth.dropout_of_channels),
    "dropout3d": random(smooth.dropout_of_channels),
    "alpha_dropout": random(F.alpha_dropout),
    "prelu": prelu,
    "max_pool1d": max_pool1d,
    "max_pool2d": max_pool2d,
    "adaptive_max_pool1d": adaptive_max_pool1d,
    "adaptive_max_pool2d": adaptive_max_pool2d,
    "adaptive_avg_pool2d": adaptive_avg_pool2d,
    "scaled_dot_product_attention": attention,
}
ELEMENTWISE: dict[str, Callable] = {
    name: elementwise(getattr(smooth, name, None) or getattr(F, name))
    for name in (
        "relu leaky_relu elu celu selu gelu sigmoid tanh silu swish mish softplus hardswish relu6 "
        "hardtanh hardsigmoid softsign tanhshrink log_sigmoid"
    ).split()
}
PLAIN: dict[str, Callable] = {
    name: getattr(smooth, name)
    for name in ("softmax", "log_softmax", "normalize", "cross_entropy", "interpolate")
}
METHODS: dict[str, Callable] = {
    "__add__": of_two(Tensor.__add__),
    "add": of_two(paddle.add),
    "flatten": smooth.flatten,
    "reciprocal": smooth.reciprocal,
    "erf": smooth.erf,
    "exp": smooth.exp,
    "dot": smooth.dot,
    "bmm": smooth.bmm,
    "stack": smooth.stack,
    "logsumexp": smooth.logsumexp,
}
