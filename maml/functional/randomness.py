"""PaddlePaddle's random numbers, which belong to the whole program."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import paddle


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from `seed`, and afterwards go on as if nothing had been drawn."""
    state = paddle.get_rng_state()
    paddle.seed(seed)
    try:
        yield
    finally:
        paddle.set_rng_state(state)
