"""The networks: parameters as an explicit list, and the forward pass as a pure function of it.

`params` is a list of tensors whose leading axis is the task: [T, ...], where T is 1 for weights
that all tasks share.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from maml import functional as fn
from maml.errors import UserError


class Network(nn.Layer, ABC):
    """A layer with an explicit parameter list: `theta` holds it, and `forward(x, params)` is a pure
    function of `params`.

    A subclass sets `features`, lists its initial values in `initial(rng)` and computes in `embed`.
    Where `way` is given, the last two parameters are a linear classifier of the embeddings.
    `running` holds running averages of batch normalisation's statistics where an algorithm keeps
    them, [1, 1, C] each; none at first.
    """

    features: int

    def __init__(self, way: int | None, rng: np.random.Generator, dtype: str = "float32"):
        super().__init__()
        self.way = way
        self.running: list[fn.Statistics] = []
        initial = self.initial(rng)
        if way is not None:
            # Nearly no opinion before adaptation: with larger weights here, MAML learns several
            # times slower.
            initial += [0.01 * rng.standard_normal([self.features, way]), np.zeros([1, way])]
        self.listed = nn.ParameterList(
            [
                paddle.create_parameter(
                    list(p.shape), dtype, default_initializer=nn.initializer.Assign(p.astype(dtype))
                )
                for p in initial
            ]
        )

    @property
    def theta(self) -> list[Tensor]:
        """The parameters, [...] each; `listed` registers them with the layer."""
        return list(self.listed)

    def update_running(self, record: Sequence[fn.Statistics], momentum: float = 0.9) -> None:
        """Move the running averages towards the statistics of a batch, as Paddle's own batch
        normalisation does.
        """
        self.running = [
            fn.Statistics(*(momentum * old + (1 - momentum) * new for old, new in zip(*pair)))
            for pair in zip(self.running, record)
        ] or list(record)

    def penalty(self, params: Sequence[Tensor]) -> Tensor | float:
        """What is added to the loss of a metric method for large weights; nothing here."""
        return 0.0

    @abstractmethod
    def initial(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Initial values of the embedding's parameters."""

    def prepare(self, x: Tensor) -> Any:
        """What `embed` needs of images x [T, N, 1, H, W] and no weight changes; worth keeping while
        weights adapt.
        """
        return x

    @abstractmethod
    def embed(
        self,
        params: Sequence[Tensor],
        x: Any,
        statistics: Sequence[fn.Statistics | None],
        record: list[fn.Statistics] | None,
        twice: bool,
    ) -> Tensor:
        """What `prepare` made of x -> embeddings [T, N, features]."""

    def forward(
        self,
        x: Any,
        params: Sequence[Tensor] | None = None,
        statistics: Sequence[fn.Statistics] | None = None,
        record: list[fn.Statistics] | None = None,
        twice: bool = False,
    ) -> Tensor:
        """x [T, N, 1, H, W], or what `prepare` made of it -> scores [T, N, way], or embeddings [T,
        N, features] without a classifier.

        Without `params` these are `theta`, for all tasks. Batch normalisation takes `statistics`,
        one for each layer, or, without, those of x itself, which `record`, a list, is given.
        `twice`: the result is to be differentiated twice.
        """
        if params is None:
            params = [p.unsqueeze(0) for p in self.theta]
        z = self.represent(x, params, statistics, record, twice)
        return z if self.way is None else paddle.matmul(z, params[-2]) + params[-1]

    def represent(
        self,
        x: Any,
        params: Sequence[Tensor],
        statistics: Sequence[fn.Statistics] | None = None,
        record: list[fn.Statistics] | None = None,
        twice: bool = False,
    ) -> Tensor:
        """The embeddings [T, N, features] that a classifier, if there is one, sees; arguments as
        `forward`'s.
        """
        if isinstance(x, Tensor):
            x = self.prepare(x)
        body = params if self.way is None else params[:-2]
        return self.embed(body, x, statistics or [None] * len(body), record, twice)


class ConvNet(Network):
    """Blocks of 3x3 convolution, batch normalisation and ReLU, with 64 filters in the papers;
    strided as MAML's on Omniglot (Finn et al. 2017, section 5.2), or max-pooled as the metric
    methods' (Vinyals et al. 2016, section 4.1.1).

    Parameters: w [9 * C_in, filters], gamma [1, filters], beta [1, filters] of each block. There
    are no convolution biases: batch normalisation subtracts them again. There are at least two
    `blocks`.
    """

    def __init__(
        self,
        way: int | None,
        rng: np.random.Generator,
        image_size: int = 28,
        pooled: bool = False,
        filters: int = 64,
        blocks: int = 4,
        dtype: str = "float32",
    ):
        self.pooled, self.filters = pooled, filters
        self.sizes = [image_size]
        for _ in range(blocks):
            self.sizes.append(self.sizes[-1] // 2 if pooled else -(-self.sizes[-1] // 2))
        self.features = filters * self.sizes[-1] ** 2
        super().__init__(way, rng, dtype)

    def initial(self, rng: np.random.Generator) -> list[np.ndarray]:
        params, channels = [], 1
        for _ in self.sizes[1:]:
            scale = np.sqrt(2 / (9 * channels))  # He et al. 2015, eq. 10
            params += [
                scale * rng.standard_normal([9 * channels, self.filters]),
                np.ones([1, self.filters]),
                np.zeros([1, self.filters]),
            ]
            channels = self.filters
        return params

    def prepare(self, x: Tensor) -> fn.InputPatches:
        return fn.input_patches(x, 1 if self.pooled else 2, self.pooled)

    def embed(
        self,
        params: Sequence[Tensor],
        x: Any,
        statistics: Sequence[fn.Statistics | None],
        record: list[fn.Statistics] | None,
        twice: bool,
    ) -> Tensor:
        images = x.images
        for block, size in enumerate(self.sizes[:-1]):
            w, gamma, beta = params[3 * block : 3 * block + 3]
            if block == 0 and self.pooled:
                h = fn.pooled_input_block(
                    x, w, gamma, beta, size, size, statistics[0], record
                )  # [T, P/4*N + 1, 64]
            elif block == 0:
                h = fn.input_block(x, w, gamma, beta, statistics[0], record)  # [T, P*N + 1, 64]
            else:
                h = fn.convolve(
                    h, w, fn.patches(size, size, 1 if self.pooled else 2, images, self.pooled)
                )  # [T, P*N, 64]
                h = fn.batch_norm(h, gamma, beta, statistics[block], record, twice)
                if self.pooled:
                    h = fn.max_pool(
                        h, size, size, images
                    )  # before ReLU, which gives the same with a quarter of its work
            h = F.relu(h)
        h = h.reshape([h.shape[0], -1, images, self.filters]).transpose(
            [0, 2, 1, 3]
        )  # [T, P*N, 64] -> [T, N, P, 64]
        return h.reshape([h.shape[0], images, self.features])


class DenseNet(Network):
    """Fully connected layers with batch normalisation and ReLU on flattened images, 256-128-64-64
    in MAML's paper (section 5.2).
    """

    def __init__(
        self,
        way: int | None,
        rng: np.random.Generator,
        image_size: int = 28,
        hidden: Sequence[int] = (256, 128, 64, 64),
        dtype: str = "float32",
    ):
        self.sizes = [image_size**2, *hidden]
        self.features = self.sizes[-1]
        super().__init__(way, rng, dtype)

    def initial(self, rng: np.random.Generator) -> list[np.ndarray]:
        params = []
        for fan_in, fan_out in zip(self.sizes, self.sizes[1:]):
            params += [
                np.sqrt(2 / fan_in) * rng.standard_normal([fan_in, fan_out]),
                np.ones([1, fan_out]),
                np.zeros([1, fan_out]),
            ]
        return params

    def embed(
        self,
        params: Sequence[Tensor],
        x: Any,
        statistics: Sequence[fn.Statistics | None],
        record: list[fn.Statistics] | None,
        twice: bool,
    ) -> Tensor:
        h = x.reshape([x.shape[0], x.shape[1], -1])  # [T, N, H*W]
        for layer in range(len(self.sizes) - 1):
            w, gamma, beta = params[3 * layer : 3 * layer + 3]
            h = F.relu(
                fn.batch_norm(paddle.matmul(h, w), gamma, beta, statistics[layer], record, twice)
            )
        return h


class Perceptron(Network):
    """Fully connected layers with biases and ReLU on flattened input [T, N, ...], without batch
    normalisation; for any small problem.

    `way` is the number of outputs: classes, or dimensions of what is regressed.
    """

    def __init__(
        self,
        way: int | None,
        rng: np.random.Generator,
        inputs: int,
        hidden: Sequence[int] = (64, 64),
        dtype: str = "float32",
    ):
        self.sizes = [inputs, *hidden]
        self.features = self.sizes[-1]
        super().__init__(way, rng, dtype)

    def initial(self, rng: np.random.Generator) -> list[np.ndarray]:
        params = []
        for fan_in, fan_out in zip(self.sizes, self.sizes[1:]):
            params += [
                np.sqrt(2 / fan_in) * rng.standard_normal([fan_in, fan_out]),
                np.zeros([1, fan_out]),
            ]
        return params

    def embed(
        self,
        params: Sequence[Tensor],
        x: Any,
        statistics: Sequence[fn.Statistics | None],
        record: list[fn.Statistics] | None,
        twice: bool,
    ) -> Tensor:
        h = x.reshape([x.shape[0], x.shape[1], -1])  # [T, N, inputs]
        for w, b in zip(params[::2], params[1::2]):
            h = F.relu(paddle.matmul(h, w) + b)
        return h


class KochNet(Network):
    """The Siamese network's encoder as published (Koch et al. 2015, section 3.1, figure 4), with
    its initial values (3.2) and penalties.

    105 x 105 images; convolutions 10x10/64, 7x7/128, 4x4/128, 4x4/256 without padding, each with
    ReLU and, but for the last, 2x2-max-pooling; a layer of 4,096 sigmoid units. All tasks share the
    weights ([1, ...]), and there is no batch normalisation.

    dense_deviation: of the dense layer's initial weights. Its 9,216 inputs are about 0.5 at first,
    so that with the paper's 0.2 the sums are of the order of 10, where a sigmoid hardly has a
    gradient; see README for what that does to training.
    """

    CONVOLUTIONS = ((10, 64), (7, 128), (4, 128), (4, 256))  # kernel, filters
    L2 = (2e-4, 2e-4, 2e-4, 2e-4, 1e-3)  # of each layer's weights
    IMAGE_SIZE = 105

    def __init__(
        self,
        rng: np.random.Generator,
        dense_deviation: float = 0.2,
        features: int = 4096,
        dtype: str = "float32",
    ):
        self.features, self.dense_deviation = features, dense_deviation
        super().__init__(None, rng, dtype)

    def initial(self, rng: np.random.Generator) -> list[np.ndarray]:
        params, channels, size = [], 1, self.IMAGE_SIZE
        for kernel, filters in self.CONVOLUTIONS:
            params += [
                0.01 * rng.standard_normal([filters, channels, kernel, kernel]),
                0.5 + 0.01 * rng.standard_normal([filters]),
            ]
            channels, convolved = filters, size - kernel + 1
            size = convolved // 2
        return params + [
            self.dense_deviation * rng.standard_normal([channels * convolved**2, self.features]),
            0.5 + 0.01 * rng.standard_normal([self.features]),
        ]

    def penalty(self, params: Sequence[Tensor]) -> Tensor:
        return paddle.add_n([lambda_j * (w * w).sum() for lambda_j, w in zip(self.L2, params[::2])])

    def embed(
        self,
        params: Sequence[Tensor],
        x: Any,
        statistics: Sequence[fn.Statistics | None],
        record: list[fn.Statistics] | None,
        twice: bool,
    ) -> Tensor:
        tasks, images = x.shape[:2]
        h = x.flatten(0, 1)  # [T * N, 1, 105, 105]
        layers = [(w[0], b[0]) for w, b in zip(params[::2], params[1::2])]
        for i, (w, b) in enumerate(layers[:-1]):
            h = F.relu(F.conv2d(h, w, b))
            if i < len(layers) - 2:
                h = F.max_pool2d(h, 2)
        w, b = layers[-1]
        return F.sigmoid(F.linear(h.flatten(1), w, b)).reshape([tasks, images, self.features])


def make(
    kind: str,
    way: int | None,
    rng: np.random.Generator,
    image_size: int = 28,
    filters: int = 64,
    dense_deviation: float = 0.2,
) -> Network:
    """The network that a configuration names: strided or pooled, which have `filters`, dense,
    perceptron, or koch, which has the `dense_deviation`.
    """
    if kind == "dense":
        return DenseNet(way, rng, image_size)
    if kind == "perceptron":
        return Perceptron(way, rng, image_size**2)
    if kind == "koch":
        if image_size != KochNet.IMAGE_SIZE:
            raise UserError(
                f"network koch is for images of {KochNet.IMAGE_SIZE} x {KochNet.IMAGE_SIZE} pixels,"
                f" these have {image_size}; make others by make_data.py --image-size"
                f" {KochNet.IMAGE_SIZE}, or choose network pooled"
            )
        return KochNet(rng, dense_deviation)
    return ConvNet(way, rng, image_size, pooled=kind == "pooled", filters=filters)
