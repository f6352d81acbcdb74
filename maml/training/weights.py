"""A learner's weights and its optimizer's state, in and out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import paddle

from maml.algorithms.learner import Learner
from maml.data.form import Form
from maml.functional import Statistics
from maml.system.errors import UserError


def weights(learner: Learner) -> list[np.ndarray]:
    """Return the learner's parameters."""
    return [p.numpy() for p in learner.meta_parameters]


def running(learner: Learner) -> list[np.ndarray]:
    """Return the network's running means and variances, alternating."""
    return [s.numpy() for pair in learner.network.running for s in pair]


def set_weights(
    learner: Learner,
    weights: Sequence[np.ndarray],
    running: Sequence[np.ndarray],
    form: Form,
    source: object,
) -> None:
    """Give a learner these parameters and running statistics.

    Raises:
        UserError: if they do not fit it or are not finite. The sentence names `source`.
    """
    params = learner.meta_parameters
    found = [(list(w.shape), str(w.dtype)) for w in weights]
    expected = [(list(p.shape), str(p.numpy().dtype)) for p in params]
    if found != expected:
        raise UserError(
            f"{source}: holds weights that do not fit the network of its configuration "
            f"({_difference(found, expected)})"
        )
    if not all(np.isfinite(w).all() for w in [*weights, *running]):
        raise UserError(f"{source}: holds weights that are not finite")
    shapes = [(list(w.shape), w.dtype) for w in running]
    if running and shapes != [(shape, np.float32) for shape in running_shapes(learner, form)]:
        raise UserError(
            f"{source}: holds running averages that do not fit the network of its configuration"
        )
    for p, w in zip(params, weights):
        p.set_value(w)
    pairs = zip(running[::2], running[1::2])
    learner.network.running = [Statistics(*map(paddle.to_tensor, pair)) for pair in pairs]


def _difference(found: list[tuple], expected: list[tuple]) -> str:
    """In words, the first weights that differ in shape and type, or how many weights there are."""
    if len(found) != len(expected):
        return f"{len(found)} of them, and the network has {len(expected)}"
    number, (own, other) = next(
        (i, pair) for i, pair in enumerate(zip(found, expected)) if pair[0] != pair[1]
    )
    return "number {} is {} {}, and the network's is {} {}".format(number, *own, *other)


def running_shapes(learner: Learner, form: Form) -> list[list[int]]:
    """Return the shapes of the running statistics, which blank images tell."""
    record: list[Statistics] = []
    with paddle.no_grad():
        side = form.image_size
        learner.network(paddle.zeros([1, 2, form.channels, side, side]), record=record)
    return [list(s.shape) for pair in record for s in pair]


def optimizer_state(learner: Learner) -> dict[str, np.ndarray]:
    """Return the optimizer's accumulators, named by the parameter's place in the list.

    Paddle's own names are running numbers of the process.
    """
    state = {}
    for key, value in learner.optimizer.state_dict().items():
        for i, p in enumerate(learner.meta_parameters):
            if key.startswith(f"{p.name}_"):
                state[f"{i}{key[len(p.name) :]}"] = value.numpy()
    return state


def set_optimizer_state(learner: Learner, state: dict[str, np.ndarray]) -> None:
    """Give the optimizer what `optimizer_state` returned."""
    params, named = learner.meta_parameters, {}
    for key, value in state.items():
        i, accumulator = key.split("_", 1)
        named[f"{params[int(i)].name}_{accumulator}"] = paddle.to_tensor(value)
    learner.optimizer.set_state_dict(named)
