"""Image processing of the user's own pictures, so that they look like Omniglot's drawings.

The ink is separated from the paper, centred, and given the usual width of strokes.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from maml.data.raw import RAW_SIZE

# A picture is reduced until its longer side has at most this number of pixels.
WORKING_SIZE = 256
# The longer side of what is drawn in an Omniglot image of 105 x 105 pixels: the median of all.
INK_SIZE = 67
# The smallest and the largest width of strokes, in pixels. Nearly all of Omniglot's are within it.
PEN = (3.6, 5.0)
# A connected piece of ink is dirt if its area is less than this share of the largest piece's area.
SPECK = 0.04
# All ink is dirt if the largest piece is shorter than this share of the picture's longer side.
SHORTEST = 0.08


def otsu(values: np.ndarray) -> float:
    """Return the threshold that splits values into two groups with the least variance within them.

    This is the method of Otsu 1979.

    Args:
        values (ndarray): values from 0 to 255, of any shape.

    Returns:
        float: the threshold; 255 if all values are equal.
    """
    counts = np.bincount(values.astype(np.uint8).ravel(), minlength=256).astype(float)
    below = counts.cumsum()
    total = (counts * np.arange(256)).cumsum()
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (total / below - (total[-1] - total) / above) ** 2
    return float(np.nanargmax(between)) + 0.5 if np.isfinite(between).any() else 255.0


def _components(ink: np.ndarray) -> np.ndarray:
    """Return a number for each pixel, [H, W]: 0 for paper, and one number for each piece of ink.

    The 8 neighbours of a pixel are connected with it.
    """
    label = np.where(ink, np.arange(1, ink.size + 1).reshape(ink.shape), 0)
    height, width = ink.shape
    while True:  # in each piece, the largest number spreads to all pixels
        padded = np.pad(label, 1)
        shifted = [padded[i : i + height, j : j + width] for i in range(3) for j in range(3)]
        spread = np.where(ink, np.max(shifted, axis=0), 0)
        if (spread == label).all():
            return label
        label = spread


def _without_specks(ink: np.ndarray) -> np.ndarray:
    """Return the ink without dirt.

    The pieces of ink are found at half the size. That takes a sixteenth of the time, and it bridges
    the gaps of a pen that runs dry.
    """
    height, width = ink.shape
    even = np.pad(ink, ((0, height % 2), (0, width % 2)))
    blocks = even.reshape((height + 1) // 2, 2, (width + 1) // 2, 2)
    label = _components(np.asarray(blocks.any(axis=(1, 3))))
    numbers, sizes = np.unique(label[label > 0], return_counts=True)
    if len(sizes) == 0:
        return ink
    largest = np.nonzero(label == numbers[sizes.argmax()])
    if max(np.ptp(coordinates) for coordinates in largest) < SHORTEST * max(label.shape):
        return np.zeros_like(ink)
    kept = np.isin(label, numbers[sizes >= SPECK * sizes.max()])
    return ink & kept.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]


def find_ink(image: Image.Image) -> np.ndarray:
    """Return where a picture has ink.

    The paper may be light or dark: it is what most of the picture's margin looks like. Shadows that
    change slowly over the picture count as paper.

    Args:
        image (PIL.Image.Image): any picture.

    Returns:
        ndarray: [H, W] bool, at most `WORKING_SIZE` high and wide; all False without ink.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    grey = image.convert("L")
    grey.thumbnail((WORKING_SIZE, WORKING_SIZE), Image.Resampling.LANCZOS)
    values = np.asarray(grey, dtype=float)
    if np.ptp(values) < 40:  # the picture shows only the noise of a camera
        return np.zeros(values.shape, bool)
    margin = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    if (margin < otsu(values)).mean() > 0.5:
        grey = ImageOps.invert(grey)  # the ink is light, and the paper is dark
    blur = ImageFilter.GaussianBlur(max(grey.size) / 8)
    paper = grey.filter(ImageFilter.MaxFilter(9)).filter(blur)
    darker = np.clip(np.asarray(paper, dtype=float) - np.asarray(grey, dtype=float), 0, 255)
    middle = np.median(darker)
    noise = np.median(np.abs(darker - middle))
    return _without_specks(darker > max(otsu(darker), 20, middle + 6 * noise))


def _with_pen(ink: Image.Image) -> Image.Image:
    """Return ink (255 on 0) whose strokes have a width within `PEN`.

    The width of the strokes is about twice their area, divided by the length of their outline.
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
    """Convert a picture of one character into an image like Omniglot's drawings.

    Args:
        image (PIL.Image.Image): any picture of one character.
        size (int): side of the result, in pixels.

    Returns:
        ndarray: [size, size] uint8 with ink 255, like `maml.data.raw.load`; all 0 without ink.
    """
    ink = find_ink(image)
    if not ink.any():
        return np.zeros((size, size), np.uint8)
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    cropped = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = INK_SIZE / max(cropped.shape)
    height, width = (max(1, round(side * scale)) for side in cropped.shape)
    drawn = Image.fromarray((255 * cropped).astype(np.uint8))
    scaled = drawn.resize((width, height), Image.Resampling.BOX)
    corner = (RAW_SIZE - width) // 2, (RAW_SIZE - height) // 2
    sheet = Image.new("L", (RAW_SIZE, RAW_SIZE))
    sheet.paste(scaled.point(lambda v: 255 * (v > 100)), corner)
    return np.asarray(_with_pen(sheet).resize((size, size), Image.Resampling.LANCZOS))
