"""Batch normalisation (Ioffe & Szegedy 2015) of rows [T, M, C], twice differentiable by closed
forms.
"""

from __future__ import annotations

from typing import NamedTuple

import paddle
import paddle.nn.functional as F
from paddle import Tensor
from paddle.autograd import PyLayer

from maml.functional.rows import apply, mean_rows, repeat_rows

EPSILON = 1e-5


class Statistics(NamedTuple):
    """What batch normalisation needs to know of a batch; mean and (biased) variance, each [T, 1,
    C].
    """

    mean: Tensor
    variance: Tensor


def _affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """x * scale + shift by column: x [T, M, C], scale and shift [T, 1, C]."""
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
        ctx.normal, ctx.r = centred * repeat_rows(r, rows), r
        ctx.save_for_backward(x, gamma)
        return _affine(ctx.normal, gamma, beta)

    @staticmethod
    def backward(ctx, g):
        x, gamma = ctx.saved_tensor()
        return apply(_BatchNormGradient, g, x, gamma, normal=ctx.normal, r=ctx.r)


class _BatchNormGradient(PyLayer):
    @staticmethod
    def forward(ctx, needs, g, x, gamma, normal, r):
        scale, mean, m, rows = gamma * r, mean_rows(g), mean_rows(g * normal), g.shape[1]
        ctx.g, ctx.normal, ctx.r, ctx.scale, ctx.mean, ctx.m = g.detach(), normal, r, scale, mean, m
        return (
            _affine(g, scale, -scale * mean) - normal * repeat_rows(scale * m, rows),
            rows * m,
            rows * mean,
        )

    @staticmethod
    def backward(ctx, a, b, c):
        g, normal, r, scale, rows = ctx.g, ctx.normal, ctx.r, ctx.scale, ctx.g.shape[1]
        mean_a, m_a = mean_rows(a), mean_rows(a * normal)
        curvature = mean_rows(a * g) - mean_a * ctx.mean - m_a * ctx.m  # mean(a P g)
        dg = _affine(a, scale, c - scale * mean_a) + normal * repeat_rows(b - scale * m_a, rows)
        u = g * repeat_rows(b - scale * m_a, rows) - a * repeat_rows(scale * ctx.m, rows)
        dx = _affine(u, r, -r * mean_rows(u)) - normal * repeat_rows(
            r * (mean_rows(u * normal) + scale * curvature), rows
        )
        return dg, dx, r * curvature * rows


def _measured(x: Tensor, gamma: Tensor, beta: Tensor, record: list[Statistics] | None) -> Tensor:
    """Batch normalisation by Paddle's own operation, many times faster, but for one
    differentiation: a column for each task's channel.
    """
    tasks, rows, channels = x.shape
    statistics = Statistics(
        paddle.zeros([tasks * channels], x.dtype), paddle.ones([tasks * channels], x.dtype)
    )
    columns = x.transpose([1, 0, 2]).reshape([rows, -1])  # [M, T * C]
    y = F.batch_norm(
        columns,
        *statistics,
        gamma.flatten(),
        beta.flatten(),
        training=True,
        momentum=0.0,
        epsilon=EPSILON,
    )
    if record is not None:
        record.append(
            Statistics(*(s.reshape([tasks, 1, channels]) for s in statistics))
        )  # where it put the statistics of x
    return y.reshape([rows, tasks, channels]).transpose([1, 0, 2])


def batch_norm(
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    given: Statistics | None = None,
    record: list[Statistics] | None = None,
    twice: bool = True,
) -> Tensor:
    """Batch normalisation of rows x [T, M, C] with their own statistics, which `record` is given,
    or with `given` ones.

    gamma, beta [T, 1, C]; `twice`: it is to be differentiated twice.
    """
    if given is not None:
        scale = gamma * paddle.rsqrt(given.variance + EPSILON)
        return _affine(x, scale, beta - given.mean * scale)
    return (
        apply(_BatchNorm, x, gamma, beta, record=record)
        if twice
        else _measured(x, gamma, beta, record)
    )
