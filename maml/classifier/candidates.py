"""What a search for weights knows of each file: its description, with which the file begins.

Files of earlier versions lack it, and reading them takes milliseconds, so a folder with many of
them gets an index of their descriptions. What the index says of a file counts only while the file
has the same size, inode and times. Without an index, or where it is damaged or cannot be written,
these files are read as a whole.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maml.config import Config, stored
from maml.system import safe_pickle
from maml.system.errors import UserError
from maml.training.checkpoint import Checkpoint, read, serves

INDEX = ".candidates.json"
MANY = 100
"""files without a description that a search has to read before it writes the index anew"""


@dataclass(frozen=True)
class Candidate:
    """A file of weights, as far as a search looks at it.

    Args:
        path (Path): the file.
        config (Config): the settings of its training.
        source (str): where the drawings came from that it was trained on.
        split (str): how these were split.
        image_size (int): side of the images, in pixels.
        accuracy (float): the best on validation tasks.
        modified (int): when the file was written, in nanoseconds.
    """

    path: Path
    config: Config
    source: str
    split: str
    image_size: int
    accuracy: float
    modified: int

    def serves(self, way: int) -> bool:
        """Whether these weights can tell `way` classes apart."""
        return serves(self.config, way)

    def read(self) -> Checkpoint:
        """Return the checkpoint."""
        return read(self.path)


def in_folder(folder: Path) -> tuple[list[Candidate], list[str]]:
    """Return the candidates in a folder, by name, and why other files are none, a sentence each."""
    known, entries, found, passed_over = _read_index(folder), {}, [], []
    for file in sorted(folder.glob("*.pkl")):
        try:
            stamp = _stamp(file)
            candidate = _stated(file, stamp, safe_pickle.describe(file))
            if candidate is None:
                candidate, entries[file.name] = _without_description(
                    file, stamp, known.get(file.name)
                )
        except UserError as error:
            passed_over.append(str(error))
            continue
        found.append(candidate)
    if sum(known.get(name) != entry for name, entry in entries.items()) >= MANY:
        _write_index(folder, entries)
    return found, passed_over


def first(ranked: Iterable[Candidate], passed_over: list[str]) -> Checkpoint | None:
    """Return the first checkpoint that is whole, and add to `passed_over` why those before are not.

    None is returned where there is none: a description says nothing of the rest of its file.
    """
    for candidate in ranked:
        try:
            return candidate.read()
        except UserError as error:
            passed_over.append(str(error))
    return None


def _stamp(file: Path) -> list[int]:
    """What changes when a file's content does, in whatever way it is written or replaced."""
    try:
        status = file.stat()
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from None
    return [status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino]


def _without_description(file: Path, stamp: list[int], entry: Any) -> tuple[Candidate, dict]:
    """Return the candidate of a file of an earlier version, and its entry of the index.

    The file is read where `entry` is of another state of it, or is no entry.
    """
    if isinstance(entry, dict) and entry.get("stamp") == stamp:
        if candidate := _stated(file, stamp, entry):
            return candidate, entry
    trained = read(file)
    data = trained.data
    of_data = data.source, data.split, data.image_size
    candidate = Candidate(file, trained.config, *of_data, trained.accuracy, stamp[0])
    return candidate, {"stamp": stamp, **trained.description()}


def _stated(file: Path, stamp: list[int], description: Any) -> Candidate | None:
    """The candidate of a file with this description; None where it is no description."""
    try:
        of_data = (
            str(description["source"]),
            str(description["split"]),
            int(description["image_size"]),
        )
        config = stored(description["config"], str(file))
        return Candidate(file, config, *of_data, float(description["accuracy"]), stamp[0])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, UserError):
        return None


def _read_index(folder: Path) -> dict[str, Any]:
    try:
        entries = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _write_index(folder: Path, entries: dict[str, Any]) -> None:
    """Write the index, if the folder can be written; several searches may do so at once."""
    part = folder / f"{INDEX}.{uuid.uuid4().hex}.part"
    with contextlib.suppress(OSError):
        try:
            part.write_text(json.dumps(entries), encoding="utf-8")
            os.replace(part, folder / INDEX)
        finally:
            part.unlink(missing_ok=True)
