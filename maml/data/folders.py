"""Images as people have them: a folder for each class, a list in a CSV file, NumPy arrays."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from maml.data.pictures import NOT_READ, SUFFIXES
from maml.data.raw import DAMAGED, is_text
from maml.system.errors import UserError

PATH_COLUMNS, LABEL_COLUMNS = ("path", "filename", "file", "image"), ("label", "class")


class Bad(Exception):
    """A file that is no image that can be read; its text says why."""


class Content(NamedTuple):
    """An image, and the SHA-256 of the file or the array that it was read from."""

    picture: Image.Image
    sha256: str


class Item(NamedTuple):
    """An image of a class that is not read yet."""

    name: str  # of the class, with the groups above it: group/class
    file: str  # below the folder that was named, or where in an array
    read: Callable[[], Content]  # raises `Bad`


def from_folder(raw: str | Path) -> list[Item]:
    """Return the images below a folder, of which each folder with images is a class.

    Args:
        raw (str | Path): the folder. Classes lie in it, or deeper: the folders above a class are
            its group. Links to folders are followed; hidden files are passed over.

    Raises:
        UserError: if there is no such folder, or no class in it.
    """
    raw = Path(raw)
    if not raw.is_dir():
        raise UserError(f"{raw}: no such folder; --raw names one with a folder for each class")
    items, loose = [], 0
    for path in _walk(raw, ()):
        inside = path.relative_to(raw)
        if len(inside.parts) == 1:
            loose += 1
            continue
        items.append(Item(inside.parent.as_posix(), inside.as_posix(), partial(_read, path)))
    if not items:
        kinds = ", ".join(sorted(SUFFIXES))
        why = f"its {loose} images are in no folder of a class" if loose else f"no images ({kinds})"
        raise UserError(f"{raw}: {why}; put the images of each class into a folder of their own")
    if loose:
        items += [
            Item("", path.name, partial(_refuse, "lies in no class's folder"))
            for path in sorted(raw.iterdir())
            if path.is_file() and _is_picture(path.name)
        ]
    return items


def _walk(folder: Path, above: tuple[str, ...]) -> Iterator[Path]:
    """The pictures in a folder and below, in the order of names; a link to above is not followed.

    A folder that cannot be listed is yielded itself, to be among what cannot be read.
    """
    above = (*above, os.path.realpath(folder))
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        yield folder / "(all)"
        return
    for entry in entries:
        path = folder / entry.name
        if entry.name.startswith(".") or entry.name == "__MACOSX":
            continue
        if path.is_dir():
            if os.path.realpath(path) not in above:
                yield from _walk(path, above)
        elif _is_picture(entry.name):
            yield path


def _is_picture(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES | NOT_READ and not name.startswith(".")


def _refuse(reason: str) -> Content:
    raise Bad(reason)


def _read(path: Path) -> Content:
    """Read a file, and decode it whole."""
    if not is_text(str(path)):
        raise Bad("its name is not UTF-8; rename it")
    if path.suffix.lower() in NOT_READ:
        raise Bad("is of a kind that is not read; save it as JPEG or PNG")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Bad(f"cannot be read ({error.strerror})") from None
    if not content:
        raise Bad("is empty")
    try:
        picture = Image.open(io.BytesIO(content))
        picture.load()
    except UnidentifiedImageError:
        raise Bad("is not an image (its format is not known)") from None
    except DAMAGED as error:
        raise Bad(f"is damaged ({' '.join(str(error).split())})") from None
    return Content(picture, hashlib.sha256(content).hexdigest())


class Row(NamedTuple):
    """A row of a list of images."""

    file: str
    label: str
    group: str


def read_csv(path: Path) -> list[Row]:
    """Return the rows of a CSV file with a column path and a column label, and maybe group."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            columns = {name.strip().lower(): name for name in table.fieldnames or []}
            found = [
                next((columns[name] for name in names if name in columns), None)
                for names in (PATH_COLUMNS, LABEL_COLUMNS, ("group",))
            ]
            file_column, label_column, group_column = found
            if file_column is None or label_column is None:
                raise UserError(
                    f"{path}: its first line must name a column path (or filename) and a column "
                    "label, and may name group"
                )
            rows = [
                Row(
                    (row[file_column] or "").strip(),
                    (row[label_column] or "").strip(),
                    ((row[group_column] or "") if group_column else "").strip(),
                )
                for row in table
            ]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: is not a CSV file in UTF-8 ({error})") from None
    for number, row in enumerate(rows, 2):
        if not row.file or not row.label:
            raise UserError(f"{path}: line {number} lacks a path or a label")
    if not rows:
        raise UserError(f"{path}: lists no images")
    return rows


def from_csv(paths: Sequence[Path], folders: Sequence[Path]) -> list[Item]:
    """Return the images that CSV files list, each in the first of `folders` that has it."""
    items = []
    for row in (row for path in paths for row in read_csv(path)):
        places = [folder / row.file for folder in folders]
        path = next((place for place in places if place.exists()), places[0])
        name = f"{row.group}/{row.label}" if row.group else row.label
        items.append(Item(name, row.file, partial(_read, path)))
    return items


def from_arrays(images: str | Path, labels: str | Path) -> list[Item]:
    """Return the images of an array [N, H, W], [N, H, W, C] or [N, C, H, W] with labels [N].

    Args:
        images (str | Path): a .npy file of uint8, or of floats between 0 and 1.
        labels (str | Path): a .npy file of numbers or texts.

    Raises:
        UserError: if they cannot be read, or do not belong together.
    """
    x, y = _array(images), _array(labels)
    last = x.ndim == 4 and x.shape[3] in (1, 3)
    if not (x.ndim == 3 or last or (x.ndim == 4 and x.shape[1] in (1, 3))):
        raise UserError(
            f"{images}: is {list(x.shape)}; images are [N, H, W], or [N, H, W, C] or [N, C, H, W] "
            "with 1 or 3 channels"
        )
    if y.shape != x.shape[:1] or y.dtype.kind not in "iuUSb":
        raise UserError(
            f"{labels}: is {y.dtype} {list(y.shape)}; labels are {len(x)} numbers or texts, one for"
            " each image"
        )
    if x.dtype != np.uint8 and not (x.dtype.kind == "f" and 0 <= x.min() and x.max() <= 1):
        raise UserError(f"{images}: is {x.dtype}; images are uint8, or floats between 0 and 1")

    def read(number: int) -> Content:
        image = np.asarray(x[number])
        if image.dtype != np.uint8:
            image = np.rint(255 * image).astype(np.uint8)
        if image.ndim == 3 and not last:
            image = image.transpose(1, 2, 0)
        flat = np.ascontiguousarray(image[..., 0] if image.shape[2:] == (1,) else image)
        return Content(Image.fromarray(flat), hashlib.sha256(flat.tobytes()).hexdigest())

    return [
        Item(str(label), f"{Path(images).name}[{number}]", partial(read, number))
        for number, label in enumerate(y.tolist())
    ]


def _array(path: str | Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: is not a readable .npy file ({error})") from None
