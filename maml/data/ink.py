"""Image processing of the user's own pictures, so that they look like Omniglot's drawings.

The ink is separated from the paper, centred, and given the usual width of strokes. OpenCV has the
image processing; what is decided here is what counts as paper, as ink, and as neither.
"""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image, ImageFilter, ImageOps

from maml.data.raw import RAW_SIZE
from maml.system.errors import UserError

# A picture is reduced until its longer side has at most this number of pixels.
WORKING_SIZE = 256
# The longer side of what is drawn in an Omniglot image of 105 x 105 pixels: the median of all.
INK_SIZE = 67
# The smallest and the largest width of strokes, in pixels. Nearly all of Omniglot's are within it.
PEN = (3.6, 5.0)
# A connected piece of ink is dirt if its area is less than this share of the largest piece's area.
SPECK = 0.025
# All ink is dirt if the largest piece is shorter than this share of the picture's longer side.
SHORTEST = 0.03
# Ink that takes a smaller share of the picture's longer side is looked at again, from near.
NEAR = 0.55
# Nothing is drawn where paper and ink differ by fewer grey levels of 255: it is a camera's noise.
CONTRAST = 40
# The widest stroke, as a share of the picture's longer side. What is wider is paper, or a table.
WIDEST = 1 / 4
# A blot: its mean width of strokes, as a share of its longer side, or the share of its box that is
# ink, where the box is not as narrow as a bar's. Of Omniglot's drawings, only dots alone are blots.
BLOT, FILLED, NARROW = 0.3, 0.75, 0.4
# What is cut off at each side of a sheet of paper on a table, as a share of the sheet's side.
RIM = 0.02
# A blot that takes less of the picture's longer side may be a drawing seen from too far away.
SMALL_BLOT = 0.15
# The skew of brightness, to either side of 0, that does not tell paper from ink.
UNCLEAR = 0.7
# The slants of ruled lines, in degrees.
SLANTS = np.arange(-8, 8.1, 0.5)

NO_INK = "shows no ink that differs from its paper"
TOO_DENSE = (
    "is too dense: ink fills most of what is drawn; use a thinner pen, or crop to one character"
)


class NoDrawing(UserError):
    """A picture in which no drawing of a character is found; its text says why."""


def _too_small(share: float) -> NoDrawing:
    return NoDrawing(
        f"shows too small a drawing: the ink covers less than {100 * share:.0f}% of the picture's "
        "longer side; crop closer"
    )


def _grey(image: Image.Image) -> np.ndarray:
    """Return a picture's brightness, [H, W] float32 from 0 to 255.

    Pixels of 16 or 32 bits are stretched so that the brightest one is 255, for scanners use 10, 12
    or 16 bits of them.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode[0] in "IF":
        values = np.nan_to_num(np.asarray(image, np.float32), posinf=0, neginf=0)
        low = min(0.0, float(values.min()))
        return (values - low) * (255 / max(float(values.max()) - low, 1e-12))
    if image.mode not in ("RGBA", "LA", "PA") and "transparency" not in image.info:
        return np.asarray(image.convert("L"), np.float32)
    rgba = image.convert("RGBA")
    values, alpha = (
        np.asarray(band, np.float32) for band in (rgba.convert("L"), rgba.getchannel("A"))
    )
    opaque = alpha > 127
    if opaque.all() or not opaque.any():
        return values if opaque.all() else 255 - alpha
    rows, columns = np.flatnonzero(opaque.any(axis=1)), np.flatnonzero(opaque.any(axis=0))
    box = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    low, paper, high = np.percentile(values[opaque], [0.5, 50, 99.5])
    if high - low < CONTRAST or opaque.sum() < box / 2:
        return 255 - alpha  # what is opaque is the ink, whatever its colour
    return (values * alpha + paper * (255 - alpha)) / 255  # it is the sheet


def _reduced(values: np.ndarray) -> np.ndarray:
    """Return a picture whose longer side has at most `WORKING_SIZE` pixels, uint8."""
    height, width = values.shape
    scale = WORKING_SIZE / max(height, width)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        values = cv2.resize(values, size, interpolation=cv2.INTER_AREA)
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)


def _darkness(values: np.ndarray) -> np.ndarray:
    """Return how much darker than its paper each pixel is, [H, W] uint8.

    Ink may be light on dark paper: the skew of the picture less its slow background tells, for the
    ink is what takes less of the area. The paper is the picture without what is narrower than
    `WIDEST`, so that shadows with a sharp edge, and the table around a sheet, are paper too.
    """
    side = max(15, int(WIDEST * max(values.shape)) | 1)
    slow = cv2.GaussianBlur(values.astype(np.float32), (0, 0), max(values.shape) / 8)
    uneven = values - slow
    uneven -= uneven.mean()
    skew = (uneven**3).mean() / max((uneven**2).mean(), 1e-12) ** 1.5
    if abs(skew) < UNCLEAR:  # there is as much ink as paper; the margin is paper
        margin = np.concatenate([uneven[0], uneven[-1], uneven[:, 0], uneven[:, -1]])
        skew = -np.median(margin)
    if skew > 0:
        values = 255 - values
    padded = cv2.copyMakeBorder(values, side, side, side, side, cv2.BORDER_REPLICATE)
    within = (slice(side, -side), slice(side, -side))
    paper = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, np.ones((side, side), np.uint8))[within]
    if _has_blot(paper) or np.median(paper - values) > CONTRAST:
        raise NoDrawing(TOO_DENSE)
    return paper - values


def _has_blot(paper: np.ndarray) -> bool:
    """Whether there is something very dark that is too wide to be a stroke, nor is it a shadow or
    a table, which lead to the edge.
    """
    dark = (paper < 0.4 * np.percentile(paper, 90)).astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(dark, connectivity=8)
    edges = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    inside = np.setdiff1d(np.arange(1, len(stats)), edges)
    return bool((stats[inside, cv2.CC_STAT_AREA] > 0.02 * paper.size).any())


def _on_sheet(values: np.ndarray) -> np.ndarray:
    """Return the part of a picture that shows a sheet of paper, where a darker table is around it.

    The sheet is a light quadrangle without much in it, and hardly touches the picture's edges.
    """
    small = _reduced(values)
    light = small > _otsu(small)
    if light.all() or not light.any() or small[light].mean() - small[~light].mean() < CONTRAST:
        return values
    edges = np.concatenate([light[0], light[-1], light[:, 0], light[:, -1]])
    outlines, _ = cv2.findContours(
        light.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    if edges.mean() > 0.34 or not outlines:
        return values
    outline = max(outlines, key=cv2.contourArea)
    hull = cv2.convexHull(outline)
    area, box = cv2.contourArea(hull), cv2.minAreaRect(hull)
    inside = cv2.fillConvexPoly(np.zeros_like(small), hull, 1) > 0
    if (
        area < 0.08 * small.size
        or cv2.contourArea(outline) < 0.9 * area
        or area < 0.85 * np.prod(box[1])
        or light[inside].mean() < 0.75
        or min(box[1]) < 0.25 * min(small.shape)  # a stroke of chalk
    ):
        return values
    corners = cv2.approxPolyDP(hull, 0.03 * cv2.arcLength(hull, True), True)[:, 0]
    if len(corners) != 4:
        corners = cv2.boxPoints(box)
    sheet = _straight(values, corners.astype(float) * (max(values.shape) / max(small.shape)))
    return sheet if np.ptp(_reduced(sheet)) >= CONTRAST else values


def _straight(values: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Return what is within a quadrangle, corners [4, 2] as x and y, as if seen from above."""
    away = corners - corners.mean(axis=0)
    corners = corners[np.argsort(np.arctan2(away[:, 1], away[:, 0]))]  # clockwise
    corners = np.roll(corners, -int(np.argmin(corners.sum(axis=1))), axis=0)  # from top left
    corners = corners.mean(axis=0) + (1 - 2 * RIM) * (corners - corners.mean(axis=0))
    lengths = np.linalg.norm(corners - np.roll(corners, -1, axis=0), axis=1)
    width, height = (round(max(lengths[k], lengths[k + 2])) for k in (0, 1))
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    warp = cv2.getPerspectiveTransform(corners.astype(np.float32), target)
    return cv2.warpPerspective(values, warp, (width, height), borderMode=cv2.BORDER_REPLICATE)


def _otsu(values: np.ndarray) -> float:
    """Return the threshold that splits uint8 values best in two groups (Otsu 1979)."""
    return cv2.threshold(values, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[0]


def _threshold(dark: np.ndarray) -> float:
    """Return how dark a pixel must be to differ from paper and its noise."""
    middle = np.median(dark)
    return max(CONTRAST / 2, middle + 6 * np.median(np.abs(dark - middle)))


def _ruled(ink: np.ndarray) -> np.ndarray:
    """Return where a picture has lines from its left to its right edge, [H, W] bool."""
    height, width = ink.shape
    found = np.zeros_like(ink)
    wide = cv2.dilate(ink.astype(np.uint8), np.ones((3, 1), np.uint8))
    middle = width / 2
    for slant in SLANTS:
        shear = np.tan(np.radians(slant))
        turn = np.array([[1, 0, 0], [shear, 1, -shear * middle]], np.float32)
        flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
        level = cv2.warpAffine(wide, turn, (width, height), flags=flags)
        full = (level.mean(axis=1) > 0.8) & level[:, :3].any(axis=1) & level[:, -3:].any(axis=1)
        if not full.any():
            continue
        lines = np.repeat(full[:, None], width, axis=1).astype(np.uint8)
        found |= cv2.warpAffine(lines, turn, (width, height), flags=cv2.INTER_NEAREST) > 0
    return found


def _without_rules(dark: np.ndarray) -> np.ndarray:
    """Return the darkness without the lines of ruled or squared paper, where ink crosses them too.

    A line leads from one edge of the picture to the opposite one, which few strokes of a pen do.
    """
    for turned in (False, True):
        view = dark.T.copy() if turned else dark
        ink = view > _threshold(view)
        rules = _ruled(ink)
        if not (rules & ink).any():
            continue
        usual = np.percentile(view[rules & ink], 80)
        rest = np.where(rules & (view < 1.3 * usual), 0, view).astype(np.uint8)
        bridged = cv2.morphologyEx(rest, cv2.MORPH_CLOSE, np.ones((9, 1), np.uint8))
        rest = np.where(rules, np.minimum(bridged, view), rest)
        left = rest > _threshold(rest)
        lines = np.sum(np.diff(rules[:, rules.shape[1] // 2].astype(int), prepend=0) > 0)
        remains = left.sum() > 0.1 * (ink & ~rules).sum()
        thinner = left.any() and _width(ink & rules) < 0.7 * _width(left)
        if lines > 2 or (remains and thinner):  # one or two lines may be strokes of a tight crop
            dark = rest.T.copy() if turned else rest
    return dark


def _is_frame(piece: np.ndarray, shape: tuple[int, int]) -> bool:
    """Whether a piece of ink, pixels [N, 2] as x and y, is a rectangle around most of a picture."""
    centre, (width, height), angle = cv2.minAreaRect(piece.astype(np.float32))
    if min(width, height) < 0.5 * min(shape):
        return False
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    u, v = ((piece - centre) @ np.array([[c, -s], [s, c]])).T
    to_side = np.stack([u + width / 2, width / 2 - u, v + height / 2, height / 2 - v])
    near = to_side < max(3, 0.04 * max(width, height))
    if near.any(axis=0).mean() < 0.98:
        return False
    along = [v, v, u, u]
    lengths = [height, height, width, width]
    return all(
        len(np.unique(np.floor(a[n]))) > 0.85 * length for a, n, length in zip(along, near, lengths)
    )


def _pieces(ink: np.ndarray) -> np.ndarray:
    """Return the ink without dirt and without a frame around it."""
    gap = cv2.dilate(ink.astype(np.uint8), np.ones((3, 3), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(gap, connectivity=8)
    labels = np.where(ink, labels, 0)
    areas = np.bincount(labels.ravel(), minlength=len(stats)).astype(float)
    areas[0] = 0
    largest = int(areas.argmax())
    longest = stats[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max(axis=1)
    for k in np.argsort(-areas)[:3]:
        within = ink & (labels > 0) & (labels != k)
        if not within.any():
            continue
        top, bottom, left, right = _box(within)
        if max(bottom - top, right - left) > 0.15 * longest[k] and _is_frame(
            np.argwhere(labels == k)[:, ::-1], ink.shape
        ):
            areas[k] = 0
            largest = int(areas.argmax())
            break
    if areas[largest] == 0 or longest[largest] - 2 < SHORTEST * max(ink.shape):
        return np.zeros_like(ink)
    return ink & np.isin(labels, np.flatnonzero(areas >= SPECK * areas[largest]))


def _box(ink: np.ndarray) -> tuple[int, int, int, int]:
    """Return the first row, the row after the last, and the same of columns."""
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


def find_ink(image: Image.Image) -> np.ndarray:
    """Return where a picture has ink, looking closer where the drawing is small.

    The paper may be light or dark, ruled or squared, shaded, or a sheet on a darker table; a frame
    around the drawing is no part of it.

    Args:
        image (PIL.Image.Image): any picture of one character.

    Returns:
        ndarray: [H, W] bool, at most `WORKING_SIZE` high and wide, with some ink.

    Raises:
        NoDrawing: if there is no ink, or if it is too small or too dense to be a character.
    """
    values = _on_sheet(_grey(image))
    whole = 1.0  # the drawing's share of the picture's longer side
    near = None  # the ink that was found from farther away, and a little around it
    for _ in range(3):
        small = _reduced(values)
        if np.ptp(small) < CONTRAST:
            raise NoDrawing(NO_INK)
        try:
            dark = _without_rules(_darkness(small))
        except NoDrawing:
            raise _too_small(SMALL_BLOT) if whole < SMALL_BLOT else NoDrawing(TOO_DENSE) from None
        seen = dark > max(_otsu(dark), _threshold(dark))
        if near is not None:
            seen &= cv2.resize(near, seen.shape[::-1], interpolation=cv2.INTER_LINEAR) > 0
        ink = _pieces(seen)
        if not ink.any():
            raise _too_small(SHORTEST) if seen.any() else NoDrawing(NO_INK)
        top, bottom, left, right = _box(ink)
        longer = max(bottom - top, right - left)
        whole = longer / max(ink.shape) if near is None else whole
        if longer >= NEAR * max(ink.shape) or max(values.shape) <= max(ink.shape):
            break
        margin, (height, width) = int(0.3 * longer), ink.shape
        top, bottom = max(0, top - margin), min(height, bottom + margin)
        left, right = max(0, left - margin), min(width, right + margin)
        near = cv2.dilate(ink.astype(np.uint8), np.ones((7, 7), np.uint8))[top:bottom, left:right]
        scale = max(values.shape) / max(ink.shape)
        rows, columns = (
            (np.array(ends) * scale).astype(int) for ends in ((top, bottom), (left, right))
        )
        values = values[slice(*rows), slice(*columns)]
    top, bottom, left, right = _box(ink)
    box = ink[top:bottom, left:right]
    filled = box.mean() > FILLED and min(box.shape) > NARROW * max(box.shape)
    if filled or _width(ink) > BLOT * max(box.shape):
        raise _too_small(SMALL_BLOT) if whole < SMALL_BLOT else NoDrawing(TOO_DENSE)
    return ink


def _width(ink: np.ndarray) -> float:
    """Return the mean width of strokes, in pixels: twice the area by the length of the outline."""
    inner = cv2.erode(ink.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0) > 0
    return 2 * ink.sum() / max(1, (ink & ~inner).sum())


def _with_pen(ink: Image.Image) -> Image.Image:
    """Return ink (255 on 0) whose strokes have a width within `PEN`."""
    for _ in range(12):
        width = _width(np.asarray(ink) > 127)
        thinner = ink.filter(ImageFilter.MinFilter(3))
        if width > PEN[1] and thinner.getbbox():
            ink = thinner
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
        ndarray: [size, size] uint8 with ink 255, like `maml.data.raw.load`.

    Raises:
        NoDrawing: if no drawing is found; see `find_ink`.
    """
    ink = find_ink(image)
    top, bottom, left, right = _box(ink)
    cropped = ink[top:bottom, left:right]
    scale = INK_SIZE / max(cropped.shape)
    height, width = (max(1, round(side * scale)) for side in cropped.shape)
    drawn = Image.fromarray((255 * cropped).astype(np.uint8))
    scaled = drawn.resize((width, height), Image.Resampling.BOX)
    corner = (RAW_SIZE - width) // 2, (RAW_SIZE - height) // 2
    sheet = Image.new("L", (RAW_SIZE, RAW_SIZE))
    sheet.paste(scaled.point(lambda v: 255 * (v > 100)), corner)
    return np.asarray(_with_pen(sheet).resize((size, size), Image.Resampling.LANCZOS))
