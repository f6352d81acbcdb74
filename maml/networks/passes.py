"""A forward pass of a user's layer: how the tasks lie in its tensors, and what these remember.

A layer sees the images of all tasks on its first axis, [T * N, ...], as paddle.nn has it. Layers
with weights look behind it: theirs are [T, ...], a set for each task. Convolutions and batch
normalisation compute on rows, [T, N * P, C]; what they return remembers its rows, so that the next
of them need not rearrange it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from paddle import Tensor

from maml import functional as fn

_TESTING: ContextVar[bool] = ContextVar("testing", default=False)


@contextmanager
def as_in_tests() -> Iterator[None]:
    """Run networks without the random masks of dropout."""
    token = _TESTING.set(True)
    try:
        yield
    finally:
        _TESTING.reset(token)


def testing() -> bool:
    """Whether networks run as in tests."""
    return _TESTING.get()


@dataclass
class Pass:
    """One forward pass: how the tasks lie in the tensors, and batch normalisation's statistics."""

    tasks: int
    twice: bool
    given: list[fn.Statistics | fn.Team] | None = None
    record: list[fn.Statistics] | None = None
    fixed: bool = False
    """whether nothing may be random: in tests, and where two ways to compute are compared"""
    normalised: int = field(default=0)
    """layers of batch normalisation that were passed"""

    def next_statistics(self) -> fn.Statistics | fn.Team | None:
        """The given statistics of the next layer of batch normalisation."""
        self.normalised += 1
        return None if self.given is None else self.given[self.normalised - 1]


def to_rows(x: Tensor, tasks: int) -> Tensor:
    """[T * N, C, ...] -> [T, N * P, C]"""
    rows = kept_rows(x)
    if rows is not None and rows.shape[0] == tasks:
        return rows
    images, channels = x.shape[:2]
    if x.ndim > 2:
        x = x.reshape([images, channels, -1]).transpose([0, 2, 1])
    return x.reshape([tasks, -1, channels])


def from_rows(rows: Tensor, images: int, size: Sequence[int]) -> Tensor:
    """[T, N * P, C] -> [T * N, C, *size], which remembers its rows."""
    channels = rows.shape[-1]
    x = rows.reshape([images, *size, channels])
    if size:
        x = x.transpose([0, len(size) + 1, *range(1, len(size) + 1)])
    with suppress(AttributeError):  # PaddlePaddle 2.6's tensors remember nothing: only slower
        x._rows = (rows, x.inplace_version)
    return x


def kept_rows(x: Any) -> Tensor | None:
    """The rows that a tensor remembers, unless it was changed in place since."""
    kept = getattr(x, "_rows", None)
    return kept[0] if kept is not None and kept[1] == x.inplace_version else None


def of_tasks(w: Tensor, axes: int) -> Tensor:
    """A layer's weights with a leading task axis, [T, ...] or [1, ...].

    Weights that adapt have it where all tasks run at once. Fixed ones, of `axes` axes, do not.
    """
    return w if w.ndim > axes else w.unsqueeze(0)


def elementwise(function: Callable) -> Callable:
    """A function of each element by itself, applied to a tensor's rows where it has some."""

    def on_rows(x: Tensor, *arguments: Any, **options: Any) -> Tensor:
        options.pop("name", None)
        if arguments and (arguments[-1] is None or isinstance(arguments[-1], str)):
            arguments = arguments[:-1]  # a name, which layers pass last
        rows = kept_rows(x)
        if rows is None:
            return function(x, *arguments, **options)
        return from_rows(function(rows, *arguments, **options), x.shape[0], x.shape[2:])

    return on_rows


def of_two(function: Callable) -> Callable:
    """A function of two tensors' elements, applied to their rows where both have some."""

    def on_rows(x: Any, y: Any, *arguments: Any, **options: Any) -> Any:
        a, b = kept_rows(x), kept_rows(y)
        if a is None or b is None or x.shape != y.shape or a.shape != b.shape:
            return function(x, y, *arguments, **options)
        return from_rows(function(a, b), x.shape[0], x.shape[2:])

    return on_rows
