"""Similarity of embeddings: [T, N, D] and [T, M, D] -> scores [T, N, M], higher where nearer."""

from __future__ import annotations

from collections.abc import Callable

import paddle
from paddle import Tensor


def negative_squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """-|a - b|^2, summed over dimensions: 2 ab - |a|^2 - |b|^2."""
    return (
        2 * paddle.matmul(a, b, transpose_y=True)
        - (a * a).sum(-1).unsqueeze(2)
        - (b * b).sum(-1).unsqueeze(1)
    )


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """ab / |a||b|, the norms kept from 0."""
    return paddle.matmul(normalized(a), normalized(b), transpose_y=True)


def normalized(a: Tensor) -> Tensor:
    """a / |a| over the last axis."""
    return a * paddle.rsqrt((a * a).sum(-1, keepdim=True) + 1e-12)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """ab"""
    return paddle.matmul(a, b, transpose_y=True)


SIMILARITIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "euclidean": negative_squared_distance,
    "cosine": cosine,
    "dot": dot,
}
