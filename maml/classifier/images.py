"""Whatever a user has as images, as the arrays that the networks take."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from maml.data import pictures
from maml.data.form import Form
from maml.data.ink import NoDrawing
from maml.data.tasks import as_ink
from maml.system.errors import UserError


def as_images(images: Any, form: Form) -> np.ndarray:
    """Return images as [N, C, size, size] float32, 0 to 1, ink 1.

    Args:
        images: paths, PIL images or arrays, one or several. An array of the network's size is taken
            as the data are: uint8 with ink 255, or float with ink 1. Everything else is a picture,
            and is made to look like the images that the network was trained on.
        form (Form): what these look like. Arrays in colour are [H, W, 3] or [3, H, W].

    Raises:
        UserError: if one is no image, cannot be read, or shows no drawing. All pictures that are
            refused are named, with the reason: files by their paths, others by their place.
    """
    found, refused = [], []
    for number, image in enumerate(_each(images)):
        try:
            found.append(_as_image(image, form))
        except NoDrawing as error:
            is_path = isinstance(image, (str, os.PathLike))
            refused.append(str(error) if is_path else f"image {number} {error}")
    if refused:
        raise UserError(f"{'; '.join(refused)}; replace or leave out")
    return np.stack(found)


def _each(images: Any) -> Sequence[Any]:
    """The images, one after the other, of one or several."""
    if isinstance(images, (str, os.PathLike, Image.Image)):
        return [images]
    if isinstance(images, np.ndarray):
        if images.ndim == 2:
            return [images]
        if images.ndim in (3, 4):
            return list(images)
        raise UserError(f"images must be [H, W], [N, H, W] or [N, 1, H, W], not {images.shape}")
    images = list(images)
    if not images:
        raise UserError("there are no images; give at least one")
    return images


def _as_image(image: Any, form: Form) -> np.ndarray:
    if isinstance(image, (str, os.PathLike)):
        return pictures.read(Path(image), form)
    if isinstance(image, np.ndarray):
        flat = image[0] if image.ndim == 3 and image.shape[0] == 1 else image
        colour = flat.ndim == 3 and 3 in (flat.shape[0], flat.shape[2])
        if colour and flat.shape[2] != 3:
            flat = flat.transpose(1, 2, 0)
        channels, size = 3 if colour else 1, (form.image_size, form.image_size)
        if flat.shape[:2] == size and channels == form.channels:
            return _of_network_size(flat).reshape(*size, channels).transpose(2, 0, 1)
        if flat.dtype == bool:
            flat = 255 * flat.astype(np.uint8)
        if colour and flat.dtype != np.uint8:
            flat = np.rint(255 * _of_network_size(flat)).astype(np.uint8)
        image = Image.fromarray(flat if flat.dtype == np.uint8 else flat.astype(np.float32))
    if not isinstance(image, Image.Image):
        raise UserError(
            f"an image must be a path, a PIL image or an array, not {type(image).__name__}"
        )
    return as_ink(form.of(image))


def _of_network_size(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.uint8:
        return as_ink(image)
    found = image.astype(np.float32)
    if not (np.isfinite(found).all() and 0 <= found.min() and found.max() <= 1):
        raise UserError("an array of floats must hold ink between 0 and 1")
    return found
