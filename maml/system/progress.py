"""How far long work is: a bar with rate and time left on a terminal, elsewhere a line every so
often.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tqdm import tqdm

LINES_EVERY = 60.0  # seconds, where there is no terminal for a bar


def duration(seconds: float) -> str:
    """1:02:03 or 2:03"""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class Progress:
    """Of work in `total` units, `done` of which were done before; `say` takes the lines."""

    def __init__(
        self,
        total: int,
        unit: str,
        done: int = 0,
        label: str = "",
        say: Callable[[str], None] | None = None,
    ):
        self.total, self.unit, self.label, self.first, self.done = total, unit, label, done, done
        self.bar = tqdm(
            desc=label or None,
            total=total,
            initial=done,
            unit=f" {unit}",
            disable=None,
            dynamic_ncols=True,
        )
        self.say = say or (lambda text: print(text, file=sys.stderr, flush=True))
        self.began = self.said = time.monotonic()

    def step(self) -> None:
        """One more is done."""
        self.done += 1
        self.bar.update(1)
        now = time.monotonic()
        if self.bar.disable and now - self.said > LINES_EVERY:
            rate = (self.done - self.first) / (now - self.began)
            left = duration((self.total - self.done) / rate)
            self.say(
                f"{self.label}{': ' if self.label else ''}{self.done}/{self.total} {self.unit},"
                f" {rate:.2f} a second, {left} left"
            )
            self.said = now

    def close(self) -> None:
        """No more will be done."""
        self.bar.close()


def watched(items: Iterable[Any], total: int, unit: str, label: str = "") -> Iterator[Any]:
    """The items, one after the other, with progress on standard error."""
    progress = Progress(total, unit, label=label)
    for item in items:
        yield item
        progress.step()
    progress.close()
