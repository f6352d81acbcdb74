"""The index of a folder of weights: what all of them reached on the same validation tasks.

`index.json` beside the weights is written by `python -m maml table`. A record is bound to its
weights by their SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from maml.system import files
from maml.system.errors import UserError

INDEX_FILE = "index.json"
TASKS = ((5, 1), (5, 5), (20, 1), (20, 5))
"""ways and shots that weights are judged on; others are taken for the nearest of these"""


class Judged(NamedTuple):
    """What weights reach on validation tasks of one way and shot, and what their scores are worth.

    Args:
        way, shot (int): classes, and support images of each.
        tasks (int): the number of tasks.
        accuracy (float): of their queries, 0 to 1.
        temperature (float): what scores are divided by before the softmax.
        quantiles (list[float]): nearness of members, see `calibration.quantiles`.
    """

    way: int
    shot: int
    tasks: int
    accuracy: float
    temperature: float
    quantiles: list[float]

    @property
    def at_least(self) -> float:
        """The lower end of the 95% interval of the accuracy (Wilson 1927), to compare weights by.

        Weights judged on few tasks are the most accurate by luck more often than others.
        """
        n, z = self.tasks * self.way, 1.96  # a query of each class
        p = self.accuracy
        spread = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
        return (p + z**2 / (2 * n) - spread) / (1 + z**2 / n)


class Strangers(NamedTuple):
    """How well weights tell strangers, queries of classes outside of a task, on test characters.

    Args:
        way, shot (int): classes, and support images of each.
        tasks (int): the number of tasks; half of the queries are strangers.
        area (float): under the curve of the receiver operating characteristic, by nearness.
        refused (float): share of strangers that `reject=0.05` refuses.
        lost (float): share of members that it refuses.
        error (float): expected calibration error of the members' probabilities.
        error_before (float): the same without a temperature.
    """

    way: int
    shot: int
    tasks: int
    area: float
    refused: float
    lost: float
    error: float
    error_before: float


class Record(NamedTuple):
    """What the index says of one file of weights.

    Args:
        sha256 (str): of the file.
        judged (list[Judged]): on validation characters.
        strangers (list[Strangers]): on test characters, of the best weights of each method.
    """

    sha256: str
    judged: list[Judged]
    strangers: list[Strangers]


def read_records(folder: Path) -> dict[str, Record]:
    """Return the record of each name of weights in a folder; there are none without an index."""
    path = folder / INDEX_FILE
    if not path.is_file():
        return {}
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
        return {
            name: Record(
                r["sha256"],
                [Judged(**judged) for judged in r["judged"]],
                [Strangers(**told) for told in r["strangers"]],
            )
            for name, r in stated.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"{path}: is no index of weights; remove it, or write it again by python -m maml table"
        ) from None


def write_records(folder: Path, records: dict[str, Record]) -> None:
    """Write the index of a folder, with a line for each kind of tasks."""

    def lines(found: Sequence[Judged] | Sequence[Strangers]) -> str:
        return "[" + ",".join(f"\n    {json.dumps(each._asdict())}" for each in found) + "]"

    blocks = [
        f' {json.dumps(name)}: {{\n  "sha256": {json.dumps(record.sha256)},\n'
        f'  "judged": {lines(record.judged)},\n  "strangers": {lines(record.strangers)}\n }}'
        for name, record in sorted(records.items())
    ]
    text = "{\n" + ",\n".join(blocks) + "\n}\n"
    files.write({folder / INDEX_FILE: lambda file: file.write(text.encode())})


def record_of(path: Path, index: dict[str, Record] | None = None) -> Record:
    """Return what the index says of a file of weights; nothing if it is of another file.

    `index` is that of the file's folder, where it has been read already.
    """
    found = (read_records(path.parent) if index is None else index).get(path.stem)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return found if found and found.sha256 == digest else Record(digest, [], [])


def judged_of(path: Path, records: dict[str, Record] | None = None) -> list[Judged]:
    """Return what a file of weights was judged on; nothing where the index does not know it.

    `records` are those of the file's folder, where they have been read already.
    """
    records = read_records(path.parent) if records is None else records
    return record_of(path, records).judged if path.stem in records else []


def nearest(judged: Sequence[Judged], way: int, shot: float) -> Judged | None:
    """Return what was judged on the tasks nearest to these, by the ratios of ways and of shots."""

    def distance(j: Judged) -> float:
        return abs(math.log(j.way / way)) + abs(math.log(j.shot / shot))

    return min(judged, key=distance, default=None)
