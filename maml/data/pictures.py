"""The user's own pictures, in a folder for each class, which are made like Omniglot's drawings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from maml.data.ink import like_omniglot
from maml.data.raw import DAMAGED
from maml.system.errors import UserError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}


class Pictures(NamedTuple):
    """The user's own pictures of some classes.

    Args:
        classes (list[str]): the names of the classes.
        paths (list[Path]): the file of each picture.
        x (ndarray): the pictures, [N, 1, size, size] float32 with ink 1.
        y (ndarray): the labels, [N] int: the index of each picture's class in `classes`, or -1 if
            it is unknown.
    """

    classes: list[str]
    paths: list[Path]
    x: np.ndarray
    y: np.ndarray


def read(path: Path, size: int) -> np.ndarray:
    """Read a picture.

    Args:
        path (Path): the file.
        size (int): side of the result, in pixels.

    Returns:
        ndarray: [1, size, size] float32 with ink 1.

    Raises:
        UserError: if the file cannot be read, or if the picture is blank.
    """
    try:
        with Image.open(path) as image:
            drawn = like_omniglot(image, size)
    except DAMAGED as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path}: is not a readable picture ({reason}); replace or remove it"
        ) from None
    if not drawn.any():
        raise UserError(f"{path}: shows no ink that differs from its paper; replace or remove it")
    return drawn[None].astype(np.float32) / 255


def _is_visible(path: Path) -> bool:
    return not path.name.startswith(".")


def _pictures_in(folder: Path) -> list[Path]:
    """Return the files of the pictures in a folder, in the order of their names."""
    pictures = filter(_is_visible, folder.iterdir())
    return sorted(path for path in pictures if path.suffix.lower() in SUFFIXES)


def classes(folder: str | Path) -> list[Path]:
    """Return the folders of the classes in `folder`, in the order of their names.

    Raises:
        UserError: if there are fewer than two classes, or if a class has no pictures.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such folder; --support names one with a folder of pictures for each"
            " class"
        )
    found = sorted(path for path in filter(_is_visible, folder.iterdir()) if path.is_dir())
    if len(found) < 2:
        raise UserError(
            f"{folder}: needs a folder of pictures for each of at least 2 classes, found "
            f"{len(found)}"
        )
    for path in found:
        if not _pictures_in(path):
            suffixes = ", ".join(sorted(SUFFIXES))
            raise UserError(f"{path}: has no pictures ({suffixes}); put some in, or remove it")
    return found


def read_support(classes: Sequence[Path], size: int) -> Pictures:
    """Read the pictures of the support.

    Args:
        classes (Sequence[Path]): the folder of each class; its name is the name of the class.
        size (int): side of the images, in pixels.

    Returns:
        Pictures: the pictures in these folders, with their labels.

    Raises:
        UserError: if a picture cannot be read, or is blank.
    """
    labelled = [(path, k) for k, folder in enumerate(classes) for path in _pictures_in(folder)]
    return _read_all(labelled, [folder.name for folder in classes], size)


def read_queries(paths: Sequence[str | Path], classes: list[str], size: int) -> Pictures:
    """Read the pictures of the queries.

    Args:
        paths (Sequence[str | Path]): pictures and folders. The label of a picture is known if its
            folder has the name of a class.
        classes (list[str]): the names of the classes.
        size (int): side of the images, in pixels.

    Returns:
        Pictures: the pictures, with label -1 where the class is unknown.

    Raises:
        UserError: if there are no pictures, or if one cannot be read or is blank.
    """
    labelled: list[tuple[Path, int]] = []
    for path in map(Path, paths):
        if not path.is_dir():
            labelled.append((path, -1))
            continue
        labelled += [(picture, -1) for picture in _pictures_in(path)]
        for folder in sorted(path.iterdir()):
            if folder.is_dir() and folder.name in classes:
                label = classes.index(folder.name)
                labelled += [(picture, label) for picture in _pictures_in(folder)]
    if not labelled:
        raise UserError(
            f"{', '.join(map(str, paths))}: no pictures ({', '.join(sorted(SUFFIXES))}) in it;"
            " --query names pictures or folders"
        )
    return _read_all(labelled, classes, size)


def _read_all(labelled: Sequence[tuple[Path, int]], classes: list[str], size: int) -> Pictures:
    return Pictures(
        classes,
        [path for path, _ in labelled],
        np.stack([read(path, size) for path, _ in labelled]),
        np.array([label for _, label in labelled]),
    )
