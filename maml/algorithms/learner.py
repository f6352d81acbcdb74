"""What every few-shot learner can do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from paddle import Tensor

from maml.data.tasks import TaskBatch
from maml.networks.base import Network


class Learner(Protocol):
    """Learns from tasks. State between `adapt` and `predict` lies in what `adapt` yields and
    nowhere else.
    """

    network: Network
    theta: list[Tensor]
    """what is learned, in the order of checkpoints"""
    optimizer: Any
    embeds_alone: bool
    """whether `embed` takes images [T, N, 1, H, W] to embeddings [T, N, D] that depend on nothing
    else, and tasks may hold those instead
    """

    def meta_step(self, tasks: TaskBatch) -> dict[str, float]:
        """One outer update; what it measured, by name, with "loss" among it."""

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Iterator[Any]:
        """Learn the support [T, way * shot, 1, H, W]: yields what was learnt before the first and
        after each update step.
        """

    def predict(self, adapted: Any, query_x: Tensor) -> Tensor:
        """Scores [T, N, way] of query images [T, N, 1, H, W] by what `adapt` yielded."""

    def represent(self, adapted: Any, x: Tensor) -> Tensor:
        """Embeddings [T, N, D] of images [T, N, 1, H, W] by what `adapt` yielded."""
