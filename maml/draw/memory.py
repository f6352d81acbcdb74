"""What the server remembers, which is bounded: supports, and classifiers that have learned them."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from maml.classifier.model import FewShotClassifier
from maml.data.form import Form
from maml.system.errors import UserError
from maml.training.checkpoint import Checkpoint

SUPPORTS = 1000  # of kilobytes each
FITTED = 32  # classifiers of megabytes each
REJECT = 0.05  # of the members of the classes, what may be lost to tell strangers

Value = TypeVar("Value")


class Latest(Generic[Value]):
    """The values that were kept or asked for last. It may be used by several threads.

    Args:
        most (int): how many are kept.
    """

    def __init__(self, most: int):
        self.most = most
        self._kept: OrderedDict[Hashable, Value] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Value | None:
        """Return the value of `key`, or None where it is forgotten."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def keep(self, key: Hashable, value: Value) -> Value:
        """Remember a value, and return it."""
        with self._lock:
            self._kept[key] = value
            self._kept.move_to_end(key)
            while len(self._kept) > self.most:
                self._kept.popitem(last=False)
        return value


class Forgotten(UserError):
    """A support that was never taught, or is remembered no longer."""


class Support(NamedTuple):
    """What a classifier learned: by which weights, images [N, C, H, W] uint8, and labels."""

    trained: Checkpoint
    images: np.ndarray
    labels: list[int]

    @property
    def name(self) -> str:
        """The same for the same support, also after the server was started again."""
        told = repr((str(self.trained.path), self.images.shape, self.labels)).encode()
        return hashlib.sha256(told + self.images.tobytes()).hexdigest()[:32]


class Answer(NamedTuple):
    """The probabilities of the classes after each update step, [steps + 1, way], and whether the
    query is of none of them, where the weights were judged for that.
    """

    steps: np.ndarray
    none: bool


class Memory:
    """Learns supports, and answers by them.

    Supports are small and many are kept; fitted classifiers are large, so that few are kept, and
    the others are fitted again when they are asked.

    Args:
        models (Mapping[str, Checkpoint]): by algorithm, the weights.
    """

    def __init__(self, models: Mapping[str, Checkpoint]):
        self.models = models
        self._supports: Latest[Support] = Latest(SUPPORTS)
        self._fitted: Latest[FewShotClassifier] = Latest(FITTED)
        # Only one computation runs at a time, since a page sends a request with every stroke.
        self._computing = threading.Lock()

    def adapt(self, algorithm: str, images: np.ndarray, labels: list[int]) -> str:
        """Learn a support of images [N, C, H, W] uint8; return the name by which it is asked."""
        support = Support(self.models[algorithm], images, labels)
        self._classifier(support)
        self._supports.keep(support.name, support)
        return support.name

    def form(self, name: str) -> Form:
        """Return what the images look like that a support is asked about."""
        return self._support(name).trained.data.form

    def classify(self, name: str, query: np.ndarray) -> Answer:
        """Classify a query [C, H, W] uint8 by the support of this name."""
        classifier = self._classifier(self._support(name))
        with self._computing:
            steps = classifier.proba_by_step(query[None])[:, 0]
            judged = classifier.fitted.judged is not None
            return Answer(steps, judged and bool(classifier.typicality(query[None])[0] < REJECT))

    def _support(self, name: str) -> Support:
        support = self._supports.get(name)
        if support is None:
            raise Forgotten("this support is not known, or no longer; draw on")
        return support

    def _classifier(self, support: Support) -> FewShotClassifier:
        with self._computing:
            fitted = self._fitted.get(support.name)
            if fitted is None:
                fitted = FewShotClassifier(support.trained).fit(support.images, support.labels)
                self._fitted.keep(support.name, fitted)
            return fitted
