"""Raw files to arrays, and arrays to tasks, with NumPy, Pillow and OpenCV alone.

Nothing here knows how tasks are learned. The two modules that serve `paddle.io`, datasets.py and
episodes.py, are the only ones that import Paddle. What `__all__` lists is public, and is imported
when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_PLACES = {
    "Omniglot": "datasets",
    "ImageFolder": "datasets",
    "ImageDataset": "datasets",
    "EpisodeSampler": "episodes",
    "Form": "form",
}

__all__ = [*_PLACES]

if TYPE_CHECKING:
    from maml.data.datasets import ImageDataset, ImageFolder, Omniglot
    from maml.data.episodes import EpisodeSampler
    from maml.data.form import Form


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _PLACES:
        raise AttributeError(f"module 'maml.data' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"maml.data.{_PLACES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
