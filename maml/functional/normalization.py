"""Batch normalisation (Ioffe & Szegedy 2015) of rows [T, M, C], twice differentiable by closed forms."""

from __future__ import annotations

from typing import NamedTuple

import paddle
import paddle.nn.functional as F
from paddle import Tensor
from paddle.autograd import PyLayer

from maml.functional.rows import apply, mean_rows, repeat_rows

EPSILON = 1e-5


class Statistics(NamedTuple):
    """What batch normalisation needs to know of a batch; mean and (biased) variance, each [T, 1, C]."""

    mean: Tensor
    variance: Tensor


def _project(g: Tensor, normal: Tensor) -> Tensor:
    """P g = g - mean(g) - x_hat mean(g x_hat), by column."""
    rows = g.shape[1]
    return g - repeat_rows(mean_rows(g), rows) - normal * repeat_rows(mean_rows(g * normal), rows)


class _Normalize(PyLayer):
    """x_hat = r (x - mean(x)), r = (var(x) + eps)^-1/2.

    First derivative: dx = r P g. Second, for a cotangent a of dx, with m(u) = mean(u x_hat):
        dg = r P a
        dx = -r^2 (P(a m(g) + g m(a)) + x_hat mean(a P g))
    since dr = -r^2 mean(x_hat dx) and d x_hat = r P dx.
    """

    @staticmethod
    def forward(ctx, needs, x, record):
        rows = x.shape[1]
        mean = mean_rows(x)
        centred = x - repeat_rows(mean, rows)
        variance = mean_rows(centred * centred)
        if record is not None:
            record.append(Statistics(mean, variance))
        r = paddle.rsqrt(variance + EPSILON)
        normal = centred * repeat_rows(r, rows)
        ctx.save_for_backward(x)
        ctx.normal, ctx.r = normal.detach(), r  # the output itself would hold its own graph alive, a leak
        return normal

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensor()
        return apply(_NormalizeGradient, g, x, normal=ctx.normal, r=ctx.r)


class _NormalizeGradient(PyLayer):
    @staticmethod
    def forward(ctx, needs, g, x, normal, r):
        ctx.needs = needs
        ctx.g, ctx.normal, ctx.r = g.detach(), normal, r
        return repeat_rows(r, g.shape[1]) * _project(g, normal)

    @staticmethod
    def backward(ctx, a):
        g, normal, r, rows = ctx.g, ctx.normal, ctx.r, ctx.g.shape[1]
        r_rows = repeat_rows(r, rows)
        projected = _project(a, normal)
        mixed = a * repeat_rows(mean_rows(g * normal), rows) + g * repeat_rows(mean_rows(a * normal), rows)
        curved = _project(mixed, normal) + normal * repeat_rows(mean_rows(projected * g), rows)
        return (r_rows * projected if ctx.needs[0] else None, -r_rows * r_rows * curved if ctx.needs[1] else None)


def normalize(x: Tensor, record: list[Statistics] | None = None) -> Tensor:
    """Rows of x [T, M, C] to mean 0 and variance 1 by column (Ioffe & Szegedy 2015, Algorithm 1, without scale and shift).

    `record`, a list, is given the mean and variance that were found.
    """
    return apply(_Normalize, x, record=record)


def batch_norm(x: Tensor, gamma: Tensor, beta: Tensor, given: Statistics | None = None, record: list[Statistics] | None = None,
               twice: bool = True) -> Tensor:
    """Batch normalisation of rows x [T, M, C] with their own statistics, which `record` is given, or with `given` ones.

    `twice`: it is to be differentiated twice. If not, Paddle's own operation serves a single task (T = 1), many times faster.
    """
    rows = x.shape[1]
    if given is not None:
        scale = gamma * paddle.rsqrt(given.variance + EPSILON)
        return x * repeat_rows(scale, rows) + repeat_rows(beta - given.mean * scale, rows)
    if twice or x.shape[0] > 1:
        return normalize(x, record) * repeat_rows(gamma, rows) + repeat_rows(beta, rows)
    measured = Statistics(paddle.zeros(beta.shape[2:], x.dtype), paddle.ones(beta.shape[2:], x.dtype))  # [C] each
    y = F.batch_norm(x.reshape([rows, -1]), *measured, gamma.flatten(), beta.flatten(), training=True, momentum=0.0, epsilon=EPSILON)
    if record is not None:
        record.append(Statistics(*(s.reshape(beta.shape) for s in measured)))  # where it put the statistics of x
    return y.unsqueeze(0)
