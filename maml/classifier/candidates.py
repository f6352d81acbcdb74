"""What a search for weights knows of each file, which a folder's index keeps for the next search.

Reading a file of weights takes milliseconds, so a folder with many of them gets an index of their
descriptions. What the index says of a file counts only while the file has the same size, inode and
times. Without an index, or where it is damaged or cannot be written, the files themselves are read.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maml.config import Config, stored
from maml.system.errors import UserError
from maml.training.checkpoint import Checkpoint, read, serves, settings

INDEX = ".candidates.json"
MANY = 100
"""files that a search has to read before it writes the index anew"""


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
            candidate = _stated(file, stamp, known.get(file.name)) or _read(file, stamp)
        except UserError as error:
            passed_over.append(str(error))
            continue
        found.append(candidate)
        entries[file.name] = {
            "stamp": stamp,
            "config": settings(candidate.config),
            "source": candidate.source,
            "split": candidate.split,
            "image_size": candidate.image_size,
            "accuracy": candidate.accuracy,
        }
    if sum(known.get(name) != entry for name, entry in entries.items()) >= MANY:
        _write_index(folder, entries)
    return found, passed_over


def _stamp(file: Path) -> list[int]:
    """What changes when a file's content does, in whatever way it is written or replaced."""
    try:
        status = file.stat()
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from None
    return [status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino]


def _read(file: Path, stamp: list[int]) -> Candidate:
    trained = read(file)
    data = trained.data
    of_data = data.source, data.split, data.image_size
    return Candidate(file, trained.config, *of_data, trained.accuracy, stamp[0])


def _stated(file: Path, stamp: list[int], entry: Any) -> Candidate | None:
    """What an entry of the index says of a file; nothing where it is of another state of it."""
    try:
        if entry["stamp"] != stamp:
            return None
        of_data = str(entry["source"]), str(entry["split"]), int(entry["image_size"])
        config = stored(entry["config"], str(file))
        return Candidate(file, config, *of_data, float(entry["accuracy"]), stamp[0])
    except (KeyError, TypeError, ValueError, AttributeError, UserError):
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
