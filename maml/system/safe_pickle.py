"""Checkpoint files: a pickle of builtin values and NumPy arrays, which can be read safely.

A file is written whole or not at all. Only operations and names on allow-lists are read, so that no
code in a file is ever executed. The pickle is followed by the SHA-256 of its bytes. `load` checks
this sum, which `pickle.load` ignores. A file may begin with a description, which `describe` reads
without the rest.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import pickle
import pickletools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from maml.system import files
from maml.system.errors import UserError

FORMAT = 2
DESCRIPTION = "description"
HEAD = 1 << 14  # bytes at the beginning of a file, which hold its description
DIGEST = hashlib.sha256().digest_size

# `save` writes only these operations and the names in `_FOUND`. All others are refused before
# anything is read: some would call any function that the file names, and some would allocate any
# amount of memory.
_OPERATIONS = frozenset(
    """
    PROTO FRAME STOP MARK MEMOIZE BINGET LONG_BINGET STACK_GLOBAL REDUCE BUILD
    NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT
    SHORT_BINUNICODE BINUNICODE SHORT_BINBYTES BINBYTES BINBYTES8
    EMPTY_DICT SETITEM SETITEMS EMPTY_LIST APPEND APPENDS
    EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3""".split()
)
_NUMBERS = frozenset(["b1", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"])
MAX_DEPTH = 20  # of containers within containers
# The number of values in all containers. Few bytes can stand for many values, since a pickle may
# refer to the same container many times.
MAX_VALUES = 5_000_000


class _Type:
    """A replacement of `numpy.dtype` while a file is read.

    It accepts the types of numbers and their byte order. NumPy's own class accepts much more.
    """

    def __init__(self, name: str, align: bool = False, copy: bool = False):
        if name not in _NUMBERS:
            raise pickle.UnpicklingError(f"it holds an array of {name!r}, not of numbers")
        self.dtype = np.dtype(name)

    def __setstate__(self, state: tuple) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """A replacement of `numpy.ndarray` while a file is read, with the same state."""

    def __init__(self, *of_reconstruct: Any):
        self.array = np.zeros(0)

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, columns_first, data = state
        order: Literal["F", "C"] = "F" if columns_first else "C"
        self.array = np.frombuffer(data, kind.dtype).reshape(shape, order=order).copy()


_FOUND = {
    ("numpy", "ndarray"): None,
    ("numpy", "dtype"): _Type,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
}


class _Unpickler(pickle.Unpickler):
    """An unpickler that finds the replacements of NumPy's classes, and no other class.

    Containers, numbers and strings are read without finding a class.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _FOUND:
            raise pickle.UnpicklingError(
                f"it names {module}.{name}, which is neither a builtin value nor a NumPy array"
            )
        return _FOUND[module, name]


def _read(content: bytes) -> Any:
    """Return the builtin values and arrays that are pickled in `content`.

    Any other content raises an exception, which can be of any class.
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
        if depth > MAX_DEPTH or values > MAX_VALUES:
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


def save(state: dict[str, Any], path: str | Path, description: Any = None) -> None:
    """Write a state to a file, whole or not at all.

    Args:
        state (dict[str, Any]): builtin values and NumPy arrays, in dicts, lists and tuples.
        path (str | Path): the file.
        description (Any): what `describe` returns, a few kilobytes of JSON's values; None for none.

    Raises:
        UserError: if the file cannot be written.
    """
    begin = {} if description is None else {DESCRIPTION: json.dumps(description)}
    pickled = pickle.dumps({"format": FORMAT, **begin, **state}, protocol=4)
    files.write({Path(path): lambda file: file.write(pickled + hashlib.sha256(pickled).digest())})


def describe(path: str | Path) -> Any:
    """Return the description at the beginning of a file, which `save` was given.

    The rest of the file is not read, so it may be damaged. None is returned where a file has no
    description, as those of earlier versions, or is none that `save` wrote.

    Raises:
        UserError: if the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    with contextlib.suppress(ValueError, TypeError, RecursionError):  # the head of any other file
        values = (value for _, value, _ in pickletools.genops(head) if value is not None)
        _, _, *beginning, text = itertools.islice(values, 6)  # behind protocol and frame
        if beginning == ["format", FORMAT, DESCRIPTION]:
            return json.loads(text)
    return None


def load(path: str | Path, kinds: Mapping[str, type] | None = None) -> dict[str, Any]:
    """Return the state that `save` wrote to a file, without executing any code in the file.

    Args:
        path (str | Path): the file.
        kinds (Mapping[str, type] | None): keys that the state must have, with the types of their
            values.

    Raises:
        UserError: if the file cannot be read, or is anything else.
    """
    try:
        state = _read(Path(path).read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except Exception as error:  # a damaged pickle can raise nearly any exception
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
    state.pop(DESCRIPTION, None)
    return state
