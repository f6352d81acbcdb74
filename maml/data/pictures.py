"""Pictures of the user's own, in a folder for each class, read as Omniglot's drawings are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from maml.data.ink import like_omniglot
from maml.data.raw import DAMAGED
from maml.system.errors import UserError

KINDS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}


class Pictures(NamedTuple):
    """Own pictures of some classes: where they came from, ink 1 [N, 1, size, size], and labels
    (places in `classes`), -1 if unknown.
    """

    classes: list[str]
    paths: list[Path]
    x: np.ndarray
    y: np.ndarray


def read(path: Path, size: int) -> np.ndarray:
    """The picture at `path` as [1, size, size] float32, ink 1; a `UserError` where it cannot be
    read or is blank.
    """
    try:
        with Image.open(path) as image:
            drawn = like_omniglot(image, size)
    except DAMAGED as error:
        raise UserError(
            f"{path}: is not a readable picture ({' '.join(str(error).split())}); replace or"
            " remove it"
        ) from None
    if not drawn.any():
        raise UserError(f"{path}: shows no ink that differs from its paper; replace or remove it")
    return drawn[None].astype(np.float32) / 255


def _in(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in KINDS and not path.name.startswith(".")
    )


def classes(folder: str | Path) -> list[Path]:
    """The folder of each class in `folder`; a `UserError` where there are fewer than two, or one
    has no pictures.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such folder; --support names one with a folder of pictures for each"
            " class"
        )
    found = sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
    if len(found) < 2:
        raise UserError(
            f"{folder}: needs a folder of pictures for each of at least 2 classes, found"
            f" {len(found)}"
        )
    for path in found:
        if not _in(path):
            raise UserError(
                f"{path}: has no pictures ({', '.join(sorted(KINDS))}); put some in, or remove it"
            )
    return found


def read_support(classes: Sequence[Path], size: int) -> Pictures:
    """All pictures of these folders, each of which is a class."""
    return _read_all(
        [(path, k) for k, folder in enumerate(classes) for path in _in(folder)],
        [folder.name for folder in classes],
        size,
    )


def read_queries(places: Sequence[str | Path], classes: list[str], size: int) -> Pictures:
    """Pictures, folders of them, or folders with a folder for each of `classes`, whose pictures'
    labels are then known.
    """
    found: list[tuple[Path, int]] = []
    for place in map(Path, places):
        if not place.is_dir():
            found.append((place, -1))
            continue
        found += [(path, -1) for path in _in(place)]
        found += [
            (path, classes.index(one.name))
            for one in sorted(place.iterdir())
            if one.is_dir() and one.name in classes
            for path in _in(one)
        ]
    if not found:
        raise UserError(
            f"{', '.join(map(str, places))}: no pictures ({', '.join(sorted(KINDS))}) in it;"
            " --query names pictures or folders"
        )
    return _read_all(found, classes, size)


def _read_all(found: Sequence[tuple[Path, int]], classes: list[str], size: int) -> Pictures:
    return Pictures(
        classes,
        [path for path, _ in found],
        np.stack([read(path, size) for path, _ in found]),
        np.array([label for _, label in found]),
    )
