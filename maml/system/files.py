"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from maml.system.errors import UserError

FILE_SERVER_AHEAD = 60 * 10**9  # nanoseconds, by which its clock may differ from this machine's


def write(contents: Mapping[Path, Callable[[BinaryIO], Any]]) -> None:
    """Write several files so that either all of them appear, or none.

    Each file is first written to a temporary file in the same folder. When all are complete, they
    are renamed.

    Args:
        contents (Mapping[Path, Callable[[BinaryIO], Any]]): for each path, the function that
            writes its content to an open file.

    Raises:
        UserError: if a file cannot be written, for example on a full disk. The files that existed
            before are untouched.
    """
    temporary = {path: path.with_name(f".{path.name}.part") for path in contents}
    try:
        for path, fill in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary[path], "wb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
        for path, part in temporary.items():
            _replace(part, path)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({reason(error)}); what was there before is untouched"
        ) from None
    finally:  # after an error, or Ctrl-C
        for part in temporary.values():
            with contextlib.suppress(OSError):  # the disk may be read-only
                part.unlink(missing_ok=True)


def is_in_future(modified: int) -> bool:
    """Whether a file's time, in nanoseconds, is that of a clock that has been put back since."""
    return modified > time.time_ns() + FILE_SERVER_AHEAD


def _replace(part: Path, path: Path) -> None:
    """Rename a file; on Windows, wait for a program that reads the one in its place."""
    for seconds in (0.05, 0.1, 0.2, 0.4, 0.8):
        with contextlib.suppress(PermissionError):
            os.replace(part, path)
            return
        time.sleep(seconds)
    os.replace(part, path)


@contextlib.contextmanager
def writable_home() -> Iterator[None]:
    """Let a folder that goes again stand in for the home, if nothing can be written there.

    VisualDL writes settings to the home when it is imported.
    """
    if os.access(Path.home(), os.W_OK):
        yield
        return
    before = os.environ.get("HOME")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HOME"] = folder
        try:
            yield
        finally:
            del os.environ["HOME"]
            if before is not None:
                os.environ["HOME"] = before


def reason(error: OSError) -> str:
    """Return the reason of an operating system's error in words."""
    if error.errno == errno.ENOSPC:
        return "no space left on the disk"
    return error.strerror or str(error)
