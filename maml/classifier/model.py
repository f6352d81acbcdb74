"""A classifier of a few pictures a class: load, fit, predict, save."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from maml.classifier.balance import balanced
from maml.classifier.choose import weight_file
from maml.classifier.images import as_images
from maml.networks.file import Builder, read_builder
from maml.system import safe_pickle
from maml.system.errors import UserError
from maml.training.checkpoint import Checkpoint, read
from maml.training.restore import restore

SUPPORT = "support"  # the key of what a fitted classifier's file holds beside a checkpoint's


class FewShotClassifier:
    """Classify images after a few examples of each class, by trained weights.

    Prediction is safe in several threads. Nothing is printed, and no process is started.

    Args:
        trained (Checkpoint): the weights.
        builder (Builder | None): the network's file, where it is of the user's own.
        **options: settings that an evaluation may change, such as inner_steps_test or bn. By
            default batch normalisation is inductive, so that no picture's answer depends on
            another's.

    Attributes:
        classes_ (list): the labels, sorted; None before `fit`.

    Example:
        >>> import numpy as np, maml
        >>> drawings = np.random.default_rng(0).integers(0, 255, [4, 28, 28], np.uint8)
        >>> model = maml.load("protonet_60w1s").fit(drawings, ["a", "a", "b", "b"])
        >>> model.predict(drawings[:2])
        ['a', 'a']
    """

    def __init__(self, trained: Checkpoint, builder: Builder | None = None, **options: Any):
        self.trained, self.builder = trained, builder
        self.options = {"bn": "inductive", **options}
        self.classes_: list[Hashable] | None = None
        self._support: tuple[np.ndarray, np.ndarray] | None = None
        self._adapted: Any = None
        self._learner: Any = None
        self._columns: list[int] = []  # the network's output for each of classes_
        self._lock = threading.Lock()

    @property
    def image_size(self) -> int:
        """Side of the network's images, in pixels."""
        return self.trained.data.image_size

    def fit(self, images: Any, labels: Sequence[Hashable]) -> FewShotClassifier:
        """Learn a support.

        The result depends neither on the order of the images nor on the names of the classes, and
        each class counts the same, whatever its number of images.

        Args:
            images: paths, PIL images or arrays [N, H, W]; see `maml.classifier.images.as_images`.
            labels (Sequence): the class of each, of any kind that can be sorted or else hashed.

        Returns:
            FewShotClassifier: itself.

        Raises:
            UserError: if there are fewer than two classes, or more than the weights serve.
        """
        x, labels = as_images(images, self.trained.data.form), list(labels)
        if len(labels) != len(x):
            raise UserError(f"there are {len(x)} images, but {len(labels)} labels")
        try:
            classes = sorted(set(labels))  # type: ignore[type-var]
        except TypeError:  # of several kinds
            classes = sorted(set(labels), key=repr)
        if len(classes) < 2:
            raise UserError("at least two classes are needed to tell one from another")
        learner = restore(self.trained, len(classes), self.builder, **self.options)
        outputs = self._outputs(x, labels)
        y = np.array([outputs[label] for label in labels])
        x, y = self._ordered(x, y)
        x, y = balanced(x, y, self.trained.config.algorithm)
        with self._lock:
            *_, adapted = learner.adapt(paddle.to_tensor(x[None]), paddle.to_tensor(y[None]))
            self._learner, self._adapted, self._support = learner, adapted, (x, y)
            self.classes_, self._columns = classes, [outputs[label] for label in classes]
        return self

    @staticmethod
    def _outputs(x: np.ndarray, labels: list[Hashable]) -> dict[Hashable, int]:
        """The network's output for each class, which depends on the images, not on the labels."""
        first: dict[Hashable, bytes] = {}
        for image, label in zip(x, labels):
            first[label] = min(image.tobytes(), first.get(label, image.tobytes()))
        return {label: k for k, label in enumerate(sorted(first, key=lambda name: first[name]))}

    @staticmethod
    def _ordered(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same support in an order that depends on nothing but the images.

        The first images of all classes come first, then the second ones: mini-batches of Reptile
        hold as many classes as they can.
        """
        order = sorted(range(len(x)), key=lambda n: x[n].tobytes())
        of_class = {k: [n for n in order if y[n] == k] for k in sorted(set(y))}
        longest = max(map(len, of_class.values()))
        turns = [ns[i] for i in range(longest) for ns in of_class.values() if i < len(ns)]
        return x[turns], y[turns]

    def predict_proba(self, images: Any) -> np.ndarray:
        """Return the probability of each class, [N, way], columns as in `classes_`."""
        if self._adapted is None:
            raise UserError("this classifier has learned no classes yet: call fit first")
        x = as_images(images, self.trained.data.form)
        with self._lock:
            scores = self._learner.predict(self._adapted, paddle.to_tensor(x[None]))
            p = paddle.nn.functional.softmax(scores[0], axis=-1).numpy()
            return p[:, self._columns]

    def predict(self, images: Any) -> list[Hashable]:
        """Return the most probable class of each image."""
        probabilities = self.predict_proba(images)
        assert self.classes_ is not None
        return [self.classes_[k] for k in probabilities.argmax(axis=1)]

    def score(self, images: Any, labels: Sequence[Hashable]) -> float:
        """Return the share of images, 0 to 1, whose predicted class is the label."""
        predicted = self.predict(images)
        return float(np.mean([p == label for p, label in zip(predicted, labels)]))

    def save(self, path: str | Path) -> None:
        """Write it to `path`, fitted or not; `maml.load` reads it again.

        Raises:
            UserError: if a label is not a text or a number, or the file cannot be written.
        """
        state = self.trained.state()
        if self._support is not None and self.classes_ is not None:
            if not all(type(label) in (str, int, float, bool) for label in self.classes_):
                raise UserError("labels must be texts or numbers to be saved")
            x, y = self._support
            labels = [self.classes_[self._columns.index(k)] for k in range(len(self.classes_))]
            state[SUPPORT] = {"x": x, "y": y, "labels": labels, "options": self.options}
        safe_pickle.save(state, path)


def load(name: str | Path, network: str | None = None, **options: Any) -> FewShotClassifier:
    """Load a classifier.

    Args:
        name (str | Path): a file of weights that `train.py` or `FewShotClassifier.save` wrote, or
            the name of weights that come with the project, such as "protonet_60w1s".
        network (str | None): path/to/file.py:function, for weights that were trained with a network
            of your own. The file is imported.
        **options: settings that an evaluation may change, such as inner_steps_test.

    Returns:
        FewShotClassifier: it predicts at once where it was saved after `fit`.

    Raises:
        UserError: if there are no such weights, or the file is none of this project's. Nothing in
            the file is executed.

    Example:
        >>> import maml
        >>> maml.load("protonet_60w1s").trained.config.algorithm
        'protonet'
    """
    path = weight_file(name)
    builder = read_builder(network) if network else None
    model = FewShotClassifier(read(path), builder, **options)
    support = safe_pickle.load(path).get(SUPPORT)
    if support is None:
        return model
    try:
        model.options.update(support["options"])
        labels = [support["labels"][k] for k in support["y"]]
        return model.fit(support["x"], labels)
    except (KeyError, TypeError, IndexError):
        raise UserError(f"{path}: holds a support that cannot be read") from None
