"""Slightly distorted copies of drawings: turned, scaled, sheared and moved."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image


def with_distortions(images: np.ndarray, copies: int, rng: np.random.Generator) -> np.ndarray:
    """[classes, drawings, 1, H, W] uint8 -> [classes, drawings, 1 + copies, H, W]: each drawing,
    and slightly distorted copies.

    A copy is turned by up to 10 degrees, scaled by 0.9 to 1.1, sheared by up to 0.15 and moved by
    up to 5% of its side, all uniform.
    """
    classes, drawings, _, height, width = images.shape
    distorted = np.empty((classes, drawings, 1 + copies, height, width), np.uint8)
    distorted[:, :, 0] = images[:, :, 0]
    centre = np.array([width - 1, height - 1]) / 2
    for c, d in np.ndindex(classes, drawings):
        image = Image.fromarray(images[c, d, 0])
        for version in range(1, 1 + copies):
            angle, shear = rng.uniform(-1, 1, 2) * (math.radians(10), 0.15)
            turn = np.array(
                [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
            )
            matrix = turn @ np.array([[1, shear], [0, 1]]) * rng.uniform(0.9, 1.1, (2, 1))
            offset = centre - matrix @ (centre + rng.uniform(-0.05, 0.05, 2) * width)
            affine = (*matrix[0], offset[0], *matrix[1], offset[1])
            distorted[c, d, version] = image.transform(
                (width, height), Image.AFFINE, affine, resample=Image.BILINEAR
            )
    return distorted
