"""Several trained classifiers as one, by the mean of their probabilities, as MAML++ is tested with
five checkpoints of one run (Antoniou, Edwards & Storkey 2019, section 5).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import Tensor

from maml.algorithms.learner import Classifier, Encoder


class Ensemble:
    """Predict by the mean of the softmaxes of several classifiers' scores. It cannot be trained.

    Args:
        members (Sequence[Classifier]): classifiers of the same tasks, of any methods. Where some
            have fewer update steps than others, they stay as they are after their last.

    Example:
        >>> import numpy as np, maml
        >>> rng = np.random.default_rng(0)
        >>> members = [maml.MAML(maml.ConvNet(5, rng), 0.4, 1e-3, 1, steps) for steps in (1, 3)]
        >>> sampler = maml.TaskSampler(np.zeros([9, 20, 1, 28, 28], np.uint8), 5, 1, 5, rng)
        >>> maml.evaluate(maml.Ensemble(members), sampler, tasks=2).accuracies.shape
        (2, 4)
    """

    def __init__(self, members: Sequence[Classifier]):
        self.members = list(members)
        self.sizes: list[int] = []  # of the members' embeddings; `of_embeddings` shares the list

    @property
    def per_image(self) -> bool:
        """Whether every member has embeddings, each of which depends on its image alone."""
        return all(isinstance(m, Encoder) and m.per_image for m in self.members)

    def embed(self, x: Tensor) -> Tensor:
        """Return the members' embeddings of images [T, N, 1, H, W], side by side, [T, N, D]."""
        z = [m.embed(x) for m in self.members]  # type: ignore[attr-defined]
        self.sizes[:] = [one.shape[-1] for one in z]
        return paddle.concat(z, axis=-1)

    def of_embeddings(self) -> Ensemble:
        """Return the same classifier for tasks that consist of what `embed` returned before."""
        twin = copy.copy(self)
        twin.members = [m.of_embeddings() for m in self.members]  # type: ignore[attr-defined]
        return twin

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Iterator[list[Any]]:
        """Yield what all members learned, before the first and after each update step."""
        last: list[Any] = [None] * len(self.members)
        parts = self._parts(support_x)
        for states in zip_longest(*(m.adapt(x, support_y) for m, x in zip(self.members, parts))):
            last = [old if new is None else new for old, new in zip(last, states)]
            yield last

    def predict(self, adapted: list[Any], query_x: Tensor) -> Tensor:
        """Return the logarithms [T, N, way] of the mean probabilities of queries."""
        parts = zip(self.members, adapted, self._parts(query_x))
        scores = [m.predict(state, x) for m, state, x in parts]
        with paddle.no_grad():
            log_p = paddle.stack([F.log_softmax(one, axis=-1) for one in scores])
            return paddle.logsumexp(log_p, axis=0) - math.log(len(scores))

    def represent(self, adapted: list[Any], x: Tensor) -> Tensor:
        """Return the members' embeddings of images [T, N, 1, H, W], side by side, [T, N, D]."""
        z = [m.represent(state, x) for m, state in zip(self.members, adapted)]
        return paddle.concat(z, axis=-1)

    def _parts(self, x: Tensor) -> list[Tensor]:
        """What each member takes: the images, or its own embeddings of them."""
        images = x.ndim > 3
        return [x] * len(self.members) if images else paddle.split(x, self.sizes, axis=-1)
