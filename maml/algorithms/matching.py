"""Matching Networks (Vinyals, Blundell, Lillicrap, Kavukcuoglu & Wierstra 2016), with full context
embeddings.

    P(y^|x^, S) = sum_i a(x^, x_i) y_i                                              eq. 1
    a(x^, x_i) = softmax over i of c(f(x^), g(x_i)), c the cosine                   section 2.1.1
    theta minimises -log P(y|x^, S) of the queries                                  eq. 2

Full context embeddings (section 2.1.2, appendix A):

    f(x^, S) = attLSTM(f'(x^), g(S), K) = h_K:
      h^_k, c_k = LSTM(f'(x^), [h_{k-1}, r_{k-1}], c_{k-1})                         eq. 3
      h_k = h^_k + f'(x^)                                                           eq. 4
      r_{k-1} = sum_i a(h_{k-1}, g(x_i)) g(x_i)                                     eq. 5
      a(h_{k-1}, g(x_i)) = softmax over i of h_{k-1}^T g(x_i)                       eq. 6
    g(x_i, S) = h->_i + h<-_i + g'(x_i), of a bidirectional LSTM over the support   A.2

f' and g' are one encoder. g reads the support in an order: with full context embeddings, another
order of the support gives other predictions. It stands in random order, in training and in tests.

Deviations from the paper, with reasons:
 1. [h, r] of eq. 3 is twice as wide as the state c that a cell of Paddle's keeps. r goes in beside
    f'(x^) instead: the gates are the same sum W_f f' + W_h h + W_r r. h and r are concatenated, as
    the paper says; a variant that is often seen adds them, which makes W_h = W_r.
 2. h_0 and c_0, on which the paper is silent, are zero; so r_0 is the support's mean.
 3. An update averages several episodes (task_num).
 4. c may be divided by a temperature tau; see the third deviation of protonet.py.
"""

from __future__ import annotations

from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from maml import functional as fn
from maml.algorithms.metric import MetricLearner, members
from maml.networks.base import Network


class FullContext(nn.Layer):
    """Full context embeddings: the attention LSTM f, and the bidirectional LSTM g.

    Section 2.1.2 and appendix A of the paper.

    Args:
        features (int): size of an embedding, D.
        steps (int): steps of attention, K.

    Example:
        >>> import paddle, maml
        >>> context = maml.FullContext(features=4, steps=2)
        >>> g = context.g(paddle.rand([1, 5, 4]))  # of a support of five images
        >>> list(context.f(paddle.rand([1, 3, 4]), g).shape)  # of three queries
        [1, 3, 4]
    """

    def __init__(self, features: int, steps: int):
        super().__init__()
        self.steps = steps
        self.bidirectional = nn.LSTM(features, features, direction="bidirectional")
        self.cell = nn.LSTMCell(2 * features, features)

    def g(self, z: Tensor) -> Tensor:
        """Return g(x_i, S) [T, N_S, D] of g'(x_i) [T, N_S, D], in the order of reading (A.2)."""
        forward, backward = self.bidirectional(z)[0].chunk(2, axis=-1)
        return forward + backward + z

    def f(self, z: Tensor, g: Tensor) -> Tensor:
        """Return f(x^, S) [T, N_Q, D] of f'(x^) [T, N_Q, D], by g(S) [T, N_S, D] (eq. 3 to 6)."""
        flat = z.reshape([-1, z.shape[-1]])  # [T * N_Q, D], as cells take it
        h, c = paddle.zeros_like(z), paddle.zeros_like(flat)
        for _ in range(self.steps):
            a = F.softmax(paddle.matmul(h, g, transpose_y=True))  # eq. 6
            r = paddle.matmul(a, g)  # eq. 5, [T, N_Q, D]
            inputs = paddle.concat([flat, r.reshape(flat.shape)], axis=-1)
            _, (h_hat, c) = self.cell(inputs, (h.reshape(flat.shape), c))  # eq. 3
            h = h_hat.reshape(z.shape) + z  # eq. 4
        return h


class Matching(MetricLearner):
    """Train Matching Networks.

    Args:
        network (Network): the encoder f' and g', a network without a classifier.
        outer_lr (float): learning rate of Adam.
        distance (str): c: "cosine", "euclidean" (squared) or "dot".
        context (FullContext | None): full context embeddings; None for f' and g' alone.
        temperature (float): tau, by which c is divided; 1 is the paper's.
        **options: see `MetricLearner`.

    Example:
        >>> import numpy as np, maml
        >>> rng = np.random.default_rng(0)
        >>> encoder = maml.ConvNet(None, rng, pooled=True)
        >>> learner = maml.Matching(encoder, outer_lr=1e-3, context=maml.FullContext(64, 2))
        >>> sampler = maml.TaskSampler(np.zeros([9, 20, 1, 28, 28], np.uint8), 5, 1, 1, rng)
        >>> sorted(learner.meta_step(sampler.sample(1)))
        ['gradient norm', 'loss']
    """

    def __init__(
        self,
        network: Network,
        outer_lr: float,
        distance: str = "cosine",
        context: FullContext | None = None,
        temperature: float = 1.0,
        **options: Any,
    ):
        super().__init__(network, outer_lr, head=context, **options)
        self.similarity, self.context = fn.SIMILARITIES[distance], context
        self.temperature = temperature

    def learn(self, z_support: Tensor, y_support: Tensor) -> tuple[Tensor, Tensor]:
        """Return g(x_i) [T, N_S, D] and y_i [T, N_S, way]."""
        g = self.context.g(z_support) if self.context else z_support
        return g, members(y_support, int(y_support.max()) + 1, z_support.dtype)

    def scores(self, learned: tuple[Tensor, Tensor], z_query: Tensor) -> Tensor:
        """Return log sum_i exp(c(f(x^), g(x_i)) / tau) y_i, [T, N, way].

        This is eq. 1 times the attention's denominator, the same for all classes, as a logarithm.
        """
        g, y = learned
        f = self.context.f(z_query, g) if self.context else z_query
        c = self.similarity(f, g).unsqueeze(-1) / self.temperature  # [T, N_Q, N_S, 1]
        return paddle.logsumexp(c + 1e9 * (y - 1).unsqueeze(1), axis=2)  # [T, N_Q, way]

    def losses(
        self, z_support: Tensor, y_support: Tensor, z_query: Tensor, y_query: Tensor
    ) -> Tensor:
        """Return -log P(y|x^, S), [T]."""
        scores = self.scores(self.learn(z_support, y_support), z_query)
        return fn.cross_entropy(scores, y_query)  # eq. 2
