"""The support that a page sends: some classes, and some drawings of each."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import numpy as np

from maml.data.form import Form
from maml.draw import drawings
from maml.draw.memory import Latest
from maml.system.errors import UserError

WAYS, SHOTS = range(2, 21), range(1, 6)
SEEN = 5000  # drawings whose images are kept, for a page sends all of them with every change


class Read(NamedTuple):
    """A support that the page sent.

    Args:
        images (ndarray): what can be used, [N, C, size, size] uint8, as `read_drawing`.
        labels (list[int]): the class of each.
        seen (list[list[str | None]]): by class and drawing, what the network sees, or None.
        refused (list[dict]): the drawings that cannot be used, and why.
    """

    images: np.ndarray
    labels: list[int]
    seen: list[list[str | None]]
    refused: list[dict[str, Any]]


class Unusable(UserError):
    """A support with a class of which no drawing can be used; `refused` says why, as in `Read`."""

    def __init__(self, refused: list[dict[str, Any]]):
        super().__init__("; ".join(one["error"] for one in refused))
        self.refused = refused


class Reader:
    """Reads what pages send, each drawing only once."""

    def __init__(self) -> None:
        self._known: Latest[np.ndarray] = Latest(SEEN)

    def drawing(self, text: Any, form: Form) -> np.ndarray:
        """Return a drawing as the network sees it, [C, size, size] uint8."""
        key = (hashlib.sha256(str(text).encode()).digest(), form)
        image = self._known.get(key)
        if image is None:
            image = self._known.keep(key, drawings.read_drawing(text, form))
        return image

    def support(self, stated: Any, form: Form) -> Read:
        """Return a support, without the drawings that show no character.

        Args:
            stated: a list of classes, each of which is a list of drawings.
            form (Form): what the images of the training look like.

        Raises:
            UserError: if `stated` is anything else.
            Unusable: if a class has no drawing that can be used.
        """
        check_support(stated)
        images, labels = [], []
        seen: list[list[str | None]] = [[] for _ in stated]
        refused: list[dict[str, Any]] = []
        for k, of_class in enumerate(stated):
            for number, text in enumerate(of_class):
                try:
                    image = self.drawing(text, form)
                except drawings.Refused as error:
                    where = {"class": k, "drawing": number}
                    refused.append({**where, "reason": error.reason, "error": str(error)})
                    seen[k].append(None)
                    continue
                images.append(image)
                labels.append(k)
                seen[k].append(drawings.seen(image, form))
        if len(set(labels)) < len(stated):
            raise Unusable(refused)
        return Read(np.stack(images), labels, seen, refused)


def check_support(stated: Any) -> None:
    """Raise a `UserError` unless it is a list of classes, each of which is a list of drawings."""
    is_list = isinstance(stated, list) and len(stated) in WAYS
    if not is_list or not all(isinstance(s, list) and len(s) in SHOTS for s in stated):
        raise UserError(
            f"the support must be {WAYS[0]} to {WAYS[-1]} classes of {SHOTS[0]} to {SHOTS[-1]}"
            " drawings each"
        )


def check_names(stated: Any, support: list) -> None:
    """Raise a `UserError` unless it is a list with a text for each class of the support."""
    if not isinstance(stated, list) or [type(name) for name in stated] != [str] * len(support):
        raise UserError(f"the names must be a list of {len(support)} texts")
