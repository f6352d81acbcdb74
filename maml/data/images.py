"""Images of any classes on disk: one array, the list of its files, and an index.

images.npy is [N, C, H, W] uint8, class after class, those of training first; images.csv names the
part, class, group, file and SHA-256 of each; images_index.json describes them. Images go through
memory one by one, and what is large is memory-mapped when it is read.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from maml.data.banks import ClassImages, Stack
from maml.data.folders import Bad, Item
from maml.data.form import Form, channels_of
from maml.data.index import IMAGES_INDEX, ImageIndex
from maml.data.splits import PARTS, group_of
from maml.system import files
from maml.system.errors import UserError

ARRAY, FILES = "images.npy", "images.csv"
LARGE = 1 << 30
"""bytes from which on an array is not read as a whole, and its digest is not computed again"""
USUAL_SIZE, LARGEST_USUAL = 84, 128
"""sides of images: where none is stated, and the largest that is kept as it is"""


class Origin(NamedTuple):
    """Where images come from and how they are split, for the index."""

    source: str
    split: str
    seed: int


def usual_form(items: Iterable[Item]) -> tuple[int, int]:
    """Return the side and the channels of images that the pictures suggest."""
    sizes, channels = set(), 1
    for item in items:
        try:
            picture = item.read().picture
        except Bad:
            continue
        sizes.add(picture.size)
        channels = max(channels, channels_of(picture))
    sides = {side for size in sizes for side in size}
    side = sides.pop() if len(sides) == 1 else USUAL_SIZE
    return (side if side <= LARGEST_USUAL else USUAL_SIZE), channels


class Writer:
    """Reads the items of each part's classes, and writes them.

    Args:
        items (Sequence[Item]): the images of all classes.
        parts (dict[str, list[str]]): by part, the names of its classes.
        form (Form): what the images are made like.
        origin (Origin): where they come from.
        skip_bad (bool): leave out images that cannot be read, and classes of which none is left.
    """

    def __init__(
        self,
        items: Sequence[Item],
        parts: dict[str, list[str]],
        form: Form,
        origin: Origin,
        skip_bad: bool = False,
    ):
        self.form, self.origin, self.skip_bad = form, origin, skip_bad
        members: dict[str, list[Item]] = {}
        for item in items:
            members.setdefault(item.name, []).append(item)
        self.loose = members.get("", [])
        self.classes = [
            (part, name, members[name]) for part in PARTS for name in sorted(parts[part])
        ]
        self.count = sum(len(found) for _, _, found in self.classes)
        self.bad: list[list[str]] = []
        self.listed: list[tuple[str, str, str, str, str]] = []  # as in images.csv
        self.moments = Moments(np.zeros(form.channels), np.zeros(form.channels))
        self.sha256 = {part: hashlib.sha256() for part in PARTS}

    def write(self, out: str | Path, progress: Callable = lambda items, total: items) -> ImageIndex:
        """Write the three files, all or none, and return the index.

        Raises:
            UserError: if images cannot be read, all of which are named, or a file be written.
        """
        out = Path(out)

        def array(file: BinaryIO) -> None:
            self._header(file, self.count)
            for item_of_part in progress(self._items(), self.count + len(self.loose)):
                self._append(file, *item_of_part)
            self._check()
            file.seek(0)
            self._header(file, len(self.listed))

        index: list[ImageIndex] = []

        def describe(file: BinaryIO) -> None:
            index.append(self._index())
            text = json.dumps(asdict(index[0]), indent=1, ensure_ascii=False) + "\n"
            file.write(text.encode())

        files.write({out / ARRAY: array, out / FILES: self._list, out / IMAGES_INDEX: describe})
        return index[0]

    def _items(self) -> Iterable[tuple[str, str, Item]]:
        yield from (("", "", item) for item in self.loose)
        yield from ((part, name, item) for part, name, found in self.classes for item in found)

    def _header(self, file: BinaryIO, count: int) -> None:
        """The header of an array of `count` images; numpy leaves room for a count to change."""
        side = self.form.image_size
        shape = (count, self.form.channels, side, side)
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)

    def _append(self, file: BinaryIO, part: str, name: str, item: Item) -> None:
        try:
            picture, digest = item.read()
            image = self.form.of(picture)
        except Bad as error:
            self.bad.append([_text(item.file), str(error)])
            return
        content = np.ascontiguousarray(image).tobytes()
        file.write(content)
        self.sha256[part].update(content)
        self.listed.append((part, name, group_of(name), item.file, digest))
        if part == "train":
            self.moments.add(image)

    def _check(self) -> None:
        """Raise a `UserError` about images that cannot be read, or parts without classes."""
        if self.bad and not self.skip_bad:
            named = "; ".join(f"{file}: {reason}" for file, reason in self.bad)
            number = "1 file" if len(self.bad) == 1 else f"{len(self.bad)} files"
            raise UserError(
                f"{number} cannot be used: {named}; replace or remove them, or go on without them "
                "by --skip-bad"
            )
        for part in PARTS:
            if not any(row[0] == part for row in self.listed):
                raise UserError(
                    f"there are no classes for the {part} part: {len(self.classes)} classes are too"
                    " few for this split; get more, or choose other --fractions or lists"
                )

    def _list(self, file: BinaryIO) -> None:
        text = io.StringIO(newline="")
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["part", "class", "group", "file", "sha256"])
        table.writerows(self.listed)
        file.write(text.getvalue().encode())

    def _index(self) -> ImageIndex:
        rows: dict[str, list[str]] = {part: [] for part in PARTS}
        contents: dict[str, list[list[str]]] = {part: [] for part in PARTS}
        for part, name, _, _, digest in self.listed:
            if name not in rows[part][-1:]:
                rows[part].append(name)
                contents[part].append([])
            contents[part][-1].append(digest)
        mean, deviation = self.moments.of(self.form.image_size)
        return ImageIndex(
            source=self.origin.source,
            split=self.origin.split,
            seed=self.origin.seed,
            image_size=self.form.image_size,
            polarity="ink high" if self.form.ink else "as it is",
            pillow=Image.__version__,
            sha256={part: found.hexdigest() for part, found in self.sha256.items()},
            rows=rows,
            channels=self.form.channels,
            fit=self.form.fit,
            ink=self.form.ink,
            mean=mean,
            deviation=deviation,
            counts={part: [len(c) for c in contents[part]] for part in PARTS},
            digests={part: [_identity(c) for c in contents[part]] for part in PARTS},
            skipped=self.bad,
        )


@dataclass
class Moments:
    """Sums over pixels between 0 and 255, by channel, and the number of images."""

    total: np.ndarray
    squares: np.ndarray
    images: int = 0

    def add(self, image: np.ndarray) -> None:
        """Add an image [C, H, W] uint8."""
        values = image.reshape(len(image), -1).astype(np.float64)
        self.total = self.total + values.sum(axis=1)
        self.squares = self.squares + (values**2).sum(axis=1)
        self.images += 1

    def of(self, side: int) -> tuple[list[float], list[float]]:
        """Mean and deviation of pixels between 0 and 1; the deviation of a blank is 1."""
        pixels = self.images * side**2
        mean = self.total / pixels
        deviation = np.sqrt(np.maximum(self.squares / pixels - mean**2, 0))
        deviation[deviation < 0.5] = 255  # less than noise
        return (mean / 255).tolist(), (deviation / 255).tolist()


def _identity(digests: Sequence[str]) -> str:
    """What identifies a class: the contents of its files, in any order and under any names."""
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()[:16]


def _text(name: str) -> str:
    """A name as text, where the file system has bytes that are none."""
    return name.encode("utf-8", "replace").decode()


def read(data: Path, index: ImageIndex) -> dict[str, Stack]:
    """Return the images of each part, which `index` describes.

    Raises:
        UserError: if the array cannot be read, or is not what the index describes.
    """
    path = data / ARRAY
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        array = mapped if mapped.nbytes >= LARGE else np.array(mapped)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: cannot be read ({error}); make_data.py writes it") from None
    counts = {part: np.array(index.counts[part], int) for part in PARTS}
    total = sum(int(found.sum()) for found in counts.values())
    expected = (total, index.channels, index.image_size, index.image_size)
    if array.shape != expected or array.dtype != np.uint8:
        raise UserError(
            f"{path}: is {array.dtype} {array.shape}, not uint8 {expected} as {IMAGES_INDEX} says; "
            "run make_data.py again"
        )
    parts: dict[str, Stack] = {}
    first = 0
    for part in PARTS:
        end = first + int(counts[part].sum())
        if array.nbytes < LARGE:
            if hashlib.sha256(array[first:end].tobytes()).hexdigest() != index.sha256[part]:
                raise UserError(
                    f"{path}: is not the array that {IMAGES_INDEX} describes; run make_data.py "
                    "again"
                )
        start = first + np.cumsum(counts[part]) - counts[part]
        parts[part], first = ClassImages(array, start, counts[part]), end
    return parts
