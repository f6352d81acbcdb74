"""Similarities of embeddings [T, N, D] and [T, M, D]: scores [T, N, M], high for near ones."""

from __future__ import annotations

from collections.abc import Callable

import paddle
from paddle import Tensor

from maml.functional.rows import repeat_rows


def negative_squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return -|a - b|^2 = 2 ab - |a|^2 - |b|^2 for each pair of embeddings.

    These are the scores of Prototypical Networks (Snell, Swersky & Zemel 2017, section 2.3).

    Args:
        a (Tensor): embeddings, [T, N, D].
        b (Tensor): embeddings, [T, M, D].

    Returns:
        Tensor: negative squared Euclidean distances, [T, N, M].

    Example:
        >>> import paddle
        >>> from maml import functional as fn
        >>> a, b = paddle.to_tensor([[[0.0, 0.0]]]), paddle.to_tensor([[[3.0, 4.0], [1.0, 0.0]]])
        >>> fn.negative_squared_distance(a, b).tolist()
        [[[-25.0, -1.0]]]
    """
    a_squared = (a * a).sum(-1).unsqueeze(2)  # [T, N, 1]
    b_squared = (b * b).sum(-1).unsqueeze(1)  # [T, 1, M]
    return 2 * paddle.matmul(a, b, transpose_y=True) - a_squared - b_squared


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Return ab / |a||b| for each pair of embeddings.

    This is the similarity c of Matching Networks (Vinyals et al. 2016, section 2.1.1).

    Args:
        a (Tensor): embeddings, [T, N, D].
        b (Tensor): embeddings, [T, M, D].

    Returns:
        Tensor: cosines from -1 to 1, [T, N, M]; 0 for an embedding of zeros.

    Example:
        >>> import paddle
        >>> from maml import functional as fn
        >>> a, b = paddle.to_tensor([[[1.0, 0.0]]]), paddle.to_tensor([[[3.0, 4.0], [-2.0, 0.0]]])
        >>> print(fn.cosine(a, b).numpy().round(3))
        [[[ 0.6 -1. ]]]
    """
    return paddle.matmul(normalized(a), normalized(b), transpose_y=True)


def normalized(a: Tensor) -> Tensor:
    """Return a / |a|, with the Euclidean norm over the last axis.

    Args:
        a (Tensor): embeddings, [..., D].

    Returns:
        Tensor: embeddings of length 1, [..., D]; zeros for an embedding of zeros.

    Example:
        >>> import paddle
        >>> from maml import functional as fn
        >>> [round(v, 2) for v in fn.normalized(paddle.to_tensor([3.0, 4.0])).tolist()]
        [0.6, 0.8]
    """
    return a * paddle.rsqrt((a * a).sum(-1, keepdim=True) + 1e-12)


def absolute_differences(a: Tensor, b: Tensor) -> Tensor:
    """Return |a_j - b_j| for each pair of embeddings and each j.

    Siamese networks weight these (Koch, Zemel & Salakhutdinov 2015, section 3.1).

    Args:
        a (Tensor): embeddings, [T, N, D].
        b (Tensor): embeddings, [T, M, D].

    Returns:
        Tensor: absolute differences, [T, N, M, D].

    Example:
        >>> import paddle
        >>> from maml import functional as fn
        >>> a, b = paddle.to_tensor([[[1.0, 5.0]]]), paddle.to_tensor([[[4.0, 5.0], [0.0, 7.0]]])
        >>> fn.absolute_differences(a, b).tolist()
        [[[[3.0, 0.0], [1.0, 2.0]]]]
    """
    if not paddle.in_dynamic_mode():  # an exported program does not know the number of images
        return (a.unsqueeze(2) - b.unsqueeze(1)).abs()
    (tasks, n, size), m = a.shape, b.shape[1]
    first = repeat_rows(a.reshape([tasks * n, 1, size]), m)  # which is faster than to broadcast
    second = repeat_rows(b.reshape([tasks, 1, m * size]), n)
    return (first.reshape([tasks, n, m, size]) - second.reshape([tasks, n, m, size])).abs()


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Return the dot product ab of each pair of embeddings [T, N, D] and [T, M, D], [T, N, M]."""
    return paddle.matmul(a, b, transpose_y=True)


# by the names that the setting `distance` takes
SIMILARITIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "euclidean": negative_squared_distance,
    "cosine": cosine,
    "dot": dot,
}
