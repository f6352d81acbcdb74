"""The index beside the arrays: what make_data.py made them of."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from maml.data.form import FITS, INKS, Form
from maml.data.raw import RAW_SIZE
from maml.data.splits import PARTS
from maml.system.errors import UserError

INDEX, IMAGES_INDEX = "omniglot_index.json", "images_index.json"
IMAGES_OF = "images of "
"""the beginning of the source of images of any kind"""
LARGEST = 1024
"""the largest side of images, in pixels"""
KINDS = {
    "source": str,
    "split": str,
    "seed": int,
    "image_size": int,
    "polarity": str,
    "pillow": str,
    "sha256": dict,
    "rows": dict,
}
KINDS_OF_IMAGES = {
    "channels": int,
    "fit": str,
    "ink": str,
    "mean": list,
    "deviation": list,
    "counts": dict,
    "digests": dict,
    "skipped": list,
}


@dataclass(frozen=True)
class Index:
    """The description of the arrays.

    Checkpoints record it, so that evaluation never uses characters that the network was trained on.

    Args:
        source (str): where the drawings come from: "omniglot", "stand-in" (the invented alphabets)
            or "other".
        split (str): how the characters were split into parts, a key of `SPLITS`.
        seed (int): seed of the split.
        image_size (int): side of the images, in pixels.
        polarity (str): "ink high": ink is 255 and paper is 0.
        pillow (str): version of Pillow that scaled the images. Another version may compute
            slightly different pixels.
        sha256 (dict[str, str]): by part, the SHA-256 of the array's bytes.
        rows (dict[str, list[str]]): by part, the name of each row: `Alphabet/characterNN`, or with
            a rotation `Alphabet/characterNN/rotDDD`.
    """

    source: str
    split: str
    seed: int
    image_size: int
    polarity: str
    pillow: str
    sha256: dict[str, str]
    rows: dict[str, list[str]]

    @property
    def form(self) -> Form:
        """How a picture becomes an image of these data."""
        return Form(self.image_size)

    @property
    def pixels(self) -> tuple[list[float], list[float]] | None:
        """Mean and deviation of the training part's pixels, by channel, where they are known."""
        return None

    def of_parts(self, parts: Sequence[str]) -> Index:
        """The same index, of these parts alone."""
        return replace(self, rows={part: self.rows[part] for part in parts})


@dataclass(frozen=True)
class ImageIndex(Index):
    """The description of images of any classes, see `maml.data.images`.

    Args:
        channels (int): 1 for grey, 3 for colour.
        fit (str): what happened to images that are no squares, see `Form`.
        ink (str): "dark" or "light" for drawings, which ink is high in, else empty; see `Form`.
        mean, deviation (list[float]): of the training part's pixels between 0 and 1, by channel.
        counts (dict[str, list[int]]): by part, the number of images of each row's class.
        digests (dict[str, list[str]]): by part, what identifies each class by its files' contents.
        skipped (list): the path and the reason of each file that could not be read.
    """

    channels: int
    fit: str
    ink: str
    mean: list[float]
    deviation: list[float]
    counts: dict[str, list[int]]
    digests: dict[str, list[str]]
    skipped: list[list[str]]

    @property
    def form(self) -> Form:
        """How a picture becomes an image of these data."""
        return Form(self.image_size, self.channels, self.fit, self.ink)

    @property
    def pixels(self) -> tuple[list[float], list[float]]:
        """Mean and deviation of the training part's pixels, by channel."""
        return self.mean, self.deviation

    def of_parts(self, parts: Sequence[str]) -> ImageIndex:
        """The same index, of these parts alone, without the files that could not be read."""
        by_part = {
            key: {part: getattr(self, key)[part] for part in parts}
            for key in ("rows", "counts", "digests")
        }
        return replace(self, **by_part, skipped=[])  # type: ignore[arg-type]


def read_index(data: str | Path) -> Index:
    """Return the index in the folder `data`.

    Raises:
        UserError: if it cannot be read, or is no index.
    """
    path, characters = Path(data) / IMAGES_INDEX, Path(data) / INDEX
    if path.exists() and characters.exists():
        raise UserError(
            f"{data}: holds {INDEX} and {IMAGES_INDEX}, two data sets; give each a folder of its "
            "own"
        )
    path = path if path.exists() else characters
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path}: not found; run make_data.py first, or name the arrays' folder by --data"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path}: is not an index of make_data.py's ({error}); run it again"
        ) from None
    return check_index(stated, str(path))


def check_index(stated: Any, source: str, parts: Sequence[str] = PARTS) -> Index:
    """Return an `Index` with the values of `stated`, and check these values.

    Args:
        stated: a dict with the fields of `Index`, as read from a file.
        source (str): the file, for the error.
        parts (Sequence[str]): parts that the index must list.

    Raises:
        UserError: if `stated` is anything else.
    """
    of_images = isinstance(stated, dict) and "channels" in stated
    kinds = {**KINDS, **(KINDS_OF_IMAGES if of_images else {})}
    whole = (
        isinstance(stated, dict)
        and stated.keys() == kinds.keys()
        and all(type(stated[key]) is kinds[key] for key in kinds)
        and all(
            isinstance(stated["sha256"].get(part), str)
            and isinstance(stated["rows"].get(part), list)
            and all(isinstance(row, str) for row in stated["rows"][part])
            for part in parts
        )
        and 1 <= stated["image_size"] <= (LARGEST if of_images else RAW_SIZE)
        and (not of_images or _is_of_images(stated, parts))
    )
    if not whole:
        name = IMAGES_INDEX if of_images else INDEX
        raise UserError(
            f"{source}: does not tell its data as make_data.py's {name} does; run it again"
        )
    return ImageIndex(**stated) if of_images else Index(**stated)


def _is_of_images(stated: dict[str, Any], parts: Sequence[str]) -> bool:
    """Whether what an `ImageIndex` states beside an `Index` is consistent."""
    moments = [*stated["mean"], *stated["deviation"]]
    return (
        stated["channels"] in (1, 3)
        and len(stated["mean"]) == len(stated["deviation"]) == stated["channels"]
        and all(type(value) is float and math.isfinite(value) for value in moments)
        and min(stated["deviation"]) > 0
        and stated["fit"] in FITS
        and stated["ink"] in ("", *INKS)
        and all(
            isinstance(stated[key].get(part), list)
            and len(stated[key][part]) == len(stated["rows"][part])
            and all(type(value) is kind for value in stated[key][part])
            for key, kind in (("counts", int), ("digests", str))
            for part in parts
        )
    )
