"""Slightly distorted copies of drawings: turned, scaled, sheared and moved."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from maml.data.tasks import as_ink

NOT_DISTORTED = "distortions are for drawings of Omniglot's form; drop them"
TURN, SHEAR, SCALE, MOVE = math.radians(10), 0.15, (0.9, 1.1), 0.05


def with_distortions(images: np.ndarray, copies: int, rng: np.random.Generator) -> np.ndarray:
    """Return each drawing, followed by slightly distorted copies.

    A copy is turned by up to 10 degrees, scaled by 0.9 to 1.1, sheared by up to 0.15 and moved by
    up to 5% of its side, each uniformly at random.

    Args:
        images (ndarray): drawings, [rows, drawings, 1, H, W] uint8.
        copies (int): distorted copies of each drawing.
        rng (numpy.random.Generator): the source of randomness.

    Returns:
        ndarray: [rows, drawings, 1 + copies, H, W] uint8.
    """
    rows, drawings, _, height, width = images.shape
    distorted = np.empty((rows, drawings, 1 + copies, height, width), np.uint8)
    distorted[:, :, 0] = images[:, :, 0]
    for r, d in np.ndindex(rows, drawings):
        image = Image.fromarray(images[r, d, 0])
        for version in range(1, 1 + copies):
            affine = _affine(rng, width, height)
            copy = image.transform((width, height), Image.Transform.AFFINE, affine, BILINEAR)
            distorted[r, d, version] = np.asarray(copy)
    return distorted


BILINEAR = Image.Resampling.BILINEAR


def _affine(rng: np.random.Generator, width: int, height: int) -> tuple[float, ...]:
    """A random distortion, as Pillow takes it: the source of each pixel, a x + b y + c."""
    angle, shear = rng.uniform(-1, 1, 2) * (TURN, SHEAR)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix = turn @ np.array([[1, shear], [0, 1]]) * rng.uniform(*SCALE, (2, 1))
    centre = np.array([width - 1, height - 1]) / 2
    offset = centre - matrix @ (centre + rng.uniform(-MOVE, MOVE, 2) * width)
    return (*matrix[0], offset[0], *matrix[1], offset[1])


def distorted_views(x: np.ndarray, copies: int) -> list[np.ndarray]:
    """Return `copies` distorted versions of all images.

    The distortion of an image depends on its position within its task alone: the generator is
    seeded anew for every task, so that a task's result does not depend on the tasks beside it.

    Args:
        x (ndarray): images, [T, N, 1, H, W] float32, ink 1.
        copies (int): distorted versions of each image.

    Returns:
        list[ndarray]: arrays like `x`.
    """
    images = np.rint(255 * x).astype(np.uint8).reshape(x.shape[0], x.shape[1], 1, *x.shape[3:])
    tasks = [with_distortions(task[None], copies, np.random.default_rng(0)) for task in images]
    versions = np.concatenate(tasks)  # [T, N, 1 + copies, H, W]
    return [as_ink(versions[:, :, v : v + 1]) for v in range(1, 1 + copies)]
