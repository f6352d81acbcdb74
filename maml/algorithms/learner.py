"""What every few-shot method can do, as protocols that the rest of the project relies on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

from paddle import Tensor

from maml.data.tasks import TaskBatch
from maml.networks.base import Network


class Classifier(Protocol):
    """Classifies the queries of tasks. What it learns of a task lies in what `adapt` yields."""

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Iterator[Any]:
        """Learn supports [T, way * shot, 1, H, W] with labels [T, way * shot].

        Yields what was learned before the first and after each update step.
        """

    def predict(self, adapted: Any, query_x: Tensor) -> Tensor:
        """Return scores [T, N, way] of queries [T, N, 1, H, W] by what `adapt` yielded."""

    def represent(self, adapted: Any, x: Tensor) -> Tensor:
        """Return embeddings [T, N, D] of images [T, N, 1, H, W], by what `adapt` yielded."""


class Learner(Classifier, Protocol):
    """A classifier that learns from tasks."""

    optimizer: Any
    iteration: int
    """meta-iterations before the next one, for what changes with them"""

    @property
    def network(self) -> Network:
        """The network that it trains."""

    @property
    def meta_parameters(self) -> list[Tensor]:
        """All that it learns, in the order of checkpoints: theta, for some methods more."""

    def meta_step(self, tasks: TaskBatch) -> dict[str, float]:
        """Take one outer update; return what was measured, by name, with "loss" among it."""


@runtime_checkable
class Encoder(Classifier, Protocol):
    """A classifier by embeddings, each of which may depend on its image alone."""

    @property
    def per_image(self) -> bool:
        """Whether it does, so that an image of many tasks needs to be embedded once."""

    def embed(self, x: Tensor) -> Tensor:
        """Return embeddings [T, N, D] of images [T, N, 1, H, W]."""

    def of_embeddings(self) -> Classifier:
        """Return the same classifier for tasks that consist of embeddings instead of images."""
