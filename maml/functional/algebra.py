"""Vector algebra over lists of parameters, with or without a leading task axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import paddle
from paddle import Tensor

from maml.functional.devices import at_once


def as_tensor(values: np.ndarray | Tensor) -> Tensor:
    """Return a tensor as it is, and an array as a tensor.

    Tasks are arrays where a sampler draws them, and tensors where a `paddle.io.DataLoader` does.

    Args:
        values (ndarray | Tensor): of any shape.

    Returns:
        Tensor: of the same shape and type.

    Example:
        >>> import numpy as np
        >>> from maml import functional as fn
        >>> x = fn.as_tensor(np.ones([2, 3], "float32"))
        >>> list(x.shape), fn.as_tensor(x) is x
        ([2, 3], True)
    """
    return values if isinstance(values, Tensor) else paddle.to_tensor(values)


def descend(
    params: Sequence[Tensor], gradients: Sequence[Tensor], rates: Sequence[float | Tensor]
) -> list[Tensor]:
    """Return params - rates * gradients: one step of gradient descent.

    This is line 7 of algorithm 2 of MAML (Finn, Abbeel & Levine 2017).

    Args:
        params (Sequence[Tensor]): parameters of any shapes, here [...] each.
        gradients (Sequence[Tensor]): the gradient of each parameter, [...] each.
        rates (Sequence[float | Tensor]): the learning rate of each parameter; a tensor must
            broadcast to the parameter.

    Returns:
        list[Tensor]: the new parameters, [...] each. They are differentiable with respect to all
        arguments.

    Example:
        >>> import paddle
        >>> from maml import functional as fn
        >>> theta, gradient = [paddle.to_tensor([1.0, 2.0])], [paddle.to_tensor([4.0, 0.0])]
        >>> [p.tolist() for p in fn.descend(theta, gradient, [0.5])]
        [[-1.0, 2.0]]
    """
    return [p - rate * g for p, g, rate in zip(params, gradients, rates)]


def for_each_task(params: Sequence[Tensor], tasks: int) -> list[Tensor]:
    """Return a copy of the parameters for each task.

    The copies need gradients and have no graph, so that each task has a gradient of its own.

    Args:
        params (Sequence[Tensor]): parameters that all tasks share, [...] each.
        tasks (int): the number of tasks, T.

    Returns:
        list[Tensor]: the copies, [T, ...] each.

    Example:
        >>> import paddle
        >>> from maml import functional as fn
        >>> (copies,) = fn.for_each_task([paddle.to_tensor([1.0, 2.0])], tasks=3)
        >>> copies.tolist()
        [[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]]
    """
    return leaves([paddle.tile(p.detach().unsqueeze(0), [tasks] + [1] * p.ndim) for p in params])


def mean_over_tasks(params: Sequence[Tensor]) -> list[Tensor]:
    """Return the mean of each tensor over the tasks.

    Args:
        params (Sequence[Tensor]): tensors with a leading task axis, [T, ...] each.

    Returns:
        list[Tensor]: the means, [...] each.

    Example:
        >>> import paddle
        >>> from maml import functional as fn
        >>> [p.tolist() for p in fn.mean_over_tasks([paddle.to_tensor([[1.0, 2.0], [3.0, 6.0]])])]
        [[2.0, 4.0]]
    """
    return [p.mean(axis=0) for p in params]


def leaves(params: Sequence[Tensor]) -> list[Tensor]:
    """Return the same values without their graph, as tensors that need gradients.

    Args:
        params (Sequence[Tensor]): tensors of any shapes.

    Returns:
        list[Tensor]: tensors of the same shapes.

    Example:
        >>> import paddle
        >>> from maml import functional as fn
        >>> w = paddle.to_tensor([3.0], stop_gradient=False)
        >>> (leaf,) = fn.leaves([w * w])
        >>> leaf.is_leaf, leaf.stop_gradient, leaf.tolist()
        (True, False, [9.0])
    """
    cut = [p.detach() for p in params]
    for p in cut:
        p.stop_gradient = False
    return cut


def norm(params: Sequence[Tensor]) -> float:
    """Return the Euclidean norm of the vector of all elements of all parameters."""
    squares = paddle.stack([(p * p).sum() for p in params])  # one transfer from a device
    return float(np.sqrt(sum(map(float, squares.numpy()))))


def clip_by_task(gradients: Sequence[Tensor], max_norm: float) -> list[Tensor]:
    """Scale each task's gradient down to a norm of at most `max_norm`.

    The norm of a task's gradient is taken over all of its tensors together.

    Args:
        gradients (Sequence[Tensor]): the gradients of all tasks, [T, ...] each.
        max_norm (float): the largest norm.

    Returns:
        list[Tensor]: the scaled gradients, [T, ...] each. A gradient with a smaller norm is
        unchanged.

    Example:
        >>> import paddle
        >>> from maml import functional as fn
        >>> gradients = [paddle.to_tensor([[3.0], [0.3]]), paddle.to_tensor([[4.0], [0.4]])]
        >>> for g in fn.clip_by_task(gradients, max_norm=1.0):  # 2 tasks, with norms 5 and 0.5
        ...     print(g.numpy().ravel())
        [0.6 0.3]
        [0.8 0.4]
    """
    squares = paddle.add_n([(g * g).flatten(1).sum(axis=1) for g in gradients])  # [T]
    scale = paddle.clip(max_norm / (paddle.sqrt(squares) + 1e-12), max=1.0)
    return [g * scale.reshape([-1] + [1] * (g.ndim - 1)) for g in gradients]


def in_parts(f: Callable, size: int, *batches: Any) -> Any:
    """Return f(*batches), which is computed for `size` tasks at a time to save memory.

    Args:
        f (Callable): takes tensors [T, ...], or nested lists of such tensors, and returns the same.
        size (int): the number of tasks for which `f` is called at once, on a CPU; see `at_once`.
        *batches: the arguments of `f`. The last one must be a tensor.

    Returns:
        Tensor | list: the results of all calls, concatenated along the task axis. Tuples become
        lists.

    Example:
        >>> import paddle
        >>> from maml import functional as fn
        >>> x = paddle.to_tensor([[1.0], [2.0], [3.0]])
        >>> fn.in_parts(lambda x: 2 * x, 2, x).tolist()
        [[2.0], [4.0], [6.0]]
    """

    def select(batch: Any, part: slice) -> Any:
        if isinstance(batch, (list, tuple)):
            return [select(element, part) for element in batch]
        return batch[part]

    def concatenate(results: list) -> Any:
        if isinstance(results[0], (list, tuple)):
            return [concatenate(list(r)) for r in zip(*results)]
        return paddle.concat(results) if len(results) > 1 else results[0]

    tasks, size = batches[-1].shape[0], at_once(size)
    parts = [slice(i, i + size) for i in range(0, tasks, size)]
    return concatenate([f(*(select(batch, part) for batch in batches)) for part in parts])


def apply_gradient(
    optimizer: paddle.optimizer.Optimizer,
    theta: Sequence[Tensor],
    gradient: Sequence[Tensor],
    loss: Tensor,
) -> dict[str, float]:
    """Take one step of an optimizer along a given gradient.

    Args:
        optimizer (paddle.optimizer.Optimizer): an optimizer of the parameters `theta`.
        theta (Sequence[Tensor]): the parameters, [...] each.
        gradient (Sequence[Tensor]): the gradient of each parameter, [...] each.
        loss (Tensor): the loss that had this gradient, a single number.

    Returns:
        dict[str, float]: the loss and the norm of the gradient, for the log.

    Example:
        >>> import paddle
        >>> from maml import functional as fn
        >>> theta = [paddle.create_parameter([2], "float32")]
        >>> sgd = paddle.optimizer.SGD(0.1, parameters=theta)
        >>> fn.apply_gradient(sgd, theta, [paddle.to_tensor([3.0, 4.0])], paddle.to_tensor(2.0))
        {'loss': 2.0, 'gradient norm': 5.0}
    """
    for p, g in zip(theta, gradient):
        p.grad = g
    optimizer.step()
    optimizer.clear_grad()
    return {"loss": float(loss), "gradient norm": norm(gradient)}
