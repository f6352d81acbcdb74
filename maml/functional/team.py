"""Processes that compute on one batch of images as a team, each on its own part of the images."""

from __future__ import annotations

from collections.abc import Callable

import paddle
from paddle import Tensor
from paddle.autograd import PyLayer

from maml.functional.rows import apply


class Team:
    """The processes that hold the parts of one batch of images.

    Each process has a copy of the weights and computes the loss L of the whole batch, for which it
    exchanges means and embeddings with the others. A gradient flows back through these exchanges
    to all processes, so each differentiates the sum of all processes' losses with respect to its
    own copy. The mean of these gradients over the processes is the gradient of L.

    Args:
        part (Callable): takes the number of images in a batch to the slice of this process.
        total (Callable): takes a tensor to its sum over the processes.

    Example:
        >>> import paddle
        >>> from maml import functional as fn
        >>> alone = fn.Team(part=lambda images: slice(0, images), total=lambda tensor: tensor)
        >>> alone.mean(paddle.to_tensor([4.0, 6.0]), rows=2).tolist()
        [4.0, 6.0]
    """

    def __init__(self, part: Callable[[int], slice], total: Callable[[Tensor], Tensor]):
        self.part, self.total = part, total

    def mean(self, own: Tensor, rows: int) -> Tensor:
        """Return means over the rows of all processes, from means over this process's rows.

        Args:
            own (Tensor): the means over this process's rows, of any shape.
            rows (int): the number of this process's rows.

        Returns:
            Tensor: the means over all rows, of the same shape.
        """
        flat = paddle.concat([own.flatten() * rows, paddle.full([1], rows, own.dtype)])
        sums = apply(_Sum, flat, team=self)
        return (sums[:-1] / sums[-1]).reshape(own.shape)

    def join(self, z: Tensor, images: int) -> Tensor:
        """Return the embeddings [T, images, D] of all images, of which z [T, n, D] are our part."""
        place = paddle.eye(images, dtype=z.dtype)[:, self.part(images)]  # [images, n]
        return apply(_Sum, paddle.matmul(place, z), team=self)


class _Sum(PyLayer):
    """The sum over all processes; each process's tensor is a part of every process's sum."""

    @staticmethod
    def forward(ctx, needs, x, team):
        ctx.team = team
        return team.total(x)

    @staticmethod
    def backward(ctx, g):
        return apply(_Sum, g, team=ctx.team)
