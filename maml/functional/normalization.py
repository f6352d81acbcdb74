"""Batch normalisation (Ioffe & Szegedy 2015) of rows [T, M, C].

Its first and second derivatives have closed forms.
"""

from __future__ import annotations

from itertools import compress
from typing import Any, NamedTuple

import paddle
import paddle.nn.functional as F
from paddle import Tensor
from paddle.autograd import PyLayer

from maml.functional.rows import apply, mean_rows, placed, repeat_rows
from maml.functional.team import Team

EPSILON = 1e-5  # the eps that is added to every variance


class Statistics(NamedTuple):
    """The statistics of a batch that batch normalisation uses.

    Args:
        mean (Tensor): the mean of each channel, [T, 1, C].
        variance (Tensor): the biased variance of each channel, [T, 1, C].
    """

    mean: Tensor
    variance: Tensor


def _affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return x * scale + shift by column, for x [T, M, C], scale and shift [T, 1, C]."""
    return x * repeat_rows(scale, x.shape[1]) + repeat_rows(shift, x.shape[1])


class _BatchNorm(PyLayer):
    """y = gamma x_hat + beta, x_hat = r (x - mean(x)), r = (var(x) + eps)^-1/2, by column.

    Write m(u) = mean(u x_hat) and P u = u - mean(u) - x_hat m(u). For a cotangent g of y, over M
    rows:
        dx = gamma r P g,  dgamma = M m(g),  dbeta = M mean(g)
    Second, for cotangents a, b, c of these, since d x_hat = r P dx and dr = -r^2 m(dx):
        dg = gamma r P a + b x_hat + c
        dgamma = r M mean(a P g) = r M (mean(a g) - mean(a) mean(g) - m(a) m(g))
        dx = r (P u - gamma r x_hat mean(a P g)),  u = (b - gamma r m(a)) g - gamma r m(g) a
    """

    @staticmethod
    def forward(ctx, needs, x, gamma, beta, record):
        rows = x.shape[1]
        mean = mean_rows(x)
        centred = x - repeat_rows(mean, rows)
        variance = mean_rows(centred * centred)
        if record is not None:
            record.append(Statistics(mean, variance))
        r = paddle.rsqrt(variance + EPSILON)
        ctx.needs, ctx.normal, ctx.r = needs, centred * repeat_rows(r, rows), r
        ctx.save_for_backward(x, gamma)
        return _affine(ctx.normal, gamma, beta)

    @staticmethod
    def backward(ctx, g):
        x, gamma = ctx.saved_tensor()
        constants = dict(normal=ctx.normal, r=ctx.r, of=ctx.needs)
        return placed(ctx.needs, apply(_BatchNormGradient, g, x, gamma, **constants))


class _BatchNormGradient(PyLayer):
    """The gradients of those of x, gamma and beta that `of` says need one, and no others.

    PaddlePaddle 2.6 crashes where a layer of our own has an output that is not used.
    """

    @staticmethod
    def forward(ctx, needs, g, x, gamma, normal, r, of):
        rows = g.shape[1]
        scale = gamma * r
        mean, m = mean_rows(g), mean_rows(g * normal)
        ctx.g, ctx.normal, ctx.r = g.detach(), normal, r
        ctx.scale, ctx.mean, ctx.m, ctx.needs, ctx.of = scale, mean, m, needs, of
        dx = _affine(g, scale, -scale * mean) - normal * repeat_rows(scale * m, rows)
        return tuple(compress((dx, rows * m, rows * mean), of))

    @staticmethod
    def backward(ctx, *cotangents):
        none = paddle.zeros_like(ctx.m)
        a, b, c = (none if d is None else d for d in placed(ctx.of, cotangents))
        g, normal, r, scale = ctx.g, ctx.normal, ctx.r, ctx.scale
        rows = g.shape[1]
        mean_a, m_a = mean_rows(a), mean_rows(a * normal)
        curvature = mean_rows(a * g) - mean_a * ctx.mean - m_a * ctx.m  # mean(a P g)
        dg = _affine(a, scale, c - scale * mean_a) + normal * repeat_rows(b - scale * m_a, rows)
        u = g * repeat_rows(b - scale * m_a, rows) - a * repeat_rows(scale * ctx.m, rows)
        along_normal = r * (mean_rows(u * normal) + scale * curvature)
        dx = _affine(u, r, -r * mean_rows(u)) - normal * repeat_rows(along_normal, rows)
        return placed(ctx.needs, compress((dg, dx, r * curvature * rows), ctx.needs))


def _by_column(
    x: Tensor, mean: Tensor, variance: Tensor, gamma: Tensor, beta: Tensor, **options: Any
) -> Tensor:
    """Return Paddle's own batch normalisation with a column for each channel of each task.

    mean and variance are [T * C], gamma and beta [T, 1, C].
    """
    tasks, rows, channels = x.shape
    columns = x.transpose([1, 0, 2]).reshape([rows, -1])  # [M, T * C]
    y = F.batch_norm(columns, mean, variance, gamma.flatten(), beta.flatten(), **options)
    return y.reshape([rows, tasks, channels]).transpose([1, 0, 2])


def _batch_norm_native(
    x: Tensor, gamma: Tensor, beta: Tensor, record: list[Statistics] | None
) -> Tensor:
    """Return batch normalisation by Paddle's own operation.

    It is many times faster than `_BatchNorm`, but is differentiable only once.
    """
    if gamma.stop_gradient != beta.stop_gradient:  # Paddle has the gradients of both or of none
        y = _batch_norm_native(x, paddle.ones_like(gamma), paddle.zeros_like(beta), record)
        return _affine(y, gamma, beta)
    tasks, _, channels = x.shape
    mean = paddle.zeros([tasks * channels], x.dtype)
    variance = paddle.ones([tasks * channels], x.dtype)
    # without momentum, mean and variance become the statistics of x
    options = {"training": True, "momentum": 0.0, "epsilon": EPSILON}
    y = _by_column(x, mean, variance, gamma, beta, **options)
    if record is not None:
        shape = [tasks, 1, channels]
        record.append(Statistics(mean.reshape(shape), variance.reshape(shape)))
    return y


def _scaled(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return what `_affine` returns, four times as fast, where no gradient is needed."""
    mean, variance = paddle.zeros_like(scale).flatten(), paddle.ones_like(scale).flatten()
    return _by_column(x, mean, variance, scale, shift, training=False, epsilon=0.0)


class _TeamBatchNorm(PyLayer):
    """y = gamma x_hat + beta as in `_BatchNorm`, over the rows of all processes of a team.

    Paddle's own operation gives n, which is normal over this process's rows; then x_hat = a n + b.
    With means over all rows, dx = gamma r P g as in `_BatchNorm`, differentiable once. gamma and
    beta get what this process's rows contribute to their gradients.
    """

    @staticmethod
    def forward(ctx, needs, x, gamma, beta, team, record):
        own: list[Statistics] = []
        normal = _batch_norm_native(x, paddle.ones_like(gamma), paddle.zeros_like(beta), own)
        mean, variance = team_statistics(own[0], x.shape[1], team)
        if record is not None:
            record.append(Statistics(mean, variance))
        r = paddle.rsqrt(variance + EPSILON)
        a, b = r * paddle.sqrt(own[0].variance + EPSILON), (own[0].mean - mean) * r
        ctx.normal, ctx.a, ctx.b, ctx.scale = normal, a, b, gamma * r
        ctx.needs, ctx.team = needs, team
        return _scaled(normal, gamma * a, gamma * b + beta)

    @staticmethod
    def backward(ctx, g):
        normal, a, b, scale = ctx.normal, ctx.a, ctx.b, ctx.scale
        rows, mean = g.shape[1], mean_rows(g)
        m = a * mean_rows(g * normal) + b * mean
        mean_all, m_all = ctx.team.mean(paddle.concat([mean, m], axis=1), rows).split(2, axis=1)
        along_normal = _scaled(normal, -scale * m_all * a, -scale * (mean_all + m_all * b))
        dx = _scaled(g, scale, paddle.zeros_like(scale)) + along_normal
        return placed(ctx.needs, compress((dx, rows * m, rows * mean), ctx.needs))


def team_statistics(own: Statistics, rows: int, team: Team) -> Statistics:
    """Return the statistics of all processes' rows, from those of this process's rows."""
    mean, variance = (s.astype("float64") for s in own)  # for E[x^2] - E[x]^2 cancels
    moments = paddle.concat([mean, variance + mean * mean], axis=1)
    mean, second = team.mean(moments, rows).split(2, axis=1)
    dtype = own.mean.dtype
    return Statistics(mean.astype(dtype), (second - mean * mean).astype(dtype))


def batch_norm(
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    given: Statistics | Team | None = None,
    record: list[Statistics] | None = None,
    twice: bool = True,
) -> Tensor:
    """Normalise each channel of each task over the rows, then scale and shift it.

    This is algorithm 1 of Ioffe & Szegedy 2015: gamma (x - mean) / sqrt(variance + eps) + beta.

    Args:
        x (Tensor): rows of activations, [T, M, C].
        gamma (Tensor): scale of each channel, [T, 1, C], or [1, 1, C] for all tasks.
        beta (Tensor): shift of each channel, likewise.
        given (Statistics | Team | None): statistics to normalise with, instead of those of x; or
            the processes whose rows are normalised together, once differentiable.
        record (list[Statistics] | None): a list that receives the statistics of x, or of all
            processes' rows; not with given `Statistics`.
        twice (bool): the result is to be differentiated twice. If false, a much faster operation
            is used, which is differentiable only once.

    Returns:
        Tensor: rows of activations, [T, M, C].

    Example:
        >>> import paddle
        >>> from maml import functional as fn
        >>> x = paddle.to_tensor([[[1.0], [3.0]]])  # 1 task, 2 rows, 1 channel
        >>> gamma, beta = paddle.full([1, 1, 1], 2.0), paddle.full([1, 1, 1], 5.0)
        >>> fn.batch_norm(x, gamma, beta).numpy().round(3).tolist()
        [[[3.0], [7.0]]]
    """
    gamma, beta = (  # some or all tasks may share them
        w if w.shape[0] == x.shape[0] else w.expand([x.shape[0], *w.shape[1:]])
        for w in (gamma, beta)
    )
    if isinstance(given, Team):
        return apply(_TeamBatchNorm, x, gamma, beta, team=given, record=record)
    if given is not None:
        scale = gamma * paddle.rsqrt(given.variance + EPSILON)
        affine = _affine if paddle.is_grad_enabled() else _scaled
        return affine(x, scale, beta - given.mean * scale)
    if twice:
        return apply(_BatchNorm, x, gamma, beta, record=record)
    return _batch_norm_native(x, gamma, beta, record)
