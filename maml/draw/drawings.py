"""Drawings and pictures that the page sends, and a folder of them that --support takes."""

from __future__ import annotations

import base64
import io
import re
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from maml.data import ink
from maml.data.form import Form
from maml.data.raw import DAMAGED
from maml.system.errors import UserError

LARGEST_DRAWING = 1000  # pixels of a side
LARGEST_PICTURE = 50_000_000  # pixels; a telephone's camera has up to that many
SIDE, MARGIN = 256, 36  # of a drawing that is made of a picture, in pixels
FORBIDDEN = re.compile(r'[\\/:*?"<>|\x00-\x1f\x7f]')  # in the names of files, on some system
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # on Windows


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
    if not isinstance(text, str) or not text.startswith("data:image/png;base64,"):
        raise UserError("a drawing must be a PNG as a data URL")
    image = _image("a drawing", text)
    if max(image.size) > LARGEST_DRAWING:
        raise UserError(f"a drawing may have {LARGEST_DRAWING} x {LARGEST_DRAWING} pixels at most")
    try:
        return form.of(image)
    except ink.NoDrawing as error:
        raise refused("a drawing", error) from None
    except DAMAGED as error:
        raise _unreadable("a drawing", error) from None


def read_picture(text: Any) -> str:
    """Turn a picture into a drawing, whose ink is found as it is for --support.

    Args:
        text: a picture of a character, of any kind that Pillow reads, as a data URL.

    Returns:
        str: a PNG of SIDE x SIDE pixels, black on transparency, as a data URL.

    Raises:
        UserError: if `text` is anything else, or if no character is found.
    """
    if not isinstance(text, str) or not re.match(r"data:[\w/.+-]*;base64,", text):
        raise UserError("a picture must be a data URL")
    image = _image("a picture", text)
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
    alpha = Image.new("L", (SIDE, SIDE))
    scaled = drawn.resize((width, height), Image.Resampling.BICUBIC)
    alpha.paste(scaled, ((SIDE - width) // 2, (SIDE - height) // 2))
    return _as_url(Image.merge("LA", (Image.new("L", alpha.size), alpha)))


def seen(image: np.ndarray, form: Form) -> str:
    """Return an image [C, H, W] uint8 as a PNG, as a data URL; high ink is black on white."""
    shown = (255 - image if form.high_ink else image).transpose(1, 2, 0)
    return _as_url(Image.fromarray(shown[:, :, 0] if form.channels == 1 else shown))


def folder(names: Sequence[str], drawings: Sequence[Sequence[str]]) -> bytes:
    """Return a zip of a folder for each class, as --support takes it.

    Args:
        names (Sequence[str]): the name of each class.
        drawings (Sequence[Sequence[str]]): PNGs of each class, as data URLs.
    """
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as written:
        for name, of_class in zip(folder_names(names), drawings):
            for number, text in enumerate(of_class, 1):
                png = io.BytesIO()
                _image("a drawing", text).convert("L").save(png, "png")
                written.writestr(f"{name}/{number}.png", png.getvalue())
    return memory.getvalue()


def folder_names(names: Sequence[str]) -> list[str]:
    """Return a name of a folder for each class: distinct, visible and allowed on every system."""
    found: list[str] = []
    for number, name in enumerate(names, 1):
        allowed = FORBIDDEN.sub("_", name).strip(". ")[:60].strip(". ") or f"class {number}"
        if RESERVED.fullmatch(allowed):
            allowed = f"_{allowed}"
        distinct, turn, taken = allowed, 2, {other.casefold() for other in found}
        while distinct.casefold() in taken:
            distinct, turn = f"{allowed} {turn}", turn + 1
        found.append(distinct)
    return found


def _image(what: str, text: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(base64.b64decode(text.partition(",")[2], validate=True)))
    except UnidentifiedImageError:
        raise _unreadable(what, "its format is not known") from None
    except DAMAGED as error:
        raise _unreadable(what, error) from None


def _unreadable(what: str, why: object) -> Refused:
    kind = "PNG" if what == "a drawing" else "picture"
    return Refused("unreadable", f"{what} is not a readable {kind} ({' '.join(str(why).split())})")


def _as_url(image: Image.Image) -> str:
    memory = io.BytesIO()
    image.save(memory, "png")
    return "data:image/png;base64," + base64.b64encode(memory.getvalue()).decode()
