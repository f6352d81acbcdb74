"""Pictures of the user's own, photographed, scanned or drawn, made to look like Omniglot's: thin
black ink, centred, of its usual size.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from maml.errors import UserError
from maml.omniglot import DAMAGED, RAW_SIZE

KINDS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
WORKING_SIZE = 256  # pixels of the longer side, on which ink is looked for
# of the 105 pixels of an Omniglot drawing, the longer side of what is drawn in it: their median
INK_SIZE = 67
PEN = (
    3.6,
    5.0,
)  # pixels, as nearly all of theirs; thinner and thicker strokes are made thicker and thinner
SPECK = 0.04  # of the largest connected ink: what is smaller is dirt
SHORTEST = 0.08  # of the picture's longer side: where no stroke is as long, all is dirt


class Pictures(NamedTuple):
    """Own pictures of some classes: where they came from, ink 1 [N, 1, size, size], and labels
    (places in `classes`), -1 if unknown.
    """

    classes: list[str]
    paths: list[Path]
    x: np.ndarray
    y: np.ndarray


def otsu(values: np.ndarray) -> float:
    """The threshold that parts `values` (0 .. 255) into two groups with the least variance within
    them (Otsu 1979).
    """
    counts = np.bincount(values.astype(np.uint8).ravel(), minlength=256).astype(float)
    below = counts.cumsum()
    total = (counts * np.arange(256)).cumsum()
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (total / below - (total[-1] - total) / above) ** 2
    return float(np.nanargmax(between)) + 0.5 if np.isfinite(between).any() else 255.0


def _components(ink: np.ndarray) -> np.ndarray:
    """[H, W] bool -> [H, W] int: 0 for paper, else a number for each connected stroke (8
    neighbours).
    """
    label = np.where(ink, np.arange(1, ink.size + 1).reshape(ink.shape), 0)
    while True:  # the largest number spreads through each stroke
        padded = np.pad(label, 1)
        around = np.max(
            [
                padded[i : i + ink.shape[0], j : j + ink.shape[1]]
                for i in range(3)
                for j in range(3)
            ],
            axis=0,
        )
        spread = np.where(ink, around, 0)
        if (spread == label).all():
            return label
        label = spread


def _without_specks(ink: np.ndarray) -> np.ndarray:
    """Strokes are told apart at half the size, which takes a sixteenth of the time and bridges the
    gaps of a pen that runs dry.
    """
    height, width = ink.shape
    half = np.pad(ink, ((0, height % 2), (0, width % 2))).reshape(
        (height + 1) // 2, 2, (width + 1) // 2, 2
    )
    label = _components(half.any(axis=(1, 3)))
    numbers, sizes = np.unique(label[label > 0], return_counts=True)
    if len(sizes) == 0:
        return ink
    largest = np.nonzero(label == numbers[sizes.argmax()])
    if max(np.ptp(places) for places in largest) < SHORTEST * max(label.shape):
        return np.zeros_like(ink)
    kept = np.isin(label, numbers[sizes >= SPECK * sizes.max()])
    return ink & kept.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]


def find_ink(image: Image.Image) -> np.ndarray:
    """Any picture -> [H, W] bool, at most `WORKING_SIZE` wide and high. What most of the margin
    looks like is paper, dark or light; shadows that change slowly over the picture are paper as
    well. All False where there is no ink.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    grey = image.convert("L")
    grey.thumbnail((WORKING_SIZE, WORKING_SIZE), Image.LANCZOS)
    values = np.asarray(grey, dtype=float)
    if np.ptp(values) < 40:  # nothing but the noise of a camera
        return np.zeros(values.shape, bool)
    margin = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    if (margin < otsu(values)).mean() > 0.5:
        grey = ImageOps.invert(grey)  # light ink on dark paper
    paper = grey.filter(ImageFilter.MaxFilter(9)).filter(
        ImageFilter.GaussianBlur(max(grey.size) / 8)
    )
    darker = np.clip(np.asarray(paper, dtype=float) - np.asarray(grey, dtype=float), 0, 255)
    middle = np.median(darker)
    noise = np.median(np.abs(darker - middle))
    return _without_specks(darker > max(otsu(darker), 20, middle + 6 * noise))


def _with_pen(ink: Image.Image) -> Image.Image:
    """Ink (255 on 0) with strokes within `PEN`, whose width is about twice the area over the
    outline's length.
    """
    for _ in range(12):
        filled = np.asarray(ink) > 127
        inner = np.asarray(ink.filter(ImageFilter.MinFilter(3))) > 127
        width = 2 * filled.sum() / max(1, (filled & ~inner).sum())
        if width > PEN[1] and inner.any():
            ink = ink.filter(ImageFilter.MinFilter(3))
        elif width < PEN[0]:
            return ink.filter(ImageFilter.MaxFilter(3))
        else:
            return ink
    return ink


def like_omniglot(image: Image.Image, size: int) -> np.ndarray:
    """Any picture of one character -> [size, size] uint8 with ink 255, as `omniglot.load` gives
    Omniglot's; all 0 without ink.
    """
    ink = find_ink(image)
    if not ink.any():
        return np.zeros((size, size), np.uint8)
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    cropped = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = INK_SIZE / max(cropped.shape)
    height, width = (max(1, round(side * scale)) for side in cropped.shape)
    scaled = Image.fromarray((255 * cropped).astype(np.uint8)).resize((width, height), Image.BOX)
    sheet = Image.new("L", (RAW_SIZE, RAW_SIZE))
    sheet.paste(
        scaled.point(lambda v: 255 * (v > 100)), ((RAW_SIZE - width) // 2, (RAW_SIZE - height) // 2)
    )
    return np.asarray(_with_pen(sheet).resize((size, size), Image.LANCZOS))


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
