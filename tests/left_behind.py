"""What tests leave on the machine: processes, ports, temporary files, shared memory."""

from __future__ import annotations

import contextlib
import os
import shutil
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
LISTENING = "0A"  # in the kernel's table


class Watch:
    """What there is at a moment; later, what programs have left that were started with `marks`.

    Args:
        folder (Path | None): where their folder of temporary files is made; None for the usual one.
    """

    def __init__(self, folder: Path | None = None):
        self.temporary = Path(tempfile.mkdtemp(dir=folder))
        self.marks = {"TMPDIR": str(self.temporary), MARK: uuid.uuid4().hex}
        self.shared = _names(SHARED)

    def left(self) -> list[str]:
        """What they have left, a phrase for each kind; their temporary files are removed."""
        stated = f"{MARK}={self.marks[MARK]}".encode()
        found = {
            "processes": _in_the_end(lambda: _processes(stated)),
            "shared memory": _in_the_end(lambda: _unused(_names(SHARED) - self.shared)),
            "temporary files": _names(self.temporary) - OWN,
        }
        shutil.rmtree(self.temporary, ignore_errors=True)
        return [f"{kind}: {', '.join(sorted(names))}" for kind, names in found.items() if names]


@contextlib.contextmanager
def nothing(folder: Path) -> Iterator[None]:
    """Fail if processes that are started within leave one of them, and so a port that it listens
    on, a temporary file, a segment of shared memory, or half of a file or a lock in `folder`.
    """
    watch = Watch(folder)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in watch.marks.items():
            patch.setenv(name, value)
        yield
    assert watch.left() == []
    assert {*folder.rglob("*.part"), *folder.rglob("running.json")} == set()


class OfSession:
    """A plugin that fails a session of pytest whose tests leave anything, in whichever process."""

    def __init__(self, config: pytest.Config):
        self.config, self.left = config, []
        self.sent = getattr(config, "workeroutput", None)  # what a worker of xdist sends at its end
        self.watch = None

    @pytest.hookimpl(tryfirst=True)  # the workers of xdist inherit the marks
    def pytest_sessionstart(self):
        if self.sent is None:
            os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
            self.watch = Watch()
            os.environ.update(self.watch.marks)
            tempfile.tempdir = None  # so that TMPDIR is read again

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node, error):
        self.left += getattr(node, "workeroutput", {}).get(MARK, [])

    @pytest.hookimpl(wrapper=True, tryfirst=True)  # around all others, so that workers have ended
    def pytest_sessionfinish(self, session):
        if ports := listening():
            self.left.append(f"ports: {', '.join(sorted(ports))}")
        if self.watch is None:
            self.sent[MARK] = self.left
            return (yield)
        result = yield
        self.left += self.watch.left()
        if self.left:
            lines = self.config.get_terminal_writer()
            lines.line(f"\nThe tests left behind {'; '.join(self.left)}", red=True)
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        return result


def listening() -> set[str]:
    """The ports on which this process listens."""
    sockets, found = set(), set()
    for file in Path("/proc/self/fd").glob("*"):
        with contextlib.suppress(OSError):
            sockets.add(os.readlink(file))
    for table in Path("/proc/self/net").glob("tcp*"):
        for line in table.read_text().splitlines()[1:]:
            _, address, _, state, *_, number = line.split()[:10]
            if state == LISTENING and f"socket:[{number}]" in sockets:
                found.add(str(int(address.rpartition(":")[2], 16)))
    return found


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
