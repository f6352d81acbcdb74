"""Checkpoints: a pickle of builtins and NumPy arrays, written atomically, read by allow-lists so
that nothing is executed.

Behind the pickle stands the SHA-256 of its bytes, which `pickle.load` does not read and `load`
does.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import pickletools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from maml.system import files
from maml.system.errors import UserError

FORMAT = 2
DIGEST = hashlib.sha256().digest_size

# What `save` writes consists of these operations and of the names in `_FOUND`. Others are refused
# before anything is done: some call what they are told to, and some ask for as much memory as they
# like.
_OPERATIONS = frozenset(
    """
    PROTO FRAME STOP MARK MEMOIZE BINGET LONG_BINGET STACK_GLOBAL REDUCE BUILD
    NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT
    SHORT_BINUNICODE BINUNICODE SHORT_BINBYTES BINBYTES BINBYTES8
    EMPTY_DICT SETITEM SETITEMS EMPTY_LIST APPEND APPENDS
    EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3""".split()
)
_NUMBERS = frozenset(["b1", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"])
DEEPEST, LARGEST = (
    20,
    5_000_000,
    # containers in containers, and values in all of them, of which a memo can make many out of few
    # bytes
)


class _Type:
    """Stands for `numpy.dtype` while a file is read: numbers and their byte order, and nothing else
    that NumPy's own can be told.
    """

    def __init__(self, name: str, align: bool = False, copy: bool = False):
        if name not in _NUMBERS:
            raise pickle.UnpicklingError(f"it holds an array of {name!r}, not of numbers")
        self.dtype = np.dtype(name)

    def __setstate__(self, state: tuple) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Stands for `numpy.ndarray` while a file is read, with the same state."""

    def __init__(self, *of_reconstruct: Any):
        self.array = np.zeros(0)

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, columns_first, data = state
        self.array = (
            np.frombuffer(data, kind.dtype)
            .reshape(shape, order="F" if columns_first else "C")
            .copy()
        )


_FOUND = {
    ("numpy", "ndarray"): None,
    ("numpy", "dtype"): _Type,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
}


class _Unpickler(pickle.Unpickler):
    """Finds what stands for a plain NumPy array, and nothing else; containers, numbers and strings
    need no finding.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _FOUND:
            raise pickle.UnpicklingError(
                f"it names {module}.{name}, which is neither a builtin value nor a NumPy array"
            )
        return _FOUND[module, name]


def _read(content: bytes) -> Any:
    """What is pickled in `content`: builtin values and arrays; an exception of any kind for
    anything else.
    """
    pickled = content[:-DIGEST]
    if hashlib.sha256(pickled).digest() != content[-DIGEST:]:
        raise pickle.UnpicklingError(
            "its checksum is not that of its contents: it is damaged or of another kind"
        )
    for operation, _, _ in pickletools.genops(pickled):
        if operation.name not in _OPERATIONS:
            raise pickle.UnpicklingError(f"it uses {operation.name}, which no checkpoint needs")
    values = 0

    def plain(value: Any, depth: int) -> Any:
        nonlocal values
        values += 1
        if depth > DEEPEST or values > LARGEST:
            raise pickle.UnpicklingError("it is nested too deeply, or too large")
        if type(value) is dict and all(type(key) is str for key in value):
            return {key: plain(v, depth + 1) for key, v in value.items()}
        if type(value) in (list, tuple):
            return type(value)([plain(v, depth + 1) for v in value])
        if type(value) is _Array:
            return value.array
        if type(value) in (str, int, float, bool, type(None)):
            return value
        raise pickle.UnpicklingError(
            f"it holds a {type(value).__name__} where no checkpoint has one"
        )

    return plain(_Unpickler(io.BytesIO(pickled)).load(), 0)


def save(state: dict[str, Any], path: str | Path) -> None:
    """Write `state` (builtins and NumPy arrays) to `path`, whole or not at all."""
    pickled = pickle.dumps({"format": FORMAT, **state}, protocol=4)
    files.write({Path(path): lambda file: file.write(pickled + hashlib.sha256(pickled).digest())})


def load(path: str | Path, kinds: Mapping[str, type] | None = None) -> dict[str, Any]:
    """Read what `save` wrote, with values of these `kinds` in it; a `UserError` for anything else,
    of which nothing is executed.
    """
    try:
        state = _read(Path(path).read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (
        Exception
    ) as error:  # a damaged pickle can raise nearly anything; none of it is ours to pass on
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path}: is not a checkpoint of this project ({reason or type(error).__name__})"
        ) from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise UserError(f"{path}: is not a checkpoint of this project (format {FORMAT})")
    for key, kind in (kinds or {}).items():
        if type(state.get(key)) is not kind:
            raise UserError(
                f"{path}: is not a checkpoint of train.py's for this, its {key!r} is no"
                f" {kind.__name__}"
            )
    return state
