"""Twins of the layers that normalise: of batches, of layers, of groups and of instances."""

from __future__ import annotations

import math
from typing import Any

import paddle
from paddle import Tensor, nn

from maml import functional as fn
from maml.functional import smooth
from maml.functional.rows import repeat_rows
from maml.networks.passes import Pass, from_rows, of_tasks, to_rows


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

    A layer in eval mode uses its running statistics, unless its `use_global_stats` says otherwise.
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
    own = not layer.training if layer._use_global_stats is None else layer._use_global_stats
    if not own:
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
    axes = 1 if isinstance(normalized_shape, int) else len(normalized_shape)
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
