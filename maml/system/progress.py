"""Progress of long work: a bar on a terminal, and elsewhere a line from time to time."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tqdm import tqdm

LINES_EVERY = 60.0  # seconds between two lines where there is no terminal for a bar


def duration(seconds: float) -> str:
    """Return seconds as hours, minutes and seconds, such as 1:02:03 or 2:03."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class Progress:
    """Show the progress of long work.

    Args:
        total (int): the number of steps.
        unit (str): what a step is, in the plural.
        done (int): steps that were done before.
        label (str): what the work is.
        say (Callable | None): a function that prints a line; by default to standard error.
    """

    def __init__(
        self,
        total: int,
        unit: str,
        done: int = 0,
        label: str = "",
        say: Callable[[str], None] | None = None,
    ):
        self.total, self.unit, self.label = total, unit, label
        self.done = self.done_before = done
        self.bar = tqdm(
            desc=label or None,
            total=total,
            initial=done,
            unit=f" {unit}",
            disable=None,
            dynamic_ncols=True,
        )
        # by the time of day, as tqdm has it, a clock that is put back would stop the bar
        self.bar._time = time.monotonic  # type: ignore[attr-defined]
        self.bar.start_t = self.bar.last_print_t = time.monotonic()
        self.say = say or (lambda text: print(text, file=sys.stderr, flush=True))
        self.began = self.last_line = time.monotonic()

    def step(self) -> None:
        """Count one more step."""
        self.done += 1
        self.bar.update(1)
        now = time.monotonic()
        if self.bar.disable and now - self.last_line > LINES_EVERY:
            rate = (self.done - self.done_before) / (now - self.began)
            left = duration((self.total - self.done) / rate)
            label = f"{self.label}: " if self.label else ""
            steps = f"{self.done}/{self.total} {self.unit}"
            self.say(f"{label}{steps}, {rate:.2f} a second, {left} left")
            self.last_line = now

    def close(self) -> None:
        """Remove the bar when the work has ended."""
        self.bar.close()


def watched(items: Iterable[Any], total: int, unit: str, label: str = "") -> Iterator[Any]:
    """Yield the items and show the progress on standard error.

    Args:
        items (Iterable): the items.
        total (int): the number of items.
        unit (str): what an item is, in the plural.
        label (str): what is done with the items.
    """
    progress = Progress(total, unit, label=label)
    for item in items:
        yield item
        progress.step()
    progress.close()
