"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from maml.system.errors import UserError


def write(contents: Mapping[Path, Callable[[BinaryIO], Any]]) -> None:
    """Write each file by the function that is given it open, beside its place, and put all in place
    when the last is whole.

    Raises `UserError` where that fails, as on a full disk; what stood there before is untouched.
    """
    beside = {path: path.with_name(f".{path.name}.part") for path in contents}
    try:
        for path, fill in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(beside[path], "wb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
        for path, part in beside.items():
            os.replace(part, path)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({reason(error)}); what stood there before is untouched"
        ) from None
    finally:  # after an error, or Ctrl-C
        for part in beside.values():
            with contextlib.suppress(OSError):  # a disk that may only be read
                part.unlink(missing_ok=True)


def reason(error: OSError) -> str:
    """Why the system refused, in words."""
    return (
        "no space left on the disk" if error.errno == errno.ENOSPC else error.strerror or str(error)
    )
