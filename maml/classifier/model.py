"""A classifier of a few pictures a class: load, fit, predict, refuse strangers, save, export."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import paddle

from maml.algorithms.learner import Classifier, Encoder
from maml.algorithms.metric import MetricLearner
from maml.classifier.balance import balanced
from maml.classifier.calibration import softmax, typicality
from maml.classifier.choose import weight_file, why_not_judged
from maml.classifier.images import as_images
from maml.classifier.judged import Judged, judged_of, nearest
from maml.classifier.labels import as_label, as_labels, classes_of, plain
from maml.classifier.nearness import nearness
from maml.classifier.order import ordered, outputs
from maml.data.form import Form
from maml.evaluation.options import TestOptions, options_from
from maml.networks.file import Builder, read_builder
from maml.system import safe_pickle
from maml.system.errors import UserError
from maml.training.checkpoint import Checkpoint, read
from maml.training.restore import classifier_of

SUPPORT = "support"  # the keys of what a fitted classifier's file holds beside a checkpoint's
JUDGED = "judged"
INDUCTIVE = "inductive"


class Fitted(NamedTuple):
    """What was learned of a support."""

    x: np.ndarray  # [N, C, H, W], in the order of `ordered`
    labels: list[Hashable]  # of each image
    classes: list[Hashable]
    columns: list[int]  # the network's output for each class
    classifier: Classifier
    states: list[Any]  # what it adapted to, before and after each update step
    y: np.ndarray  # the outputs of the images that it adapted to
    judged: Judged | None
    """what its scores are worth, where that is known"""


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

    Raises:
        UserError: if an option is unknown, or not for the method of these weights.

    Example:
        >>> import numpy as np, maml
        >>> drawings = np.random.default_rng(0).integers(0, 255, [4, 28, 28], np.uint8)
        >>> model = maml.load("protonet_60w1s").fit(drawings, ["a", "a", "b", "b"])
        >>> model.predict(drawings[:2])
        ['a', 'a']
        >>> model.predict(255 * np.eye(28, dtype=np.uint8), reject=0.05)  # none of these
        [None]
    """

    def __init__(self, trained: Checkpoint, builder: Builder | None = None, **options: Any):
        self.trained, self.builder = trained, builder
        self.options = {"bn": INDUCTIVE, **options}
        self.judged = judged_of(trained.path)
        self._test_options()
        self._fitted: Fitted | None = None
        self._embeddings: dict[bytes, np.ndarray] = {}  # of images that were learned before
        self._computing, self._learning = threading.Lock(), threading.Lock()

    @property
    def form(self) -> Form:
        """What pictures are made like before the network sees them."""
        return self.trained.data.form

    @property
    def image_size(self) -> int:
        """Side of the network's images, in pixels."""
        return self.form.image_size

    @property
    def classes_(self) -> list[Hashable] | None:
        """The labels, sorted; None before `fit`."""
        return self._fitted.classes if self._fitted else None

    @property
    def fitted(self) -> Fitted:
        """What was learned.

        Raises:
            UserError: if nothing was.
        """
        if self._fitted is None:
            raise UserError("this classifier has learned no classes yet: call fit first")
        return self._fitted

    def fit(self, images: Any, labels: Sequence[Hashable]) -> FewShotClassifier:
        """Learn a support.

        The result depends neither on the order of the images nor on the names of the classes, and
        each class counts the same, whatever its number of images.

        Args:
            images: paths, PIL images or arrays [N, H, W]; see `maml.classifier.images.as_images`.
            labels (Sequence): the class of each, of any hashable kind.

        Returns:
            FewShotClassifier: itself.

        Raises:
            UserError: if there are fewer than two classes, or more than the weights serve.
        """
        x, y = self._labelled(images, labels)
        with self._learning:
            return self._learn(x, y)

    def _labelled(self, images: Any, labels: Any) -> tuple[np.ndarray, list[Hashable]]:
        x, y = as_images(images, self.form), as_labels(labels)
        if len(y) != len(x):
            raise UserError(f"there are {len(x)} images, but {len(y)} labels")
        return x, y

    def add(self, images: Any, label: Hashable) -> FewShotClassifier:
        """Learn more images of a class, or the images of another class.

        The result is that of `fit` on all images. Metric methods embed the new images alone; MAML
        and Reptile adapt again.

        Args:
            images: as for `fit`; one or several.
            label: the class of all of them.

        Returns:
            FewShotClassifier: itself.

        Raises:
            UserError: if nothing was learned before, or there are more classes than the weights
                serve.

        Example:
            >>> import numpy as np, maml
            >>> drawings = np.random.default_rng(0).integers(0, 255, [3, 28, 28], np.uint8)
            >>> model = maml.load("protonet_60w1s").fit(drawings[:2], ["a", "b"])
            >>> model.add(drawings[2], "c").classes_
            ['a', 'b', 'c']
        """
        x, label = as_images(images, self.form), as_label(label)
        with self._learning:  # nobody else adds between what was learned before and after
            before = self.fitted
            return self._learn(np.concatenate([before.x, x]), [*before.labels, *[label] * len(x)])

    def _learn(self, x: np.ndarray, labels: list[Hashable]) -> FewShotClassifier:
        classes = classes_of(labels)
        way = len(classes)
        if way < 2:
            raise UserError("at least two classes are needed to tell one from another")
        options = self._test_options()
        classifier = classifier_of(self.trained, options, self.options["bn"], way, self.builder)
        output = outputs(x, labels)
        named = {k: label for label, k in output.items()}
        x, y = ordered(x, np.array([output[label] for label in labels]))
        # copies of an image teach nothing of how far members are from each other
        shot = len({image.tobytes() for image in x}) / way
        with self._computing:
            states, all_y = self._adapt(classifier, x, y)
            self._fitted = Fitted(
                x,
                [named[k] for k in y],
                classes,
                [output[label] for label in classes],
                classifier,
                states,
                all_y,
                nearest(self.judged, way, shot) if self._is_as_judged() else None,
            )
        return self

    def _adapt(
        self, classifier: Classifier, x: np.ndarray, y: np.ndarray
    ) -> tuple[list[Any], np.ndarray]:
        """Learn the support; where its embeddings are enough, embed images that are new."""
        if isinstance(classifier, Encoder) and classifier.per_image:
            keys = [image.tobytes() for image in x]
            new = [n for n, key in enumerate(keys) if key not in self._embeddings]
            if new:
                z = classifier.embed(paddle.to_tensor(x[new][None]))[0].numpy()
                self._embeddings.update(zip((keys[n] for n in new), z))
            self._embeddings = {key: self._embeddings[key] for key in keys}
            x = np.stack([self._embeddings[key] for key in keys])
            learner = classifier.of_embeddings()
        else:
            learner = classifier
        x, y = balanced(x, y, self.trained.config.algorithm)
        return list(learner.adapt(paddle.to_tensor(x[None]), paddle.to_tensor(y[None]))), y

    def _test_options(self) -> TestOptions:
        options = options_from(self.options)
        options.check_method(self.trained.config.algorithm)
        return options

    def _is_as_judged(self) -> bool:
        return self.options == {"bn": INDUCTIVE}

    def _answer(
        self, fitted: Fitted, x: np.ndarray, near: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities [N, way] of images, by the columns of `classes_`, and nearness [N].

        `fitted` was taken once for the whole answer, since another thread may learn meanwhile.
        """
        with self._computing:
            query = paddle.to_tensor(x[None])
            scores = found = fitted.classifier.predict(fitted.states[-1], query)
            if near:
                y = paddle.to_tensor(fitted.y[None])
                found = nearness(fitted.classifier, fitted.states[-1], y, query, scores)
        return _probabilities(fitted, scores), found[0].numpy()

    def predict_proba(self, images: Any) -> np.ndarray:
        """Return the probability of each class, [N, way], columns as in `classes_`.

        They are calibrated on validation characters where the weights were judged on these.
        """
        return self._answer(self.fitted, as_images(images, self.form))[0]

    def proba_by_step(self, images: Any) -> np.ndarray:
        """Return the probabilities before and after each update step, [steps + 1, N, way].

        Methods without update steps have one step only: the last is always `predict_proba`'s.
        """
        fitted, x = self.fitted, as_images(images, self.form)
        with self._computing:
            query = paddle.to_tensor(x[None])
            scores = [fitted.classifier.predict(state, query) for state in fitted.states]
        return np.stack([_probabilities(fitted, each) for each in scores])

    def typicality(self, images: Any) -> np.ndarray:
        """Return how usual it is for members of a class to be as far from it, 0 to 1, [N].

        It is the share of queries of validation characters that were no nearer to their classes, in
        tasks of about as many classes and images. A low one speaks of a picture of no class.

        Raises:
            UserError: if the weights were not judged on validation characters as they are used.
        """
        fitted = self.fitted
        judged = self._require_judged(fitted)
        _, near = self._answer(fitted, as_images(images, self.form), near=True)
        return typicality(near, judged.quantiles)

    def _require_judged(self, fitted: Fitted) -> Judged:
        if fitted.judged is not None:
            return fitted.judged
        if not self._is_as_judged():
            changed = ", ".join(k for k, v in self.options.items() if (k, v) != ("bn", INDUCTIVE))
            raise UserError(f"strangers can be told by weights as they were judged; drop {changed}")
        raise UserError(f"{self.trained.path}: {why_not_judged(self.trained)}")

    def predict(self, images: Any, reject: float | None = None) -> list[Hashable]:
        """Return the most probable class of each image.

        Args:
            images: as for `fit`; one or several.
            reject (float | None): the share of members of the classes, 0 to 1, that may be lost.
                Images of a lower `typicality` are refused: None stands in the place of their
                class. None refuses nothing.

        Returns:
            list: a class, or None, for each image.

        Raises:
            UserError: if `reject` is out of range, or the weights were not judged; see
                `typicality`.
        """
        fitted = self.fitted
        if reject is None:
            p, _ = self._answer(fitted, as_images(images, self.form))
            return [fitted.classes[k] for k in p.argmax(axis=1)]
        if not 0 < reject < 1:
            raise UserError(f"reject must be between 0 and 1, such as 0.05, not {reject}")
        if None in fitted.classes:
            raise UserError("a class is called None, as is what reject refuses; rename the class")
        judged = self._require_judged(fitted)
        p, near = self._answer(fitted, as_images(images, self.form), near=True)
        shares = typicality(near, judged.quantiles)
        return [
            fitted.classes[k] if share >= reject else None
            for k, share in zip(p.argmax(axis=1), shares)
        ]

    def score(self, images: Any, labels: Sequence[Hashable]) -> float:
        """Return the share of images, 0 to 1, whose predicted class is the label."""
        x, y = self._labelled(images, labels)
        return float(np.mean([p == label for p, label in zip(self.predict(x), y)]))

    def save(self, path: str | Path) -> None:
        """Write it to `path`, fitted or not; `maml.load` reads it again.

        Raises:
            UserError: if a label is not a text or a number, or the file cannot be written.
        """
        state = self.trained.state()
        state[JUDGED] = [judged._asdict() for judged in self.judged]
        fitted = self._fitted
        if fitted is not None:
            classes = plain(fitted.classes, "saved")
            y = np.array([classes.index(label) for label in fitted.labels])
            state[SUPPORT] = {
                "x": fitted.x,
                "y": y,
                "labels": classes,
                "options": self.options,
            }
        safe_pickle.save(state, path)

    def export(self, folder: str | Path, onnx: bool = False) -> None:
        """Write it for Paddle Inference, which needs nothing of this package.

        A fitted classifier becomes one function from images [N, 1, H, W] float32, ink 1, to scores
        [N, way], whose softmax `predict_proba` returns. Before `fit`, the encoder of a metric
        method becomes one from images to embeddings. examples/inference.py reads either.

        Args:
            folder (str | Path): it gets the model and labels.json: the classes, and the images'
                size.
            onnx (bool): write model.onnx too, which needs paddle2onnx.

        Raises:
            UserError: if there is nothing to export, its answers depend on more than an image, or
                the folder cannot be written.
        """
        from maml.classifier import export

        fitted = self._fitted
        if fitted is None:
            learner = classifier_of(
                self.trained, self._test_options(), INDUCTIVE, builder=self.builder
            )
            if not isinstance(learner, MetricLearner):
                raise UserError(
                    f"{self.trained.config.algorithm} is exported after fit; call it first"
                )
            layer, described = export.encoder_layer(learner), {}
        else:
            temperature = fitted.judged.temperature if fitted.judged else 1.0
            layer = export.fitted_layer(fitted.classifier, fitted.states[-1])
            layer = export.Scores(layer, fitted.columns, temperature)
            described = {"labels": plain(fitted.classes, "exported")}
        if self._test_options().distortions_test or self.trained.config.distortions_test:
            raise UserError("distorted copies of queries cannot be exported; drop distortions_test")
        export.write(layer, folder, self.form, described, onnx)


def _probabilities(fitted: Fitted, scores: paddle.Tensor) -> np.ndarray:
    """Probabilities [N, way] by the columns of `classes_`, of scores [1, N, way]."""
    temperature = fitted.judged.temperature if fitted.judged else 1.0
    return softmax(scores[0].numpy(), temperature)[:, fitted.columns]


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
    state, trained = safe_pickle.load(path), read(path)
    support = state.get(SUPPORT)
    try:
        if support is not None:
            options = {**support["options"], **options}
        model = FewShotClassifier(trained, builder, **options)
        if JUDGED in state:
            model.judged = [Judged(**judged) for judged in state[JUDGED]]
        if support is not None:
            model.fit(support["x"], [support["labels"][k] for k in support["y"]])
        return model
    except (KeyError, TypeError, IndexError, AttributeError):
        raise UserError(f"{path}: holds a support that cannot be read") from None
