"""Drawings and pictures that the page sends."""

from __future__ import annotations

import base64
import io
import re
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from maml.data import ink
from maml.data.form import Form
from maml.data.raw import DAMAGED
from maml.system.errors import UserError

LARGEST_DRAWING = 1000  # pixels of a side
LARGEST_PICTURE = 50_000_000  # pixels; a telephone's camera has up to that many
BLANK = 8  # of 255: values that differ less, in each channel, show nothing
SIDE, MARGIN = 256, 36  # of a drawing that is made of a picture, in pixels


class Refused(UserError):
    """A drawing that the network cannot take.

    Args:
        reason (str): a word for the page: blank, dense, small, or unreadable.
        sentence (str): the same for people, after "a drawing" or "a picture".
    """

    def __init__(self, reason: str, sentence: str):
        super().__init__(sentence)
        self.reason = reason


def refused(what: str, error: ink.NoDrawing) -> Refused:
    """Return why `what`, a drawing or a picture, shows no character."""
    reason = {ink.NO_INK: "blank", ink.TOO_DENSE: "dense"}.get(str(error), "small")
    return Refused(reason, f"{what} is blank" if reason == "blank" else f"{what} {error}")


def read_drawing(text: Any, form: Form) -> np.ndarray:
    """Return a drawing that the page sent, as the network sees it.

    Args:
        text: a PNG as a data URL.
        form (Form): what the images of its training look like.

    Returns:
        ndarray: [C, size, size] uint8, with ink 255 where drawings have it.

    Raises:
        UserError: if `text` is anything else, or if no character is found.
    """
    image = open_drawing(text)
    try:
        found = form.of(image)
    except ink.NoDrawing as error:
        raise refused("a drawing", error) from None
    if np.ptp(found, axis=(1, 2)).max() < BLANK:  # weights for photographs look for no ink
        raise refused("a drawing", ink.NoDrawing(ink.NO_INK))
    return found


def open_drawing(text: Any) -> Image.Image:
    """Return the image of a drawing that the page sent, a PNG as a data URL.

    Raises:
        UserError: if `text` is anything else, or is too large or damaged.
    """
    if not isinstance(text, str) or not text.startswith("data:image/png;base64,"):
        raise UserError("a drawing must be a PNG as a data URL")
    image = _image("a drawing", content("a drawing", text))
    if max(image.size) > LARGEST_DRAWING:
        raise UserError(f"a drawing may have {LARGEST_DRAWING} x {LARGEST_DRAWING} pixels at most")
    try:
        image.load()
    except DAMAGED as error:
        raise _unreadable("a drawing", error) from None
    return image


def read_picture(text: Any) -> str:
    """Turn a picture into a drawing, whose ink is found as it is for --support.

    Args:
        text: a picture of a character, of any kind that Pillow reads, as a data URL.

    Returns:
        str: a PNG of SIDE x SIDE pixels, black on transparency, as a data URL.

    Raises:
        UserError: if `text` is anything else, or if no character is found.
    """
    return drawn_from(content("a picture", text))


def drawn_from(file: bytes) -> str:
    """Turn the content of a picture's file into a drawing; see `read_picture`."""
    image = _image("a picture", file)
    if image.width * image.height > LARGEST_PICTURE:
        most = LARGEST_PICTURE // 10**6
        raise UserError(f"a picture may have {most} megapixels at most; make it smaller")
    try:
        found = ink.find_ink(image)
    except ink.NoDrawing as error:
        raise refused("a picture", error) from None
    except DAMAGED as error:
        raise _unreadable("a picture", error) from None
    rows, columns = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
    inked = found[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    drawn = Image.fromarray((255 * inked).astype(np.uint8))
    scale = (SIDE - 2 * MARGIN) / max(drawn.size)
    width, height = (max(1, round(side * scale)) for side in drawn.size)
    opacity = Image.new("L", (SIDE, SIDE))
    scaled = drawn.resize((width, height), Image.Resampling.BICUBIC)
    opacity.paste(scaled, ((SIDE - width) // 2, (SIDE - height) // 2))
    return on_transparency(opacity)


def on_transparency(opacity: Image.Image) -> str:
    """Return a black drawing of this opacity, a grey image, as the page keeps pictures."""
    return _as_url(Image.merge("LA", (Image.new("L", opacity.size), opacity)))


def seen(image: np.ndarray, form: Form) -> str:
    """Return an image [C, H, W] uint8 as a PNG, as a data URL; high ink is black on white."""
    shown = (255 - image if form.high_ink else image).transpose(1, 2, 0)
    return _as_url(Image.fromarray(shown[:, :, 0] if form.channels == 1 else shown))


def content(what: str, text: Any) -> bytes:
    """Return the content of a file that the page sent as a data URL; `what` names it in errors.

    Raises:
        UserError: if `text` is anything else.
    """
    if not isinstance(text, str) or not re.match(r"data:[\w/.+-]*;base64,", text):
        raise UserError(f"{what} must be a data URL")
    try:
        return base64.b64decode(text.partition(",")[2], validate=True)
    except ValueError as error:
        raise _unreadable(what, error) from None


def _image(what: str, file: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(file))
    except UnidentifiedImageError:
        raise _unreadable(what, "its format is not known") from None
    except DAMAGED as error:
        raise _unreadable(what, error) from None


def _unreadable(what: str, why: object) -> Refused:
    kind = {"a drawing": "PNG", "a picture": "picture"}.get(what, "file")
    return Refused("unreadable", f"{what} is not a readable {kind} ({' '.join(str(why).split())})")


def _as_url(image: Image.Image) -> str:
    memory = io.BytesIO()
    image.save(memory, "png")
    return "data:image/png;base64," + base64.b64encode(memory.getvalue()).decode()
