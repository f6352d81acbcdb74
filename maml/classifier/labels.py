"""Labels of any kind that users have, as values by which classes are told apart."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

from maml.system.errors import UserError

PLAIN = (str, int, float, bool)


def as_labels(labels: Any) -> list[Hashable]:
    """Return the labels of images; those of NumPy, Paddle and pandas become Python's own values.

    Args:
        labels: a list, an array or anything else that yields a label for each image.

    Raises:
        UserError: if `labels` is anything else, or a label cannot tell classes apart.

    Example:
        >>> import numpy as np
        >>> as_labels(np.array([3, 1])), as_labels(label for label in ("a", None, (1, 2)))
        ([3, 1], ['a', None, (1, 2)])
    """
    try:
        listed = None if isinstance(labels, (str, bytes)) else list(labels)
    except TypeError:
        listed = None
    if listed is None:
        raise UserError(
            "labels must be a list with a label for each image, not of type"
            f" {type(labels).__name__}"
        )
    return [as_label(label) for label in listed]


def as_label(label: Any) -> Hashable:
    """Return one label; see `as_labels`."""
    if getattr(label, "ndim", None) == 0:  # a number of NumPy or Paddle
        label = label.item()
    try:
        hash(label)
    except TypeError:
        hashable = False
    else:
        hashable = not hasattr(label, "ndim")  # each tensor is another one, whatever it holds
    if not hashable:
        raise UserError(
            "a label must be a text, a number or another hashable value, not of type"
            f" {type(label).__name__}"
        )
    if label != label:
        raise UserError("a label is NaN, which equals nothing; give that image a label")
    return label


def classes_of(labels: Iterable[Hashable]) -> list[Hashable]:
    """Return each label once, sorted; labels of several kinds are sorted as they are written."""
    try:
        return sorted(set(labels))  # type: ignore[type-var]
    except TypeError:
        return sorted(set(labels), key=repr)


def plain(labels: list[Hashable], done: str) -> list[Hashable]:
    """Return the labels if a file can hold them; `done` says what was to be done with them.

    Raises:
        UserError: if one is neither a text nor a number.
    """
    if not all(type(label) in PLAIN for label in labels):
        raise UserError(f"labels must be texts or numbers to be {done}")
    return labels
