import io
import sys
import time
from itertools import count

import pytest

from maml.system import progress


def test_durations():
    assert [progress.duration(s) for s in (0, 59.6, 61, 3723)] == [
        "0:00",
        "1:00",
        "1:01",
        "1:02:03",
    ]


@pytest.mark.parametrize("every, lines", [(-1.0, 3), (60.0, 0)])
def test_without_a_terminal_a_line_is_said_every_so_often(monkeypatch, capsys, every, lines):
    monkeypatch.setattr(progress, "LINES_EVERY", every)
    assert list(progress.watched("abc", 3, "letters", "reading")) == ["a", "b", "c"]
    said = capsys.readouterr().err.splitlines()
    assert len(said) == lines
    if lines:
        assert (
            said[0].startswith("reading: 1/3 letters, ")
            and said[0].endswith(" left")
            and said[-1].endswith("0:00 left")
        )


def test_what_was_done_before_does_not_count_for_the_rate(monkeypatch):
    monkeypatch.setattr(progress, "LINES_EVERY", -1.0)
    said = []
    counted = progress.Progress(100, "epochs", done=90, say=said.append)
    counted.began -= 10.0
    counted.step()
    assert said == ["91/100 epochs, 0.10 a second, 1:30 left"]


def test_a_bar_goes_on_when_the_clock_is_put_back(monkeypatch):
    """Of tqdm's own time, an hour would have to pass again."""
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    time_of_day, running = iter([5000.0, *[1400.0] * 20]), count(10_000)
    monkeypatch.setattr("tqdm.std.time", lambda: next(time_of_day))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(running)))
    counted = progress.Progress(10, "steps")
    counted.step()
    assert "1/10" in terminal.getvalue()
    counted.close()
