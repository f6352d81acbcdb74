"""Class probabilities by an adapted learner, NumPy in and NumPy out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # so that who only reads checkpoints need not wait for Paddle
    from maml.algorithms.learner import Learner


def probabilities(
    learner: Learner, support_x: np.ndarray, support_y: np.ndarray, query_x: np.ndarray
) -> np.ndarray:
    """What a learner, adapted to a support [T, N_S, 1, H, W] with labels [T, N_S] in 0 .. way - 1,
    thinks of queries [T, N_Q, 1, H, W]: [T, N_Q, way].
    """
    import paddle

    *_, adapted = learner.adapt(paddle.to_tensor(support_x), paddle.to_tensor(support_y))
    return opinion(learner, adapted, query_x)


def opinion(learner: Learner, adapted: Any, query_x: np.ndarray) -> np.ndarray:
    """Probabilities [T, N, way] of queries [T, N, 1, H, W] by what `learner.adapt` yielded."""
    import paddle

    return paddle.nn.functional.softmax(
        learner.predict(adapted, paddle.to_tensor(query_x)), axis=-1
    ).numpy()
