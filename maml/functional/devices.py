"""What depends on the device: how much is computed at once, and where index tables lie.

On a CPU, small parts stay in the processor's cache. On a GPU, each operation is a launch, so that
few large parts are quicker.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar

import paddle

ON_A_GPU = 16  # times as much at once as on a CPU
Made = TypeVar("Made", bound=Callable)


def at_once(size: int) -> int:
    """Return how many of what a CPU takes `size` of are computed at once."""
    return size if paddle.get_device() == "cpu" else ON_A_GPU * size


def remembered(most: int) -> Callable[[Made], Made]:
    """Return a decorator that keeps the last `most` tensors that a function made, by device.

    An index table that lies on another device would be copied at every use.
    """

    def decorate(make: Made) -> Made:
        @lru_cache(maxsize=most)
        def kept(device: str, *arguments: Any, **named: Any) -> Any:
            return make(*arguments, **named)

        @wraps(make)
        def made(*arguments: Any, **named: Any) -> Any:
            return kept(paddle.get_device(), *arguments, **named)

        return made  # type: ignore[return-value]

    return decorate
