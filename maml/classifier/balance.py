"""A support in which all classes count alike, however many images each of them has."""

from __future__ import annotations

import numpy as np

from maml.config import GRADIENT

COUNT_IMAGES = (*GRADIENT, "matching")
"""methods for which a class with more images counts more: means, or attention, over all images"""


def balanced(x: np.ndarray, y: np.ndarray, algorithm: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the support; where the method counts images, every class as large as the largest one.

    Images are repeated for that. The loss and the batch statistics of a gradient method are means
    over images, and the attention of Matching Networks is shared by them, so that a class with
    fewer of them would count less.

    Args:
        x (ndarray): the images, [N, 1, H, W].
        y (ndarray): their labels, [N] int from 0; each label has an image.
        algorithm (str): the method's name.

    Returns:
        tuple[ndarray, ndarray]: the images and labels.
    """
    if algorithm not in COUNT_IMAGES:
        return x, y
    of_class = [np.flatnonzero(y == k) for k in range(y.max() + 1)]
    most = max(map(len, of_class))
    turns = np.stack([np.resize(rows, most) for rows in of_class], axis=1).ravel()
    return x[turns], y[turns]
