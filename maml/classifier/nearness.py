"""How near a query is to the nearest class: what tells strangers, of no class, from members."""

from __future__ import annotations

import paddle
from paddle import Tensor

from maml import functional as fn
from maml.algorithms.gradient import Adapted, GradientLearner
from maml.algorithms.learner import Classifier
from maml.algorithms.metric import class_means


def nearness(
    learner: Classifier, adapted: object, support_y: Tensor, query_x: Tensor, scores: Tensor
) -> Tensor:
    """Return how near queries are to the class that is nearest to each, higher for nearer ones.

    The scores of metric methods are similarities, and the highest one is the answer. Those of MAML
    and Reptile tell classes apart, but strangers have high ones too. What tells these apart is the
    cosine between embeddings, by the adapted network, of a query and of the mean of a class.

    Args:
        learner (Classifier): the learner, in inductive mode.
        adapted: what its `adapt` yielded last for a support.
        support_y (Tensor): the labels of that support, [T, N_S].
        query_x (Tensor): queries, [T, N, 1, H, W].
        scores (Tensor): what the learner predicts of them, [T, N, way].

    Returns:
        Tensor: [T, N].
    """
    if not isinstance(learner, GradientLearner):
        return scores.max(axis=-1)
    assert isinstance(adapted, Adapted)
    with paddle.no_grad():
        support = learner.network.represent(adapted.support_x, adapted.theta)
        # the support may be followed by distorted versions of all of it
        labels = paddle.tile(support_y, [1, support.shape[1] // support_y.shape[1]])
        means = class_means(support, labels, scores.shape[-1])
        return fn.cosine(learner.represent(adapted, query_x), means).max(axis=-1)
