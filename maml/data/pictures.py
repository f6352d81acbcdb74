"""The user's own pictures, in a folder for each class, made like what weights were trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from maml.data.form import Form
from maml.data.ink import NoDrawing
from maml.data.raw import DAMAGED
from maml.system.errors import UserError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
# Pictures too, but not all of Pillow's builds read them.
NOT_READ = {".heic", ".heif", ".avif", ".jxl", ".jp2", ".svg", ".pdf", ".psd", ".dng", ".raw"}
NOT_READ |= {".cr2", ".cr3", ".nef", ".arw"}


class Skipped(NamedTuple):
    """A picture that cannot be used, and why."""

    path: Path
    reason: str


class Pictures(NamedTuple):
    """The user's own pictures of some classes.

    Args:
        classes (list[str]): the names of the classes.
        paths (list[Path]): the file of each picture.
        x (ndarray): the pictures, [N, C, size, size] float32, 0 to 1, ink 1.
        y (ndarray): the labels, [N] int: the index of each picture's class in `classes`, or -1 if
            it is unknown.
        skipped (list[Skipped]): the pictures that cannot be used.
        warnings (list[str]): sentences about files and folders that are passed over.
    """

    classes: list[str]
    paths: list[Path]
    x: np.ndarray
    y: np.ndarray
    skipped: list[Skipped]
    warnings: list[str]


def read(path: Path, form: Form) -> np.ndarray:
    """Read a picture.

    Args:
        path (Path): the file.
        form (Form): what it is made like.

    Returns:
        ndarray: [C, size, size] float32, 0 to 1, ink 1.

    Raises:
        UserError: if there is no such file.
        NoDrawing: if it cannot be read, or if no drawing is found in it. Its text names the file.
    """
    try:
        return read_or_say_why(path, form)
    except NoDrawing as error:
        raise NoDrawing(f"{path}: {error}") from None


def read_or_say_why(path: Path, form: Form) -> np.ndarray:
    """Read a picture as `read` does, but raise a `NoDrawing` whose text does not name the file."""
    if not path.exists():
        raise UserError(f"{path}: no such file; check its name")
    try:
        with Image.open(path) as image:
            return form.of(image).astype(np.float32) / 255
    except UnidentifiedImageError:
        raise NoDrawing("is not a readable picture (its format is not known)") from None
    except DAMAGED as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise NoDrawing(f"is not a readable picture ({' '.join(why.split())})") from None


def _is_visible(path: Path) -> bool:
    return not path.name.startswith(".")


def _pictures_in(folder: Path) -> list[Path]:
    """Return the files of the pictures in a folder, in the order of their names."""
    pictures = filter(_is_visible, folder.iterdir())
    return sorted(path for path in pictures if path.suffix.lower() in SUFFIXES)


def _not_read(folder: Path) -> list[str]:
    """Return a sentence about pictures in a folder that are not read, if there are any."""
    suffixes = [path.suffix.lower() for path in filter(_is_visible, folder.iterdir())]
    found = [suffix for suffix in suffixes if suffix in NOT_READ]
    if not found:
        return []
    files = "1 file" if len(found) == 1 else f"{len(found)} files"
    kinds = ", ".join(sorted(set(found)))
    return [f"{folder}: {files} of a kind that is not read ({kinds}); save as JPEG or PNG"]


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
            if unread := _not_read(path):
                raise UserError(unread[0])
            suffixes = ", ".join(sorted(SUFFIXES))
            raise UserError(f"{path}: has no pictures ({suffixes}); put some in, or remove it")
    return found


def mean_count(classes: Sequence[Path]) -> float:
    """Return how many pictures the folders of the classes have, in the mean."""
    return sum(len(_pictures_in(folder)) for folder in classes) / len(classes)


def read_support(classes: Sequence[Path], form: Form) -> Pictures:
    """Read the pictures of the support.

    Args:
        classes (Sequence[Path]): the folder of each class; its name is the name of the class.
        form (Form): what they are made like.

    Returns:
        Pictures: the pictures in these folders, with their labels.

    Raises:
        UserError: if none of a class can be used.
    """
    labelled = [(path, k) for k, folder in enumerate(classes) for path in _pictures_in(folder)]
    warnings = [sentence for folder in classes for sentence in _not_read(folder)]
    found = _read_all(labelled, [folder.name for folder in classes], form, warnings)
    for k, folder in enumerate(classes):
        if k not in found.y:
            lost = [each for each in found.skipped if each.path.parent == folder]
            raise UserError(f"{folder}: none of its pictures can be used: {_in_words(lost)}")
    return found


def read_queries(paths: Sequence[str | Path], classes: list[str], form: Form) -> Pictures:
    """Read the pictures of the queries.

    Args:
        paths (Sequence[str | Path]): pictures and folders. The label of a picture is known if its
            folder has the name of a class.
        classes (list[str]): the names of the classes.
        form (Form): what they are made like.

    Returns:
        Pictures: the pictures, with label -1 where the class is unknown.

    Raises:
        UserError: if there are no pictures, if a path does not exist, or if none can be used.
    """
    labelled: list[tuple[Path, int]] = []
    warnings: list[str] = []
    for path in map(Path, paths):
        if not path.exists():
            raise UserError(
                f"{path}: no such file or folder; --query-images names those to classify"
            )
        if not path.is_dir():
            labelled.append((path, -1))
            continue
        labelled += [(picture, -1) for picture in _pictures_in(path)]
        warnings += _not_read(path)
        for folder in sorted(filter(_is_visible, path.iterdir())):
            if not folder.is_dir():
                continue
            pictures = _pictures_in(folder)
            if folder.name in classes:
                labelled += [(picture, classes.index(folder.name)) for picture in pictures]
                warnings += _not_read(folder)
            elif pictures:
                names = ", ".join(classes)
                warnings.append(
                    f"{folder}: is passed over, for no class has its name; they are {names}"
                )
    if not labelled:
        raise UserError(
            "; ".join(
                [
                    f"{', '.join(map(str, paths))}: no pictures ({', '.join(sorted(SUFFIXES))}) in"
                    " it; --query-images names pictures or folders",
                    *warnings,
                ]
            )
        )
    found = _read_all(labelled, classes, form, warnings)
    if not found.paths:
        raise UserError(f"none of the pictures to classify can be used: {_in_words(found.skipped)}")
    return found


def _in_words(skipped: Sequence[Skipped]) -> str:
    return "; ".join(f"{path}: {reason}" for path, reason in skipped)


def _read_all(
    labelled: Sequence[tuple[Path, int]], classes: list[str], form: Form, warnings: list[str]
) -> Pictures:
    paths, x, y, skipped = [], [], [], []
    for path, label in labelled:
        try:
            x.append(read_or_say_why(path, form))
        except NoDrawing as error:
            skipped.append(Skipped(path, str(error)))
            continue
        paths.append(path)
        y.append(label)
    stacked = (
        np.stack(x)
        if x
        else np.zeros((0, form.channels, form.image_size, form.image_size), np.float32)
    )
    return Pictures(classes, paths, stacked, np.array(y, int), skipped, warnings)
