"""Operations that are differentiable any number of times, and algebra over lists of parameters.

PaddlePaddle's own convolution, batch normalisation, max-pooling and cross-entropy either raise in
the second differentiation or are slow in it (batch normalisation a thousand times slower than
forwards). The ones here are made of matrix products, gathers and element-wise operations, and they
treat a whole batch of tasks at once.

Layout: activations are `[T, P * N, C]`, a matrix of C-channel rows for each of T tasks; row `p * N
+ n` is of image n, at the p-th position in the order that `convolution.by_remainder` gives.
Channels lie next to each other in memory, so patches are gathered row by row (a copy of 256 bytes
each for 64 channels), and a convolution is a single matrix product for every task. Weights are `[T,
9 * C_in, C_out]`, row `tap * C_in + c`; per-channel vectors are `[T, 1, C]`. Operations whose name
ends in `_valid` have a layout of their own, see `strips`.

Sums over rows and their opposite, repeating a vector over rows, are products with a vector of ones:
on a CPU, Paddle's reduction and broadcasting over a middle axis take 10 to 40 times as long.
"""

from maml.functional.algebra import (
    apply_gradient,
    as_tensor,
    clip_by_task,
    descend,
    for_each_task,
    in_parts,
    leaves,
    mean_over_tasks,
)
from maml.functional.convolution import convolve, patches
from maml.functional.first_layer import (
    InputPatches,
    input_block,
    input_patches,
    pooled_input_block,
)
from maml.functional.losses import (
    accuracy,
    correct,
    cross_entropy,
    log_softmax,
    summed_cross_entropy,
)
from maml.functional.normalization import EPSILON, Statistics, batch_norm
from maml.functional.pooling import max_pool
from maml.functional.similarities import (
    SIMILARITIES,
    absolute_differences,
    cosine,
    negative_squared_distance,
    normalized,
)
from maml.functional.strips import convolve_valid, max_pool_valid
from maml.functional.team import Team

__all__ = [
    "EPSILON",
    "InputPatches",
    "SIMILARITIES",
    "Statistics",
    "Team",
    "absolute_differences",
    "accuracy",
    "apply_gradient",
    "as_tensor",
    "batch_norm",
    "clip_by_task",
    "convolve",
    "convolve_valid",
    "correct",
    "cosine",
    "cross_entropy",
    "descend",
    "for_each_task",
    "in_parts",
    "input_block",
    "input_patches",
    "leaves",
    "log_softmax",
    "max_pool",
    "max_pool_valid",
    "mean_over_tasks",
    "negative_squared_distance",
    "normalized",
    "patches",
    "pooled_input_block",
    "summed_cross_entropy",
]
