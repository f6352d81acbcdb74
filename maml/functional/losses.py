"""What is minimised and what is counted: scores [T, N, way] against labels [T, N]."""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import Tensor


def log_softmax(scores: Tensor) -> Tensor:
    """Over the last axis. exp(z) is written elu(z) + 1, its equal for z <= 0, since exp has no
    second gradient in Paddle 2.6.
    """
    z = scores - scores.detach().max(axis=-1, keepdim=True)
    return z - paddle.log((F.elu(z) + 1).sum(axis=-1, keepdim=True))


def cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """scores [T, N, way], labels [T, N] int -> mean over the N images, [T]."""
    target = F.one_hot(labels, scores.shape[-1]).astype(scores.dtype)
    return -(target * log_softmax(scores)).sum(axis=-1).mean(axis=-1)


def accuracy(scores: Tensor, labels: Tensor) -> Tensor:
    """scores [T, N, way], labels [T, N] int -> the share whose own class scores highest, [T]
    float32; a tie is a miss.
    """
    return correct(scores, labels).mean(axis=-1)


def correct(scores: Tensor, labels: Tensor) -> Tensor:
    """scores [T, N, way], labels [T, N] int -> 1 where the own class scores highest, else 0, [T, N]
    float32; a tie is a miss.
    """
    own = F.one_hot(labels, scores.shape[-1]).astype("bool")
    rival = paddle.where(own, paddle.full_like(scores, -float("inf")), scores).max(axis=-1)
    return (
        paddle.take_along_axis(scores, labels.unsqueeze(-1), axis=-1).squeeze(-1) > rival
    ).astype("float32")
