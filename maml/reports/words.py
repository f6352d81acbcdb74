"""Words and numbers that several reports share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maml.config import Config
from maml.data.index import IMAGES_OF

NOT_OMNIGLOT = "These are NOT Omniglot's characters, but {} ones."
NAMES = {
    "maml": "MAML",
    "reptile": "Reptile",
    "protonet": "Prototypical Networks",
    "matching": "Matching Networks",
    "siamese": "Siamese networks",
}


def of_images(source: str) -> bool:
    """Whether data are images of any kind, and not drawings of Omniglot's form."""
    return source.startswith(IMAGES_OF)


def not_omniglot(source: str) -> list[str]:
    """Return a line where characters are not Omniglot's, which they might be taken for."""
    return [] if source == "omniglot" or of_images(source) else [NOT_OMNIGLOT.format(source)]


def vector(accuracies: Sequence[float] | np.ndarray) -> str:
    """Return accuracies before and after each update step, as the forerunner printed them."""
    return np.array2string(
        np.asarray(accuracies), precision=4, floatmode="fixed", max_line_width=10_000
    )


def method_name(config: Config) -> str:
    """Return the method's name, with what its result depends on most."""
    name = NAMES[config.algorithm]
    if config.algorithm == "maml":
        return f"{name}, {'first' if config.first_order else 'second'} order"
    return f"{name} on {config.objective}" if config.algorithm == "siamese" else name


def steps_in_words(steps: int) -> str:
    """Return "1 step" or "3 steps"."""
    return f"{steps} {'step' if steps == 1 else 'steps'}"


def thousands(number: int) -> str:
    """Return 112,005."""
    return f"{number:,}"
