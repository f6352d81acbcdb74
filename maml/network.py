"""The networks: parameters as an explicit list, and the forward pass as a pure function of it.

`params` is a list of tensors whose leading axis is the task: [T, ...], where T is 1 for weights that all tasks share.
A network never looks at parameters of its own in `forward` unless it is given none.
"""

from __future__ import annotations

from typing import Sequence

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from maml import functional as fn

FILTERS = 64
BLOCKS = 4


class Network(nn.Layer):
    """A layer with an explicit parameter list; `theta` holds it, `forward(x, params)` is a pure function of `params`.

    A subclass lists its shapes and initial values in `initial(rng)` and computes in `embed`. The last two parameters are
    a linear classifier on the embedding where `way` is not None.
    """

    def __init__(self, way: int | None, rng: np.random.Generator, dtype: str = "float32"):
        super().__init__()
        self.way = way
        initial = self.initial(rng)
        if way is not None:
            features = self.features
            initial += [0.01 * rng.standard_normal([features, way]), np.zeros([1, way])]  # nearly no opinion before adaptation
        self.theta = nn.ParameterList([
            paddle.create_parameter(list(p.shape), dtype, attr=paddle.ParamAttr(name=f"theta_{i}_{id(self)}"),
                                    default_initializer=nn.initializer.Assign(p.astype(dtype)))
            for i, p in enumerate(initial)])

    def prepare(self, x: Tensor):
        """What the network computes from images x [T, N, 1, H, W] alone; worth keeping while only the weights change."""
        return x

    def forward(self, x, params: Sequence[Tensor] | None = None, statistics: Sequence[fn.Statistics] | None = None,
                record: list[fn.Statistics] | None = None) -> Tensor:
        """x [T, N, 1, H, W], or what `prepare` made of it -> scores [T, N, way], or embeddings where there is no classifier.

        Batch normalisation takes `statistics` (one for each layer) or, without, those of x itself; `record`, a list, receives
        the latter.
        """
        if params is None:
            params = [p.unsqueeze(0) for p in self.theta]
        if self.way is None:
            return self.embed(params, x, statistics, record)
        *body, w, b = params
        return paddle.matmul(self.embed(body, x, statistics, record), w) + b


class ConvNet(Network):
    """Four blocks of 3x3 convolution, batch normalisation, ReLU, 64 filters; strided as MAML's on Omniglot (Finn et al. 2017,
    section 5.2).

    Parameters: w [9 * C_in, 64], gamma [1, 64], beta [1, 64] for each block. There are no convolution biases: batch normalisation
    subtracts them again.
    """

    def __init__(self, way: int | None, rng: np.random.Generator, image_size: int = 28, dtype: str = "float32"):
        self.sizes = [image_size]
        for _ in range(BLOCKS):
            self.sizes.append(-(-self.sizes[-1] // 2))
        self.features = FILTERS * self.sizes[-1] ** 2
        super().__init__(way, rng, dtype)

    def initial(self, rng):
        params, channels = [], 1
        for _ in range(BLOCKS):
            scale = np.sqrt(2 / (9 * channels))  # He et al. 2015, eq. 10
            params += [scale * rng.standard_normal([9 * channels, FILTERS]), np.ones([1, FILTERS]), np.zeros([1, FILTERS])]
            channels = FILTERS
        return params

    def prepare(self, x):
        return fn.input_patches(x, stride=2)

    def embed(self, params, x, statistics=None, record=None):
        if not isinstance(x, fn.InputPatches):
            x = self.prepare(x)
        given = statistics or [None] * BLOCKS
        w, gamma, beta = params[:3]
        if record is not None:
            record.append(fn.input_statistics(x, w))
        h = fn.input_block(x, w, gamma, beta, given[0])  # [T, 14*14*N + 1, 64]
        for block in range(1, BLOCKS):
            w, gamma, beta = params[3 * block:3 * block + 3]
            size = self.sizes[block]
            h = fn.convolve(h, w, fn.patches(size, size, 2, x.images))  # [T, 7*7*N, 64], [T, 4*4*N, 64], [T, 2*2*N, 64]
            if record is not None:
                record.append(fn.row_statistics(h))
            h = F.relu(fn.batch_norm(h, gamma, beta, given[block]))
        h = h.reshape([h.shape[0], -1, x.images, FILTERS]).transpose([0, 2, 1, 3])
        return h.reshape([h.shape[0], x.images, self.features])
