"""Which images and classes of people's own data are taken, and to which part lists assign them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from maml.data.folders import Item, from_csv, read_csv
from maml.data.splits import PARTS
from maml.system.errors import UserError


def kept(items: Sequence[Item], fewest: int) -> tuple[list[Item], int]:
    """Return the images of classes with at least `fewest`, and the number of the other classes."""
    counts = Counter(item.name for item in items if item.name)
    small = {name for name, count in counts.items() if count < fewest}
    return [item for item in items if item.name not in small], len(small)


def file_items(raw: Path, lists: Sequence[str]) -> list[Item]:
    """Return the images that three CSV files list: in `raw`, its folder images, or beside them."""
    folders = [raw, raw / "images", Path(lists[0]).parent, Path(lists[0]).parent / "images"]
    return from_csv([_found(path, raw) for path in lists], folders)


def listed_parts(lists: Sequence[str], names: Sequence[str], raw: Path) -> dict[str, list[str]]:
    """Return the classes of each part by three files: CSV files, or one class in each line.

    Raises:
        UserError: if a file lists a class that there is not, or two files the same.
    """
    by_ending: dict[str, list[str]] = {}
    for name in names:
        for ending in {name, name.rpartition("/")[2]}:
            by_ending.setdefault(ending, []).append(name)
    rows: dict[str, list[str]] = {}
    where: dict[str, str] = {}
    for part, file in zip(PARTS, lists):
        rows[part] = []
        for label in _labels(_found(file, raw)):
            found = by_ending.get(label, [])
            if len(found) != 1:
                many = (
                    f"is the name of {len(found)} classes" if found else "is no class of the data"
                )
                raise UserError(f"{file}: {label} {many}; correct the list, or --raw")
            if where.setdefault(found[0], file) != file:
                raise UserError(
                    f"{file}: {label} stands in {where[found[0]]} too, but the parts must not share"
                    " classes"
                )
            rows[part].append(found[0])
    return rows


def _found(path: str, raw: Path) -> Path:
    """A list where it is named, or in the folder of the raw data."""
    return Path(path) if Path(path).exists() or not (raw / path).exists() else raw / path


def _labels(path: Path) -> list[str]:
    """The different classes that a file lists, in its order."""
    if path.suffix.lower() == ".csv":
        labels = [f"{r.group}/{r.label}" if r.group else r.label for r in read_csv(path)]
    else:
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: is not a readable list of classes ({error})") from None
        labels = [line.strip().rstrip("/") for line in lines if line.strip()]
    return list(dict.fromkeys(labels))
