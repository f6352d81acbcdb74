"""Losses and accuracies of scores [T, N, way], for labels [T, N]."""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import Tensor


def log_softmax(scores: Tensor) -> Tensor:
    """Return the logarithm of the softmax over the last axis, differentiable any number of times.

    Args:
        scores (Tensor): scores, [..., way].

    Returns:
        Tensor: logarithms of probabilities, [..., way].

    Example:
        >>> import paddle
        >>> from maml import functional as fn
        >>> print(fn.log_softmax(paddle.to_tensor([[[0.0, 0.0]]])).numpy().round(3))
        [[[-0.693 -0.693]]]
    """
    # For z <= 0, exp(z) = elu(z) + 1, and in Paddle 2.6 exp has no second derivative.
    z = scores - scores.detach().max(axis=-1, keepdim=True)
    return z - paddle.log((F.elu(z) + 1).sum(axis=-1, keepdim=True))


def cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of each task, differentiable any number of times.

    Args:
        scores (Tensor): scores, [T, N, way].
        labels (Tensor): labels from 0 to way - 1, [T, N] int.

    Returns:
        Tensor: the mean over the N images of each task, [T].

    Example:
        >>> import paddle
        >>> from maml import functional as fn
        >>> scores = paddle.to_tensor([[[2.0, 0.0], [0.0, 0.0]]])  # one task, two images
        >>> print(fn.cross_entropy(scores, paddle.to_tensor([[0, 1]])).numpy().round(3))
        [0.41]
    """
    return _cross_entropies(scores, labels).mean(axis=-1)


def summed_cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the sum of the images' cross-entropies; `cross_entropy` is their mean.

    Args:
        scores (Tensor): scores, [T, N, way].
        labels (Tensor): labels from 0 to way - 1, [T, N] int.

    Returns:
        Tensor: the sum over the N images of each task, [T].

    Example:
        >>> import paddle
        >>> from maml import functional as fn
        >>> scores = paddle.to_tensor([[[2.0, 0.0], [0.0, 0.0]]])  # one task, two images
        >>> print(fn.summed_cross_entropy(scores, paddle.to_tensor([[0, 1]])).numpy().round(2))
        [0.82]
    """
    return _cross_entropies(scores, labels).sum(axis=-1)


def _cross_entropies(scores: Tensor, labels: Tensor) -> Tensor:
    """The cross-entropy of each image, [T, N]."""
    target = F.one_hot(labels, scores.shape[-1]).astype(scores.dtype)
    return -(target * log_softmax(scores)).sum(axis=-1)


def accuracy(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the accuracy of each task.

    An image is classified correctly if its own class has the highest score, and no other class has
    the same score.

    Args:
        scores (Tensor): scores, [T, N, way].
        labels (Tensor): labels from 0 to way - 1, [T, N] int.

    Returns:
        Tensor: the share of the N images that are classified correctly, [T] float32.

    Example:
        >>> import paddle
        >>> from maml import functional as fn
        >>> scores = paddle.to_tensor([[[2.0, 0.0], [1.0, 1.0]]])  # the second image: a tie
        >>> fn.accuracy(scores, paddle.to_tensor([[0, 1]])).tolist()
        [0.5]
    """
    return correct(scores, labels).mean(axis=-1)


def correct(scores: Tensor, labels: Tensor) -> Tensor:
    """Return which images are classified correctly; a tie is an error, see `accuracy`.

    Args:
        scores (Tensor): scores, [T, N, way].
        labels (Tensor): labels from 0 to way - 1, [T, N] int.

    Returns:
        Tensor: 1 for a correct image and 0 for an error, [T, N] float32.

    Example:
        >>> import paddle
        >>> from maml import functional as fn
        >>> scores = paddle.to_tensor([[[2.0, 1.0], [0.0, 3.0]]])  # 1 task, 2 images, 2 classes
        >>> fn.correct(scores, paddle.to_tensor([[0, 0]])).tolist()
        [[1.0, 0.0]]
    """
    own = F.one_hot(labels, scores.shape[-1]).astype("bool")
    rival = paddle.where(own, paddle.full_like(scores, -float("inf")), scores).max(axis=-1)
    score = paddle.take_along_axis(scores, labels.unsqueeze(-1), axis=-1).squeeze(-1)
    return (score > rival).astype("float32")
