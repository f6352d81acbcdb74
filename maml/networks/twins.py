"""Twins of paddle.nn's layers and functions: twice differentiable, with weights for each task.

`passes` says how a twin finds the weights and the images of each task.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from maml.functional import smooth
from maml.networks.normalising import (
    batch_norm_layer,
    group_norm_layer,
    instance_norm_layer,
    layer_norm,
    per_channel,
)
from maml.networks.passes import Pass, elementwise, of_tasks, of_two
from maml.networks.sliding import (
    adaptive_avg_pool2d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    channels_first,
    conv1d,
    conv2d,
    conv_layer,
    max_pool1d,
    max_pool2d,
)


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


def prelu(
    now: Pass, x: Tensor, weight: Tensor, data_format: str = "NCHW", name: Any = None
) -> Tensor:
    """`paddle.nn.functional.prelu`"""
    channels_first({"data_format": data_format}, "prelu")
    w = of_tasks(weight, 1)
    negative = -F.relu(-x)
    if w.shape[-1] == 1:
        flat = negative.reshape([now.tasks, -1]) * w
        return F.relu(x) + flat.reshape(x.shape)
    return F.relu(x) + per_channel(now, negative, weight, None)


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
    weights = smooth.dropout(smooth.softmax(scores), dropout_p, training=training and not now.fixed)
    return paddle.matmul(weights, v).transpose([0, 2, 1, 3])


def random(function: Callable) -> Callable:
    """A function with a random mask, which is left out where nothing may be random."""

    def masked(now: Pass, x: Tensor, *arguments: Any, **options: Any) -> Tensor:
        return x if now.fixed else function(x, *arguments, **options)

    return masked


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
