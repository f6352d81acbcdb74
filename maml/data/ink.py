"""Image processing of the user's own pictures: ink told from paper, centred, with a usual pen."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from maml.data.raw import RAW_SIZE

WORKING_SIZE = 256  # pixels of the longer side, on which ink is looked for
# of the 105 pixels of an Omniglot drawing, the longer side of what is drawn in it: their median
INK_SIZE = 67
PEN = (
    3.6,
    5.0,
)  # pixels, as nearly all of theirs; thinner and thicker strokes are made thicker and thinner
SPECK = 0.04  # of the largest connected ink: what is smaller is dirt
SHORTEST = 0.08  # of the picture's longer side: where no stroke is as long, all is dirt


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
    label = _components(np.asarray(half.any(axis=(1, 3))))
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
    grey.thumbnail((WORKING_SIZE, WORKING_SIZE), Image.Resampling.LANCZOS)
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
    scaled = Image.fromarray((255 * cropped).astype(np.uint8)).resize(
        (width, height), Image.Resampling.BOX
    )
    sheet = Image.new("L", (RAW_SIZE, RAW_SIZE))
    sheet.paste(
        scaled.point(lambda v: 255 * (v > 100)), ((RAW_SIZE - width) // 2, (RAW_SIZE - height) // 2)
    )
    return np.asarray(_with_pen(sheet).resize((size, size), Image.Resampling.LANCZOS))
