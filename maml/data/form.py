"""What the images of some data are like, so that other pictures can be made like them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from maml.data.ink import like_omniglot

FITS = {
    "crop": "cut off what a square has no place for",
    "pad": "keep all, with black bars beside it",
    "stretch": "keep all, with other proportions",
}
DRAWING = "drawing"
"""the fit of Omniglot and of pictures of drawings: the ink is found, centred and redrawn"""
INKS = ("dark", "light")
SMOOTH = Image.Resampling.LANCZOS


@dataclass(frozen=True)
class Form:
    """How a picture becomes an image of some data.

    Args:
        image_size (int): side of the images, in pixels.
        channels (int): 1 for grey, 3 for colour.
        fit (str): what happens to a picture that is no square, a key of `FITS`; or "drawing" for
            the ink alone, as in Omniglot.
        ink (str): "dark" or "light" for drawings that are scaled as they are, where ink becomes
            high values; empty for pictures, whose values stay.

    Example:
        >>> from PIL import Image
        >>> from maml.data import Form
        >>> Form(84, channels=3, fit="crop").of(Image.new("RGB", (640, 480), "red")).shape
        (3, 84, 84)
    """

    image_size: int = 28
    channels: int = 1
    fit: str = DRAWING
    ink: str = ""

    @property
    def high_ink(self) -> bool:
        """Whether images are drawings, whose ink has the high values."""
        return self.fit == DRAWING or self.ink != ""

    def of(self, picture: Image.Image) -> np.ndarray:
        """Return a picture in this form, [channels, image_size, image_size] uint8.

        Raises:
            NoDrawing: if the fit is "drawing" and none is found.
        """
        if self.fit == DRAWING:
            return like_omniglot(picture, self.image_size)[None]
        size = (self.image_size, self.image_size)
        flat = plain(picture, self.channels)
        if self.fit == "crop":
            flat = ImageOps.fit(flat, size, SMOOTH)
        elif self.fit == "pad":
            flat = ImageOps.pad(flat, size, SMOOTH)
        else:
            flat = flat.resize(size, SMOOTH)
        values = np.asarray(flat).reshape(*size, self.channels).transpose(2, 0, 1)
        return 255 - values if self.ink == "dark" else values


def plain(picture: Image.Image, channels: int) -> Image.Image:
    """Return a picture the right way up, opaque, with 8 bits in grey or colour.

    What is transparent lies on white. Values of 16 bits are scaled by the type's range, whatever
    the brightest is, so that pictures of one camera stay comparable.
    """
    picture = ImageOps.exif_transpose(picture)
    if picture.mode[0] in "IF":  # 16 or 32 bits
        values = np.nan_to_num(np.asarray(picture, np.float32), posinf=0, neginf=0)
        highest = float(values.max(initial=0))
        scale = 255.0 if picture.mode[0] == "F" and highest <= 1 else 1.0
        if highest > 255:
            scale = 255 / 65535 if highest <= 65535 else 255 / highest
        picture = Image.fromarray(np.rint(np.clip(values * scale, 0, 255)).astype(np.uint8))
    elif picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        above = picture.convert("RGBA")
        picture = Image.new("RGB", above.size, "white")
        picture.paste(above, mask=above.getchannel("A"))
    return picture.convert("RGB" if channels == 3 else "L")


def channels_of(picture: Image.Image) -> int:
    """Return 3 for a picture in a mode of colours, and 1 for one of greys."""
    if picture.mode in ("P", "PA"):
        palette = np.array(picture.getpalette("RGB"), int).reshape(-1, 3)
        return 1 if (palette == palette[:, :1]).all() else 3
    return 1 if picture.mode[0] in "1LIF" and picture.mode != "LAB" else 3
