"""Functions of PaddlePaddle that lack a second derivative, made of operations that have one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import Tensor
from paddle.autograd import PyLayer


class _Exp(PyLayer):
    """exp, whose derivative PaddlePaddle 2.6 does not differentiate."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return paddle.exp(x)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensor()
        return g * _Exp.apply(x)


class _Erf(PyLayer):
    """The error function, whose derivative is 2 / sqrt(pi) exp(-x^2)."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return paddle.erf(x)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensor()
        return g * _Exp.apply(-x * x) * (2 / math.sqrt(math.pi))


def exp(x: Tensor, name: Any = None) -> Tensor:
    """Return e to the power of x."""
    return _Exp.apply(x)


def erf(x: Tensor, name: Any = None) -> Tensor:
    """Return the error function of x."""
    return _Erf.apply(x)


def gelu(x: Tensor, approximate: bool = False) -> Tensor:
    """Return x Phi(x) (Hendrycks & Gimpel 2016), or its approximation by tanh."""
    if approximate in (True, "tanh"):
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)
        return 0.5 * x * (1 + paddle.tanh(inner))
    return 0.5 * x * (1 + erf(x * math.sqrt(0.5)))


def softmax(x: Tensor, axis: int = -1, **_: Any) -> Tensor:
    """Return the softmax over an axis."""
    return _Exp.apply(log_softmax(x, axis))


def log_softmax(x: Tensor, axis: int = -1, **_: Any) -> Tensor:
    """Return the logarithm of the softmax over an axis."""
    z = x - x.detach().max(axis=axis, keepdim=True)
    return z - paddle.log(_Exp.apply(z).sum(axis=axis, keepdim=True))


def logsumexp(x: Tensor, axis: Any = None, keepdim: bool = False, name: Any = None) -> Tensor:
    """Return the logarithm of the sum of exponentials over some axes."""
    most = x.detach().max(axis=axis, keepdim=True)
    sums = paddle.log(_Exp.apply(x - most).sum(axis=axis, keepdim=True)) + most
    return sums if keepdim else sums.reshape(most.max(axis=axis).shape)


def relu6(x: Tensor) -> Tensor:
    """Return x between 0 and 6."""
    return x.clip(0.0, 6.0)


def hardtanh(x: Tensor, min: float = -1.0, max: float = 1.0) -> Tensor:
    """Return x between `min` and `max`."""
    return x.clip(min, max)


def hardsigmoid(x: Tensor, slope: float = 1 / 6, offset: float = 0.5) -> Tensor:
    """Return slope x + offset between 0 and 1."""
    return (x * slope + offset).clip(0.0, 1.0)


def hardswish(x: Tensor) -> Tensor:
    """Return x times x / 6 + 1/2 between 0 and 1 (Howard et al. 2019)."""
    return x * hardsigmoid(x)


def swish(x: Tensor) -> Tensor:
    """Return x sigmoid(x)."""
    return F.silu(x)


def mish(x: Tensor) -> Tensor:
    """Return x tanh(softplus(x)) (Misra 2019)."""
    return x * paddle.tanh(F.softplus(x))


def selu(
    x: Tensor,
    scale: float = 1.0507009873554804934193349852946,
    alpha: float = 1.6732632423543772848,
) -> Tensor:
    """Return the scaled exponential linear unit (Klambauer et al. 2017)."""
    return scale * (F.relu(x) + alpha * F.elu(-F.relu(-x)))


def softsign(x: Tensor) -> Tensor:
    """Return x / (1 + |x|)."""
    return x / (1 + x.abs())


def tanhshrink(x: Tensor) -> Tensor:
    """Return x - tanh(x)."""
    return x - paddle.tanh(x)


def log_sigmoid(x: Tensor) -> Tensor:
    """Return log(sigmoid(x))."""
    return -F.softplus(-x)


def reciprocal(x: Tensor, name: Any = None) -> Tensor:
    """Return 1 / x."""
    return 1.0 / x


def dot(x: Tensor, y: Tensor, name: Any = None) -> Tensor:
    """Return the dot products of vectors."""
    return (x * y).sum(axis=-1)


def bmm(x: Tensor, y: Tensor, name: Any = None) -> Tensor:
    """Return the products of two batches of matrices."""
    return paddle.matmul(x, y)


def stack(x: Sequence[Tensor], axis: int = 0, name: Any = None) -> Tensor:
    """Return tensors one beside the other along a new axis."""
    return paddle.concat([tensor.unsqueeze(axis) for tensor in x], axis)


def normalize(x: Tensor, p: float = 2, axis: int = 1, epsilon: float = 1e-12, **_: Any) -> Tensor:
    """Return x over its Euclidean norm along an axis."""
    if p != 2:
        raise ValueError("normalize has a second derivative for p=2 alone")
    return x * paddle.rsqrt((x * x).sum(axis=axis, keepdim=True).clip(min=epsilon**2))


def moments(x: Tensor, axes: list[int], epsilon: float) -> Tensor:
    """Return x with mean 0 and variance 1 over some axes."""
    centred = x - x.mean(axis=axes, keepdim=True)
    variance = (centred * centred).mean(axis=axes, keepdim=True)
    return centred * paddle.rsqrt(variance + epsilon)


def dropout(
    x: Tensor,
    p: float = 0.5,
    axis: Any = None,
    training: bool = True,
    mode: str = "upscale_in_train",
    **_: Any,
) -> Tensor:
    """Return x with a share p of its values zero, and the others scaled; one mask a call."""
    upscale = mode == "upscale_in_train"
    if not training or p == 0:
        return x if upscale else x * (1 - p)
    shape = list(x.shape)
    if axis is not None:
        kept = [axis] if isinstance(axis, int) else list(axis)
        shape = [n if i in kept else 1 for i, n in enumerate(shape)]
    mask = (paddle.rand(shape) >= p).astype(x.dtype)
    return x * mask / (1 - p) if upscale else x * mask


def dropout_of_channels(x: Tensor, p: float = 0.5, training: bool = True, **_: Any) -> Tensor:
    """Return x [N, C, ...] with a share p of its channels zero, and the others scaled."""
    return dropout(x, p, [0, 1], training)


def interpolate(
    x: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", **options: Any
) -> Tensor:
    """Return images [N, C, H, W] of another size, as a product with a matrix for each axis."""
    of_paddle: Any = F.interpolate
    if x.ndim != 4:
        return of_paddle(x, size, scale_factor, mode, **options)

    def resized(axis: int) -> Tensor:  # the unit vectors, as images of one column
        length = x.shape[axis + 2]
        columns = paddle.eye(length, dtype=x.dtype).reshape([length, 1, length, 1])
        out = None if size is None else [_of_axis(size, axis), 1]
        scale = None if scale_factor is None else [_of_axis(scale_factor, axis), 1]
        return of_paddle(columns, out, scale, mode, **options).reshape([length, -1])

    return paddle.matmul(paddle.matmul(resized(0), x, transpose_x=True), resized(1))


def _of_axis(value: Any, axis: int) -> Any:
    return value[axis] if isinstance(value, (list, tuple)) else value


def flatten(x: Tensor, start_axis: int = 0, stop_axis: int = -1, **_: Any) -> Tensor:
    """Return x with some consecutive axes as one."""
    start, stop = start_axis % x.ndim, stop_axis % x.ndim
    return x.reshape([*x.shape[:start], -1, *x.shape[stop + 1 :]])


def cross_entropy(
    input: Tensor,
    label: Tensor,
    soft_label: bool = False,
    axis: int = -1,
    reduction: str = "mean",
    **_: Any,
) -> Tensor:
    """Return the cross-entropy of scores [..., way] against labels [...] or [..., 1]."""
    target = label
    if not soft_label:
        if label.ndim == input.ndim:
            label = label.squeeze(axis)
        target = F.one_hot(label, input.shape[axis]).astype(input.dtype)
    losses = -(target * log_softmax(input, axis)).sum(axis=axis)
    if reduction == "none":
        return losses
    return losses.mean(axis=list(range(losses.ndim))) if reduction == "mean" else losses.sum()
