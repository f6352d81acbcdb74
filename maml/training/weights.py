"""A learner's weights and its optimizer's state, in and out."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
from paddle import Tensor

from maml.algorithms.learner import Learner
from maml.functional import Statistics
from maml.system.errors import UserError


def set_weights(learner: Learner, state: dict[str, Any], source: object) -> None:
    """Put a checkpoint's weights and running statistics into the learner's network.

    Raises `UserError`, naming `source`, where they do not fit it or are not finite.
    """
    theta, weights, running = learner.theta, state["weights"], state["running"]
    if not all(isinstance(w, np.ndarray) for w in [*weights, *running]):
        raise UserError(f"{source}: holds weights that are no arrays")
    found = [(list(w.shape), str(w.dtype)) for w in weights]
    expected = [(p.shape, str(p.numpy().dtype)) for p in theta]
    if found != expected:
        raise UserError(
            f"{source}: holds weights that do not fit the network of its configuration ({found}"
            f" instead of {expected})"
        )
    if not all(np.isfinite(w).all() for w in [*weights, *running]):
        raise UserError(f"{source}: holds weights that are not finite")
    if running and [(list(w.shape), w.dtype) for w in running] != [
        (list(s.shape), np.float32) for s in measured(learner, state)
    ]:
        raise UserError(
            f"{source}: holds running averages that do not fit the network of its configuration"
        )
    for p, w in zip(theta, weights):
        p.set_value(w)
    learner.network.running = [
        Statistics(*map(paddle.to_tensor, pair)) for pair in zip(running[::2], running[1::2])
    ]


def measured(learner: Learner, state: dict[str, Any]) -> list[Tensor]:
    """Statistics of batch normalisation, as `running` lists them, of blank images."""
    size = state["data"]["image_size"]
    with paddle.no_grad():
        learner.network(paddle.zeros([1, 2, 1, size, size]), record=(record := []))
    return [s for pair in record for s in pair]


def optimizer_state(learner: Learner) -> dict[str, np.ndarray]:
    """The optimizer's accumulators, named by the parameter's place in theta: Paddle's own names are
    running numbers of the process.
    """
    state = {}
    for key, value in learner.optimizer.state_dict().items():
        for i, p in enumerate(learner.theta):
            if key.startswith(f"{p.name}_"):
                state[f"{i}{key[len(p.name) :]}"] = value.numpy()
    return state


def set_optimizer_state(learner: Learner, state: dict[str, np.ndarray]) -> None:
    """The inverse of `optimizer_state`."""
    named = {}
    for key, value in state.items():
        i, accumulator = key.split("_", 1)
        named[f"{learner.theta[int(i)].name}_{accumulator}"] = paddle.to_tensor(value)
    learner.optimizer.set_state_dict(named)
