"""What a test's processes leave on the machine after their end."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

MARK = "LEFT_BEHIND_BY"
SHARED = Path("/dev/shm")
PATIENCE = 5.0  # seconds, in which the kernel clears up
OWN = {".cache"}  # PaddlePaddle's, where it has no home


@contextlib.contextmanager
def nothing(folder: Path) -> Iterator[None]:
    """Fail if processes that are started within leave one of them, and so a port that it listens
    on, a temporary file, a segment of shared memory, or half of a file or a lock in `folder`.
    """
    temporary, mark = Path(tempfile.mkdtemp(dir=folder)), uuid.uuid4().hex
    shared = _names(SHARED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(temporary))
        patch.setenv(MARK, mark)
        yield
    assert _in_the_end(lambda: _processes(f"{MARK}={mark}".encode())) == set()
    assert _in_the_end(lambda: _unused(_names(SHARED) - shared)) == set()
    assert _names(temporary) - OWN == set()
    assert {*folder.rglob("*.part"), *folder.rglob("running.json")} == set()


def _in_the_end(left: Callable[[], set[str]]) -> set[str]:
    """What is left after some time."""
    until = time.monotonic() + PATIENCE
    while (found := left()) and time.monotonic() < until:
        time.sleep(0.05)
    return found


def _names(folder: Path) -> set[str]:
    return set(os.listdir(folder)) if folder.is_dir() else set()


def _processes(stated: bytes) -> set[str]:
    """The processes with this in their environment, which their children inherit."""
    found = set()
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if stated in environment.read_bytes().split(b"\0"):
                found.add(environment.parent.name)
    return found - {str(os.getpid())}


def _unused(segments: set[str]) -> set[str]:
    """Those of the segments that no process uses: other tests' processes may run beside this."""
    for maps in Path("/proc").glob("[0-9]*/maps") if segments else ():
        with contextlib.suppress(OSError):
            text = maps.read_text(errors="replace")
            segments = {name for name in segments if f"{SHARED}/{name}" not in text}
    return segments
