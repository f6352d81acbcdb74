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

NUMBERS = "biuf"  # kinds of arrays: bool, integers, floats
COLOURS = (3, 4)  # values of a pixel, perhaps with its opacity


def as_images(images: Any, form: Form) -> np.ndarray:
    """Return images as [N, C, size, size] float32, 0 to 1, ink 1.

    Args:
        images: paths, PIL images, arrays or tensors, one or several. An array of the network's size
            is taken as the data are: uint8 with ink 255, or float with ink 1. Everything else is a
            picture, and is made to look like the images that the network was trained on.
        form (Form): what these look like. Arrays in colour are [H, W, 3] or [3, H, W].

    Raises:
        UserError: if one is no image, cannot be read, or shows no drawing. All pictures that are
            refused are named, with the reason: files by their paths, others by their place.
    """
    found, refused = [], []
    for number, image in enumerate(_each(images, form)):
        try:
            found.append(_as_image(image, form))
        except NoDrawing as error:
            is_path = isinstance(image, (str, os.PathLike))
            refused.append(str(error) if is_path else f"image {number} {error}")
    if refused:
        raise UserError(f"{'; '.join(refused)}; replace or leave out")
    return np.stack(found)


def _each(images: Any, form: Form) -> Sequence[Any]:
    """The images, one after the other, of one or several."""
    images = _of_tensor(images)
    if isinstance(images, (str, os.PathLike, Image.Image)):
        return [images]
    if isinstance(images, np.ndarray) and images.dtype.kind in NUMBERS:
        colour_first = images.ndim == 3 and form.channels == 3 == images.shape[0]
        colour_last = images.ndim == 3 and images.shape[2] in (1, *COLOURS)
        if images.ndim == 2 or colour_first or colour_last:
            return [images]
        if images.ndim not in (3, 4):
            raise UserError(f"images must be [H, W], [N, H, W] or [N, 1, H, W], not {images.shape}")
    try:
        images = list(images)
    except TypeError:
        raise UserError(
            f"images must be paths, PIL images or arrays, not of type {type(images).__name__}"
        ) from None
    if not images:
        raise UserError("there are no images; give at least one")
    return images


def _as_image(image: Any, form: Form) -> np.ndarray:
    image = _of_tensor(image)
    if isinstance(image, (str, os.PathLike)):
        return pictures.read(Path(image), form)
    if isinstance(image, np.ndarray):
        flat = _colours_last(image)
        colours, size = flat.shape[2:] or (1,), (form.image_size, form.image_size)
        if flat.shape[:2] == size and colours == (form.channels,):
            return _of_network_size(flat).reshape(*size, form.channels).transpose(2, 0, 1)
        if flat.dtype == bool:
            flat = 255 * flat.astype(np.uint8)
        if flat.ndim == 3 and flat.dtype != np.uint8:
            flat = np.rint(255 * _of_network_size(flat)).astype(np.uint8)
        image = Image.fromarray(flat if flat.dtype == np.uint8 else flat.astype(np.float32))
    if not isinstance(image, Image.Image):
        raise UserError(
            f"an image must be a path, a PIL image or an array, not {type(image).__name__}"
        )
    return as_ink(form.of(image))


def _of_tensor(images: Any) -> Any:
    return images.numpy() if hasattr(images, "numpy") else images


def _colours_last(image: np.ndarray) -> np.ndarray:
    """An image as [H, W], or [H, W, 3 or 4] in colour."""
    flat = image
    if image.ndim == 3 and 1 in (image.shape[0], image.shape[2]):
        flat = image[0] if image.shape[0] == 1 else image[:, :, 0]
    elif image.ndim == 3 and image.shape[2] not in COLOURS and image.shape[0] in COLOURS:
        flat = image.transpose(1, 2, 0)
    is_image = flat.ndim == 2 or flat.ndim == 3 and flat.shape[2] in COLOURS
    if not (is_image and flat.size and flat.dtype.kind in NUMBERS):
        raise UserError(
            f"an array of an image must hold numbers, [H, W] or in colour [H, W, 3], not"
            f" {image.shape} of {image.dtype}"
        )
    return flat


def _of_network_size(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.uint8:
        return as_ink(image)
    found = image.astype(np.float32)
    if not (np.isfinite(found).all() and 0 <= found.min() and found.max() <= 1):
        raise UserError("an array that is not of uint8 must hold ink between 0 and 1")
    return found
