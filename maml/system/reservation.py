"""Reserving a name for a process: a file that at most one living process has made."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
import uuid
from pathlib import Path
from typing import Any

from maml.system import files
from maml.system.errors import UserError

PROCESS_QUERY_LIMITED_INFORMATION = 0x1000


def reserve(path: Path) -> bool:
    """Make the file at `path` this process's, unless a living process has it.

    A process that died leaves its file behind; the next one takes it over. The file is linked into
    place under a name that nobody else uses, which is atomic on network file systems too.

    Raises:
        UserError: if the folder cannot be written.
    """
    mine = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mine.write_text(json.dumps(_identity(os.getpid())), encoding="utf-8")
    except OSError as error:
        with contextlib.suppress(OSError):
            mine.unlink(missing_ok=True)
        raise UserError(
            f"{path.parent}: cannot be written ({files.reason(error)}); name another folder by "
            "--logdir"
        ) from None
    try:
        if _place(mine, path):
            return True
        if is_alive(path):
            return False
        dead = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
        with contextlib.suppress(FileNotFoundError):  # another process takes it over now
            os.rename(path, dead)
            if is_alive(dead):  # another process has taken it over since
                _place(dead, path)
            dead.unlink()
        return _place(mine, path)
    finally:
        mine.unlink(missing_ok=True)


def _place(mine: Path, path: Path) -> bool:
    """Put a file at `path` unless there is one."""
    try:
        os.link(mine, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        with contextlib.suppress(FileExistsError), open(path, "x", encoding="utf-8") as file:
            file.write(mine.read_text(encoding="utf-8"))
            return True
        return False
    return True


def release(path: Path) -> None:
    """Remove the file at `path` if it is this process's."""
    if _read(path) == _identity(os.getpid()):
        with contextlib.suppress(OSError):
            path.unlink()


def owner(path: Path) -> str:
    """Return the process that made the file, in words."""
    stated = _read(path)
    return f"process {stated.get('process')} on {stated.get('host')}"


def is_alive(path: Path) -> bool:
    """Whether the process that made the file is running; on another machine it is taken to be."""
    stated = _read(path)
    process = stated.get("process")
    if not isinstance(process, int):
        return False  # an unfinished or damaged file
    if stated.get("host") != socket.gethostname():
        return True
    return _identity(process) == stated and _runs(process)


def _runs(process: int) -> bool:
    if os.name == "nt":  # where signal 0 is Ctrl-C
        kernel = ctypes.windll.kernel32  # type: ignore[attr-defined]
        handle = kernel.OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, False, process)
        return bool(handle and kernel.CloseHandle(handle))
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def _identity(process: int) -> dict[str, Any]:
    """A process, its machine, and where the system tells it when it started: numbers come again."""
    started = ""
    with contextlib.suppress(OSError, IndexError):
        status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        started = status.rpartition(")")[2].split()[19]
    return {"process": process, "host": socket.gethostname(), "started": started}


def _read(path: Path) -> dict[str, Any]:
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stated if isinstance(stated, dict) else {}
