"""Checkpoints: a pickle of builtins and NumPy arrays, written atomically, read by an allow-list so that nothing is executed."""

from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from maml.errors import UserError

FORMAT = 1

_ALLOWED = {("numpy", "ndarray"), ("numpy", "dtype"), ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"), ("numpy.core.numeric", "_frombuffer"),
            ("numpy._core.numeric", "_frombuffer")}


class _Unpickler(pickle.Unpickler):
    """Finds nothing but what a plain NumPy array is made of; containers, numbers and strings need no finding."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is neither a builtin value nor a NumPy array")
        return super().find_class(module.replace("numpy._core", "numpy.core") if np.__version__ < "2" else module, name)


def save(state: dict[str, Any], path: str | Path) -> None:
    """Write `state` (builtins and NumPy arrays) to `path` by writing beside it and renaming."""
    path = Path(path)
    beside = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(beside, "wb") as file:
            pickle.dump({"format": FORMAT, **state}, file, protocol=4)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        reason = "no space left on the disk" if error.errno == errno.ENOSPC else error.strerror
        raise UserError(f"{path}: cannot be written ({reason}); what stood there before is untouched") from None


def load(path: str | Path) -> dict[str, Any]:
    """Read what `save` wrote; a `UserError` for anything else."""
    try:
        with open(path, "rb") as file:
            state = _Unpickler(file).load()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except Exception as error:  # a damaged pickle can raise nearly anything; none of it is ours to pass on
        raise UserError(f"{path}: is not a checkpoint of this project ({error})") from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise UserError(f"{path}: is not a checkpoint of this project (format {FORMAT})")
    return state
