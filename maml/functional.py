"""Operations that can be differentiated any number of times, and vector algebra over parameter lists.

PaddlePaddle's own convolution, batch normalisation, max-pooling and cross-entropy either raise in the second
differentiation or are slow in it (batch normalisation a thousand times slower than forwards). The ones here are
made of matrix products, gathers and element-wise operations, and they treat a whole batch of tasks at once.

Layout: activations are `[T, P * N, C]`, a matrix of C-channel rows for each of T tasks; row `p * N + n` is position p
of image n. Channels lie next to each other in memory, so patches are gathered row by row (a copy of 256 bytes each for 64
channels), and a convolution is a single matrix product for every task.
Weights are `[T, 9 * C_in, C_out]`, row `tap * C_in + c`; per-channel vectors are `[T, 1, C]`.

Sums over rows and their opposite, repeating a vector over rows, are products with a vector of ones: on a CPU, Paddle's
reduction and broadcasting over a middle axis take 10 to 40 times as long.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Callable, NamedTuple, Sequence

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor
from paddle.autograd import PyLayer

BATCH_NORM_EPSILON = 1e-5


def sum_rows(x: Tensor) -> Tensor:
    """[T, M, C] -> [T, 1, C]"""
    return paddle.matmul(paddle.ones([x.shape[0], 1, x.shape[1]], x.dtype), x)


def mean_rows(x: Tensor) -> Tensor:
    """[T, M, C] -> [T, 1, C]"""
    return paddle.matmul(paddle.full([x.shape[0], 1, x.shape[1]], 1 / x.shape[1], x.dtype), x)


def repeat_rows(v: Tensor, rows: int) -> Tensor:
    """[T, 1, C] -> [T, rows, C]"""
    return paddle.matmul(paddle.ones([v.shape[0], rows, 1], v.dtype), v)


def append_zero_row(x: Tensor) -> Tensor:
    """[T, M, C] -> [T, M + 1, C]; the row that patch tables point to outside of the image."""
    zero = paddle.zeros([x.shape[0], 1, x.shape[2]], x.dtype)
    zero.stop_gradient = x.stop_gradient  # Paddle differentiates a concatenation twice only if all of its parts need gradients
    return paddle.concat([x, zero], axis=1)


# Differentiation. A `PyLayer` must answer None for inputs that need no gradient, and inside `forward` that is no longer
# known, so it is noted before.


def _apply(layer: type[PyLayer], *tensors: Tensor, **constants) -> Tensor:
    return layer.apply(tuple(not t.stop_gradient for t in tensors), *tensors, **constants)


# Convolution, 3x3 with one pixel of padding.


class Patches(NamedTuple):
    """Where a 3x3 convolution reads and, for its transpose, writes. Made by `patches`."""

    gather: Tensor
    """[P_out * N * 9] int32, the row of the input for each (output row, tap)"""
    scatter: list[tuple[Tensor, Tensor]]
    """One (taps, rows) for each class of input positions that are reached by the same taps: taps [K] and, for each input
    row of the class, the K output rows that it contributed to, [P_class * N * K]; the classes in order of `restore`"""
    restore: Tensor | None
    """[P_in * N] int32, brings the rows of the concatenated classes back into order; None where they are in order"""
    rows_in: int
    rows_out: int


def _pooling_order(height: int, width: int) -> np.ndarray:
    """Positions such that `max_pool` finds the upper left corners of all 2x2 windows first, then the upper right, lower left and lower
    right ones in the same order, then positions in no window."""
    position = np.arange(height * width).reshape(height, width)
    windows = position[:height // 2 * 2, :width // 2 * 2]
    corners = np.concatenate([windows[i::2, j::2].ravel() for i in (0, 1) for j in (0, 1)])
    return np.concatenate([corners, np.setdiff1d(position, corners)])


@lru_cache(maxsize=64)
def patches(height: int, width: int, stride: int, images: int, pooled: bool = False) -> Patches:
    """Index tables for `images` images of `height` x `width`; the output is ceil(height / stride) x ceil(width / stride).

    With `pooled`, the output's positions stand in the order that `max_pool` takes, else row by row.

    An input position (i, j) was read through tap (a, b) by output ((i + 1 - a) / stride, (j + 1 - b) / stride) where
    these are whole numbers, so positions with the same remainders modulo the stride are reached by the same taps. Each class
    is therefore a dense gather and a matrix product of its own, and nothing needs a scatter-add.
    """
    high, wide = -(-height // stride), -(-width // stride)
    zero_in, zero_out = height * width * images, high * wide * images
    out = _pooling_order(high, wide) if pooled else np.arange(high * wide)
    place = np.argsort(out)  # of each output position among the output's rows
    n = np.arange(images)

    def rows(i, j, h, w, place, zero):  # positions [...] -> rows [..., N]
        inside = (0 <= i) & (i < h) & (0 <= j) & (j < w)
        return np.where(inside[..., None], place[np.where(inside, i * w + j, 0)][..., None] * images + n, zero)

    taps, position = np.arange(9), np.arange(height * width)
    i, j = out[:, None] // wide * stride + taps // 3 - 1, out[:, None] % wide * stride + taps % 3 - 1  # [P_out, 9]
    gather = rows(i, j, height, width, position, zero_in).transpose(0, 2, 1)  # [P_out, N, 9]

    scatter, order = [], []
    for a, b in np.ndindex(stride, stride):
        members = position[(position // width % stride == a) & (position % width % stride == b)]
        if len(members) == 0:
            continue
        reached = np.array([t for t in taps if (a + 1 - t // 3) % stride == 0 and (b + 1 - t % 3) % stride == 0])
        i = (members[:, None] // width + 1 - reached // 3) // stride
        j = (members[:, None] % width + 1 - reached % 3) // stride
        table = rows(i, j, high, wide, place, zero_out).transpose(0, 2, 1)  # [P_class, N, K]
        scatter.append((paddle.to_tensor(reached.astype("int32")), paddle.to_tensor(table.ravel().astype("int32"))))
        order.append((members[:, None] * images + n).ravel())
    restore = None if len(scatter) == 1 else paddle.to_tensor(np.argsort(np.concatenate(order)).astype("int32"))
    return Patches(paddle.to_tensor(gather.ravel().astype("int32")), scatter, restore, zero_in, zero_out)


class _View:
    """An activation, and what the products below gather from it: at most once, though several of them need it."""

    def __init__(self, x: Tensor, at: Patches):
        self.x, self.at = x.detach(), at

    @cached_property
    def columns(self) -> Tensor:
        """An input [T, P_in * N, C] as patches [T, P_out * N, 9 * C]; a last row of zeros may already be there."""
        x = self.x if self.x.shape[1] > self.at.rows_in else append_zero_row(self.x)
        return paddle.gather(x, self.at.gather, axis=1).reshape([x.shape[0], self.at.rows_out, 9 * x.shape[2]])

    @cached_property
    def classes(self) -> list[Tensor]:
        """An output [T, P_out * N, C] by classes of the input positions that it came from, [T, P_class * N, K * C] each."""
        x = append_zero_row(self.x)
        return [paddle.gather(x, table, axis=1).reshape([x.shape[0], -1, len(taps) * x.shape[2]]) for taps, table in self.at.scatter]


# For x, w and a cotangent g the convolution is the trilinear form <g, x * w>. Fixing two of its arguments gives the
# convolution, its transpose and the gradient of its weights, and each of the three is differentiated by the other two.


class _Convolve(PyLayer):
    @staticmethod
    def forward(ctx, needs, x, w, x_view):
        ctx.needs, ctx.x_view = needs, x_view
        ctx.save_for_backward(x, w)
        return paddle.matmul(x_view.columns, w)

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensor()
        g_view = _View(g, ctx.x_view.at)
        return (_apply(_ConvolveTransposed, g, w, g_view=g_view, rows=x.shape[1]) if ctx.needs[0] else None,
                _apply(_ConvolveWeights, x, g, x_view=ctx.x_view, g_view=g_view) if ctx.needs[1] else None)


class _ConvolveTransposed(PyLayer):
    @staticmethod
    def forward(ctx, needs, g, w, g_view, rows):
        ctx.needs, ctx.g_view = needs, g_view
        ctx.save_for_backward(g, w)
        at, filters, channels = g_view.at, g.shape[2], w.shape[1] // 9
        w = w.reshape([w.shape[0], 9, channels, filters]).transpose([0, 1, 3, 2]).contiguous()  # [T, 9, C_out, C_in]
        x = [paddle.matmul(gathered, paddle.gather(w, taps, axis=1).reshape([w.shape[0], -1, channels]))
             for gathered, (taps, _) in zip(g_view.classes, at.scatter)]
        x = x[0] if at.restore is None else paddle.gather(paddle.concat(x, axis=1), at.restore, axis=1)
        return x if rows == at.rows_in else append_zero_row(x)

    @staticmethod
    def backward(ctx, x):
        g, w = ctx.saved_tensor()
        x_view = _View(x, ctx.g_view.at)
        return (_apply(_Convolve, x, w, x_view=x_view) if ctx.needs[0] else None,
                _apply(_ConvolveWeights, x, g, x_view=x_view, g_view=ctx.g_view) if ctx.needs[1] else None)


class _ConvolveWeights(PyLayer):
    @staticmethod
    def forward(ctx, needs, x, g, x_view, g_view):
        ctx.needs, ctx.x_view, ctx.g_view = needs, x_view, g_view
        ctx.save_for_backward(x, g)
        return paddle.matmul(x_view.columns, g, transpose_x=True)

    @staticmethod
    def backward(ctx, w):
        x, g = ctx.saved_tensor()
        return (_apply(_ConvolveTransposed, g, w, g_view=ctx.g_view, rows=x.shape[1]) if ctx.needs[0] else None,
                _apply(_Convolve, x, w, x_view=ctx.x_view) if ctx.needs[1] else None)


def convolve(x: Tensor, w: Tensor, at: Patches) -> Tensor:
    """3x3 convolution with padding 1 and without a bias: x [T, P_in * N, C_in], w [T, 9 * C_in, C_out] -> [T, P_out * N, C_out]."""
    return _apply(_Convolve, x, w, x_view=_View(x, at))


# Batch normalisation.


def _project(g: Tensor, normal: Tensor) -> Tensor:
    """P g = g - mean(g) - x_hat mean(g x_hat), by column."""
    rows = g.shape[1]
    return g - repeat_rows(mean_rows(g), rows) - normal * repeat_rows(mean_rows(g * normal), rows)


class _Normalize(PyLayer):
    """x_hat = r (x - mean(x)), r = (var(x) + eps)^-1/2.

    First derivative: dx = r P g. Second, for a cotangent a of dx, with m(u) = mean(u x_hat):
        dg = r P a
        dx = -r^2 (P(a m(g) + g m(a)) + x_hat mean(a P g))
    since dr = -r^2 mean(x_hat dx) and d x_hat = r P dx.
    """

    @staticmethod
    def forward(ctx, needs, x):
        rows = x.shape[1]
        centred = x - repeat_rows(mean_rows(x), rows)
        r = paddle.rsqrt(mean_rows(centred * centred) + BATCH_NORM_EPSILON)
        normal = centred * repeat_rows(r, rows)
        ctx.save_for_backward(x)
        ctx.normal, ctx.r = normal.detach(), r  # the output itself would hold its own graph alive, a leak
        return normal

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensor()
        return _apply(_NormalizeGradient, g, x, normal=ctx.normal, r=ctx.r)


class _NormalizeGradient(PyLayer):
    @staticmethod
    def forward(ctx, needs, g, x, normal, r):
        ctx.needs = needs
        ctx.g, ctx.normal, ctx.r = g.detach(), normal, r
        return repeat_rows(r, g.shape[1]) * _project(g, normal)

    @staticmethod
    def backward(ctx, a):
        g, normal, r, rows = ctx.g, ctx.normal, ctx.r, ctx.g.shape[1]
        r_rows = repeat_rows(r, rows)
        projected = _project(a, normal)
        mixed = a * repeat_rows(mean_rows(g * normal), rows) + g * repeat_rows(mean_rows(a * normal), rows)
        curved = _project(mixed, normal) + normal * repeat_rows(mean_rows(projected * g), rows)
        return (r_rows * projected if ctx.needs[0] else None, -r_rows * r_rows * curved if ctx.needs[1] else None)


def normalize(x: Tensor) -> Tensor:
    """Rows of x [T, M, C] to mean 0 and variance 1 by column (Ioffe & Szegedy 2015, Algorithm 1, without scale and shift)."""
    return _apply(_Normalize, x)


class Statistics(NamedTuple):
    """What batch normalisation needs to know of a batch; mean and (biased) variance, each [T, 1, C]."""

    mean: Tensor
    variance: Tensor


def batch_norm(x: Tensor, gamma: Tensor, beta: Tensor, given: Statistics | None = None) -> Tensor:
    """Batch normalisation of rows x [T, M, C] with their own statistics, or with `given` ones."""
    rows = x.shape[1]
    if given is None:
        return normalize(x) * repeat_rows(gamma, rows) + repeat_rows(beta, rows)
    scale = gamma * paddle.rsqrt(given.variance + BATCH_NORM_EPSILON)
    return x * repeat_rows(scale, rows) + repeat_rows(beta - given.mean * scale, rows)


def row_statistics(x: Tensor) -> Statistics:
    """Mean and variance of the rows of x [T, M, C]."""
    mean = mean_rows(x)
    centred = x - repeat_rows(mean, x.shape[1])
    return Statistics(mean, mean_rows(centred * centred))


class InputPatches(NamedTuple):
    """The first layer's view of the images, which stays the same while weights adapt. Made by `input_patches`."""

    columns: Tensor
    """[T, P_out * N + 1, 9 * C + 1]: the patches, with a column of ones, and a row of zeros at the end"""
    mean: Tensor
    """[T, 1, 9 * C], the patches' mean"""
    covariance: Tensor
    """[T, 9 * C, 9 * C], their (biased) covariance"""
    images: int


@lru_cache(maxsize=64)
def _input_table(height: int, width: int, stride: int, images: int, channels: int, pooled: bool) -> Tensor:
    """Where `InputPatches.columns` come from, in the pixels [N, C, H, W] of a task with a 0 and a 1 behind them."""
    pixels = images * channels * height * width
    rows = patches(height, width, stride, images, pooled).gather.numpy().reshape(-1, 9, 1)  # p * N + n
    position, image = np.divmod(rows, images)
    pixel = (image * channels + np.arange(channels)) * height * width + position
    pixel = np.where(position == height * width, pixels, pixel).reshape(len(rows), 9 * channels)
    table = np.pad(pixel, ((0, 1), (0, 1)), constant_values=pixels)
    table[:-1, -1] = pixels + 1
    return paddle.to_tensor(table.ravel().astype("int32"))


def input_patches(x: Tensor, stride: int, pooled: bool = False) -> InputPatches:
    """x [T, N, C, H, W] -> the patches that the first convolution multiplies by its weights; `pooled` as for `patches`."""
    tasks, images, channels, height, width = x.shape
    pixels = paddle.concat([x.reshape([tasks, -1]), paddle.to_tensor([[0.0, 1.0]], x.dtype).expand([tasks, 2])], axis=1)
    columns = paddle.gather(pixels, _input_table(height, width, stride, images, channels, pooled), axis=1).reshape([tasks, -1, 9 * channels + 1])
    moments = paddle.matmul(columns, columns, transpose_x=True) / (columns.shape[1] - 1)  # the last row and column: of a 1
    mean = moments[:, -1:, :-1]
    covariance = moments[:, :-1, :-1] - paddle.matmul(mean, mean, transpose_x=True)
    return InputPatches(columns, mean, covariance, images)


def input_statistics(x: InputPatches, w: Tensor) -> Statistics:
    """The statistics of the first convolution's output, without computing it: y = x w has mean m w and variance w' C w."""
    return Statistics(paddle.matmul(x.mean, w), sum_rows(w * paddle.matmul(x.covariance, w)))


def input_block(x: InputPatches, w: Tensor, gamma: Tensor, beta: Tensor, given: Statistics | None = None) -> Tensor:
    """batch_norm(convolve(x, w)) as a single product, [T, P_out * N + 1, C]; the last row is zero.

    Batch normalisation is affine in the convolution's output, y s + (beta - mean s) with s = gamma / sqrt(variance + eps),
    so it can be folded into the weights exactly: s scales their columns and the rest is a bias, against the patches' ones.
    """
    mean, variance = given or input_statistics(x, w)
    scale = gamma * paddle.rsqrt(variance + BATCH_NORM_EPSILON)
    folded = paddle.concat([w * repeat_rows(scale, w.shape[1]), beta - mean * scale], axis=1)
    return paddle.matmul(x.columns, folded)


# Max-pooling, 2x2, of rows in the order that `patches(..., pooled=True)` gives them.


class _Select(PyLayer):
    """The rows of x, by quarters, where each `choice` is 1; linear, and the transpose of `_Unselect`."""

    @staticmethod
    def forward(ctx, needs, x, choices):
        ctx.choices, ctx.rows = choices, x.shape[1]
        size = choices[0].shape[1]
        return paddle.add_n([x[:, k * size:(k + 1) * size] * choice for k, choice in enumerate(choices)])

    @staticmethod
    def backward(ctx, g):
        return _apply(_Unselect, g, choices=ctx.choices, rows=ctx.rows)


class _Unselect(PyLayer):
    @staticmethod
    def forward(ctx, needs, g, choices, rows):
        ctx.choices = choices
        rest = paddle.zeros([g.shape[0], rows - 4 * g.shape[1], g.shape[2]], g.dtype)
        return paddle.concat([g * choice for choice in choices] + [rest], axis=1)

    @staticmethod
    def backward(ctx, x):
        return _apply(_Select, x, choices=ctx.choices)


def max_pool(x: Tensor, height: int, width: int, images: int) -> Tensor:
    """The largest of each 2x2 window, [T, (height // 2) * (width // 2) * N, C]; of equal ones the first, as blank paper has many."""
    size = height // 2 * (width // 2) * images
    corners = [x[:, k * size:(k + 1) * size].detach() for k in range(4)]
    largest = paddle.maximum(paddle.maximum(corners[0], corners[1]), paddle.maximum(corners[2], corners[3]))
    choices, free = [], paddle.ones_like(largest)
    for corner in corners:
        choices.append(free * (corner == largest).astype(x.dtype))
        free = free - choices[-1]
    return _apply(_Select, x, choices=choices)


# Losses.


def log_softmax(scores: Tensor) -> Tensor:
    """Over the last axis. exp(z) is written elu(z) + 1, its equal for z <= 0, since exp has no second gradient in Paddle 2.6."""
    z = scores - scores.detach().max(axis=-1, keepdim=True)
    return z - paddle.log((F.elu(z) + 1).sum(axis=-1, keepdim=True))


def cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """scores [T, N, way], labels [T, N] int -> mean over the N images, [T]."""
    target = F.one_hot(labels, scores.shape[-1]).astype(scores.dtype)
    return -(target * log_softmax(scores)).sum(axis=-1).mean(axis=-1)


def accuracy(scores: Tensor, labels: Tensor) -> Tensor:
    """scores [T, N, way], labels [T, N] int -> the share whose own class scores highest, [T] float32; a tie is a miss."""
    own = F.one_hot(labels, scores.shape[-1]).astype("bool")
    rival = paddle.where(own, paddle.full_like(scores, -float("inf")), scores).max(axis=-1)
    return (paddle.take_along_axis(scores, labels.unsqueeze(-1), axis=-1).squeeze(-1) > rival).astype("float32").mean(axis=-1)


# Vector algebra over parameter lists.


def descend(params: Sequence[Tensor], gradients: Sequence[Tensor], rate: float) -> list[Tensor]:
    """theta - rate * gradient"""
    return [p - rate * g for p, g in zip(params, gradients)]


def for_each_task(params: Sequence[Tensor], tasks: int) -> list[Tensor]:
    """theta, [...] each -> a copy for every task, [T, ...] each, to be differentiated by task."""
    return leaves([paddle.tile(p.detach().unsqueeze(0), [tasks] + [1] * p.ndim) for p in params])


def mean_over_tasks(params: Sequence[Tensor]) -> list[Tensor]:
    """[T, ...] each -> [...] each"""
    return [p.mean(axis=0) for p in params]


def leaves(params: Sequence[Tensor]) -> list[Tensor]:
    """The same values, cut from their graph, to be differentiated anew."""
    cut = [p.detach() for p in params]
    for p in cut:
        p.stop_gradient = False
    return cut


def norm(params: Sequence[Tensor]) -> float:
    """Euclidean norm of all of them together."""
    return float(np.sqrt(sum((p * p).sum().item() for p in params)))


def clip_by_task(gradients: Sequence[Tensor], largest: float) -> list[Tensor]:
    """[T, ...] each -> the same, a task's gradient scaled down where its norm over all of them exceeds `largest`."""
    squares = paddle.add_n([(g * g).flatten(1).sum(axis=1) for g in gradients])  # [T]
    scale = paddle.clip(largest / (paddle.sqrt(squares) + 1e-12), max=1.0)
    return [g * scale.reshape([-1] + [1] * (g.ndim - 1)) for g in gradients]


def in_parts(f: Callable, size: int, *batches):
    """f(*batches) computed `size` tasks at a time. Tensors and lists of them, [T, ...] each, both in and out."""
    def slices(batch, part):
        return [p[part] for p in batch] if isinstance(batch, (list, tuple)) else batch[part]

    def joined(results):
        if isinstance(results[0], (list, tuple)):
            return [joined(r) for r in zip(*results)]
        return paddle.concat(results) if len(results) > 1 else results[0]

    tasks = batches[-1].shape[0]
    return joined([f(*(slices(batch, slice(i, i + size)) for batch in batches)) for i in range(0, tasks, size)])
