"""Vector algebra over lists of parameters, with or without a leading task axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import paddle
from paddle import Tensor


def descend(
    params: Sequence[Tensor], gradients: Sequence[Tensor], rates: Sequence[float | Tensor]
) -> list[Tensor]:
    """theta - rate * gradient, each parameter at its own rate"""
    return [p - rate * g for p, g, rate in zip(params, gradients, rates)]


def for_each_task(params: Sequence[Tensor], tasks: int) -> list[Tensor]:
    """theta, [...] each -> a copy for every task, [T, ...] each, to be differentiated by task."""
    return leaves([paddle.tile(p.detach().unsqueeze(0), [tasks] + [1] * p.ndim) for p in params])


def mean_over_tasks(params: Sequence[Tensor]) -> list[Tensor]:
    """[T, ...] each -> [...] each"""
    return [p.mean(axis=0) for p in params]


def leaves(params: Sequence[Tensor]) -> list[Tensor]:
    """The same values, cut from their graph, to be differentiated anew."""
    cut = [p.detach() for p in params]
    for p in cut:
        p.stop_gradient = False
    return cut


def norm(params: Sequence[Tensor]) -> float:
    """Euclidean norm of all of them together."""
    return float(np.sqrt(sum((p * p).sum().item() for p in params)))


def clip_by_task(gradients: Sequence[Tensor], largest: float) -> list[Tensor]:
    """[T, ...] each -> the same, a task's gradient scaled down where its norm over all of them
    exceeds `largest`.
    """
    squares = paddle.add_n([(g * g).flatten(1).sum(axis=1) for g in gradients])  # [T]
    scale = paddle.clip(largest / (paddle.sqrt(squares) + 1e-12), max=1.0)
    return [g * scale.reshape([-1] + [1] * (g.ndim - 1)) for g in gradients]


def in_parts(f: Callable, size: int, *batches: Any) -> Any:
    """f(*batches) computed `size` tasks at a time. Tensors and lists of them, nested or not, [T,
    ...] each, both in and out; the last of `batches` is a tensor.
    """

    def slices(batch, part):
        return [slices(p, part) for p in batch] if isinstance(batch, (list, tuple)) else batch[part]

    def joined(results):
        if isinstance(results[0], (list, tuple)):
            return [joined(r) for r in zip(*results)]
        return paddle.concat(results) if len(results) > 1 else results[0]

    tasks = batches[-1].shape[0]
    return joined(
        [
            f(*(slices(batch, slice(i, i + size)) for batch in batches))
            for i in range(0, tasks, size)
        ]
    )


def apply_gradient(
    optimizer: paddle.optimizer.Optimizer,
    theta: Sequence[Tensor],
    gradient: Sequence[Tensor],
    loss: Tensor,
) -> dict[str, float]:
    """One step of `optimizer` along `gradient`; the loss and the gradient's norm, for the log."""
    for p, g in zip(theta, gradient):
        p.grad = g
    optimizer.step()
    optimizer.clear_grad()
    return {"loss": float(loss), "gradient norm": norm(gradient)}
