"""VisualDL's record files: continuing one where a run's saved state is.

VisualDL's page reads the newest file of a folder alone, so that a resumed run must write into the
file that it began with. After a kill, that file may hold points that are later than the saved
state; they are dropped, and the run writes them again.
"""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from maml.system import files

LENGTH = struct.Struct("<Q")  # before each record


def new_name(folder: Path) -> str:
    """Return the name of a new record file, which sorts after those in the folder.

    A run that died before it was saved leaves its own, and the clock may have been put back since.
    """
    latest, now = record_file(folder), int(time.time())
    stated = re.match(r"vdlrecords\.(\d+)", latest.name) if latest else None
    return f"vdlrecords.{max(now, int(stated[1]) + 1 if stated else now):010d}.log"


def record_file(folder: Path) -> Path | None:
    """Return the newest record file in a folder, if there is one."""
    found = sorted(folder.glob("vdlrecords.*.log"))
    return found[-1] if found else None


def drop_later(path: Path, iteration: int, summary: str) -> None:
    """Remove records of meta-iterations after `iteration`, and an unfinished last one.

    The points called `summary` go too: a run writes its own when it ends.
    """
    with files.writable_home():
        from visualdl.proto import record_pb2

    def kept() -> Iterator[bytes]:
        for data in _records(path):
            record = record_pb2.Record()
            record.ParseFromString(data)
            if all(v.id <= iteration and v.tag != summary for v in record.values):
                yield LENGTH.pack(len(data)) + data

    def write(file: BinaryIO) -> None:
        for record in kept():
            file.write(record)

    files.write({path: write})


def _records(path: Path) -> Iterator[bytes]:
    """The whole records of a file."""
    with open(path, "rb") as file:
        while len(header := file.read(LENGTH.size)) == LENGTH.size:
            (length,) = LENGTH.unpack(header)
            data = file.read(length)
            if len(data) < length:
                return
            yield data
