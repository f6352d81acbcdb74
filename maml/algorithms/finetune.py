"""Fine-tuning a classifier on a new task's support, with any encoder (Chen, Liu, Kira, Wang & Huang
2019; Dhillon, Chaudhari, Ravichandran & Soatto 2020).

    p(y = k | x) = softmax over k of s cos(w_k, f(x)) + b_k        Chen, section 3.2
    w_k = mean of f(x) over class k's support, normalised          Dhillon, eq. 5: w at the start
    b_k = 0                                                        b at the start
    L = mean of -log p(y | x) over the support                     Dhillon, eq. 8: what is minimised
        + weight x mean of H(p(. | x)) over the queries            H is the entropy

The classifier compares by cosine. Without a step of fine-tuning it is the nearest mean by cosine.
With a weight other than 0 all queries of a task are looked at together: that is transductive.

Deviations from the papers, with reasons:
 1. w and b alone are tuned, not f: one image a class would be learned by heart, and tasks can be
    tuned side by side.
 2. Gradient descent without minibatches: a support is small.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import paddle
import paddle.nn.functional as F
from paddle import Tensor

from maml import functional as fn
from maml.algorithms.metric import MetricLearner, class_means


class Adapted(NamedTuple):
    """A support's embeddings and labels; fine-tuning waits for the queries that it may need."""

    z_support: Tensor  # [T, N_S, D]
    y_support: Tensor  # [T, N_S]
    steps: int  # of fine-tuning that are to follow


class FineTune:
    """Fine-tune a cosine classifier of a trained encoder's embeddings. It cannot be trained.

    Args:
        learner (MetricLearner): the learner whose encoder it uses.
        steps (int): steps of gradient descent; 0 for the nearest mean by cosine.
        rate (float): learning rate of a step.
        entropy (float): weight of the queries' entropy; 0 for none.
        scale (float): s, the scale of the cosine.

    Example:
        >>> import numpy as np, maml
        >>> rng = np.random.default_rng(0)
        >>> encoder = maml.ProtoNet(maml.ConvNet(None, rng), outer_lr=1e-3, transductive=True)
        >>> images = rng.integers(0, 255, [9, 20, 1, 28, 28], np.uint8)
        >>> sampler = maml.TaskSampler(images, 5, 1, 1, rng)
        >>> maml.evaluate(maml.FineTune(encoder, steps=5), sampler, tasks=2).accuracies.shape
        (2, 2)
    """

    def __init__(
        self,
        learner: MetricLearner,
        steps: int,
        rate: float = 0.1,
        entropy: float = 0.0,
        scale: float = 10.0,
    ):
        self.learner, self.steps, self.rate = learner, steps, rate
        self.entropy, self.scale = entropy, scale

    @property
    def per_image(self) -> bool:
        """Whether the encoder sees each image by itself."""
        return self.learner.per_image

    def embed(self, x: Tensor) -> Tensor:
        """Return the encoder's embeddings [T, N, D] of images [T, N, 1, H, W]."""
        return self.learner.embed(x)

    def of_embeddings(self) -> FineTune:
        """Return the same classifier for tasks that consist of embeddings instead of images."""
        learner = self.learner.of_embeddings()
        return FineTune(learner, self.steps, self.rate, self.entropy, self.scale)

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Iterator[Adapted]:
        """Yield the support before and after fine-tuning, which waits for the queries."""
        z = self.embed(support_x)
        for steps in (0, self.steps) if self.steps else (0,):
            yield Adapted(z, support_y, steps)

    def predict(self, adapted: Adapted, query_x: Tensor) -> Tensor:
        """Return scores [T, N, way] of query images [T, N, 1, H, W]."""
        z_query = self.embed(query_x)
        classifier = self.initial(adapted.z_support, adapted.y_support)
        for _ in range(adapted.steps):
            classifier = fn.leaves(classifier)
            gradient = paddle.grad(self.losses(classifier, adapted, z_query).sum(), classifier)
            classifier = fn.descend(classifier, gradient, [self.rate] * len(classifier))
        return self.scores(classifier, z_query).detach()

    def represent(self, adapted: Adapted, x: Tensor) -> Tensor:
        """Return the encoder's embeddings [T, N, D] of images [T, N, 1, H, W]."""
        return self.embed(x)

    def initial(self, z: Tensor, y: Tensor) -> list[Tensor]:
        """Return w [T, way, D] and b [T, 1, way] before the first step."""
        w = fn.normalized(class_means(z, y, int(y.max()) + 1))
        return [w, paddle.zeros([w.shape[0], 1, w.shape[1]], w.dtype)]

    def scores(self, classifier: list[Tensor], z: Tensor) -> Tensor:
        """Return what the softmax is taken of, [T, N, way]."""
        w, b = classifier
        return self.scale * fn.cosine(z, w) + b

    def losses(self, classifier: list[Tensor], adapted: Adapted, z_query: Tensor) -> Tensor:
        """Return what is minimised, [T]."""
        losses = fn.cross_entropy(self.scores(classifier, adapted.z_support), adapted.y_support)
        if self.entropy:
            log_p = F.log_softmax(self.scores(classifier, z_query))  # [T, N, way]
            losses = losses - self.entropy * (log_p.exp() * log_p).sum(axis=-1).mean(axis=-1)
        return losses
