"""Random streams that do not overlap, one for each purpose."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What a generator is for. Every published figure depends on these numbers."""

    WEIGHTS = 0
    TRAINING = 1
    VALIDATION = 2
    DISTORTIONS = 3
    TEST = 4
    PROGRESS = 5
    STRANGERS = 6
    MASKS = 7


def generator(seed: int, stream: Stream, *more: int) -> np.random.Generator:
    """Return the generator of a seed and a purpose (and further numbers, such as an iteration)."""
    return np.random.default_rng([seed, int(stream), *more])
