"""What tasks are looked up in by their indices: images of all classes, or their embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

EMBEDDED_AT_ONCE = 100  # images
QUARTER_TURNS = 4

Embed = Callable[[np.ndarray], np.ndarray]
"""takes images [N, C, H, W] float32 to embeddings [N, D]"""


class Picks(NamedTuple):
    """Which images a task consists of, [T, N] each, and their labels."""

    row: np.ndarray  # of the images: the class
    drawing: np.ndarray  # of the row's
    version: np.ndarray  # of the drawing's: itself or a distorted copy
    turns: np.ndarray  # by 90 degrees
    label: np.ndarray


class Bank(Protocol):
    """What is looked up by `Picks`."""

    def __getitem__(self, picks: Picks) -> np.ndarray:
        """Images [T, N, C, H, W] float32, or embeddings [T, N, D]"""


class ImageBank(Bank, Protocol):
    """Images of classes, whose tasks a sampler draws."""

    counts: np.ndarray
    """images of each class, [classes]"""
    versions: int
    """of each image: itself and distorted copies"""

    def embedded(self, embed: Embed, rows: np.ndarray, turns: int) -> Bank:
        """The embeddings of these classes, each image turned by 0 to `turns` - 1 quarters."""


class Images:
    """Images [rows, drawings, versions, H, W] uint8, ink 255, as many of each class."""

    def __init__(self, images: np.ndarray):
        self.images = images
        self.counts = np.full(len(images), images.shape[1])
        self.versions = images.shape[2]

    def __getitem__(self, picks: Picks) -> np.ndarray:
        """[T, N, 1, H, W] float32, ink 1"""
        x = self.images[picks.row, picks.drawing, picks.version]  # [T, N, H, W]
        return as_ink(_turned(x, picks.turns)[:, :, None])

    def embedded(self, embed: Embed, rows: np.ndarray, turns: int) -> Embeddings:
        """The embeddings of these rows, each image turned by 0 to `turns` - 1 quarters."""
        chosen = self.images[rows]
        z = _embedded(embed, chosen.reshape(-1, 1, *chosen.shape[3:]), turns)
        place = np.zeros(len(self.images), int)
        place[rows] = np.arange(len(rows))
        return Embeddings(z.reshape(turns, *chosen.shape[:3], -1), place)


class ClassImages:
    """Images of classes of any and unequal size, which may lie in a file.

    Args:
        images (ndarray): [N, C, H, W] uint8; a memory map is read where it is looked up only.
        start (ndarray): where the images of each class begin, [classes] int.
        counts (ndarray): how many each class has, [classes] int.
    """

    versions = 1

    def __init__(self, images: np.ndarray, start: np.ndarray, counts: np.ndarray):
        self.images, self.start, self.counts = np.asarray(images), start, counts

    def __len__(self) -> int:
        """The number of classes."""
        return len(self.counts)

    @property
    def shape(self) -> tuple[int, ...]:
        """Classes, images, and the shape of an image."""
        return (len(self), int(self.counts.sum()), *self.images.shape[1:])

    def flat(self, picks: Picks) -> np.ndarray:
        """The places of these images in `images`."""
        return self.start[picks.row] + picks.drawing

    def __getitem__(self, picks: Picks) -> np.ndarray:
        """[T, N, C, H, W] float32, 0 to 1"""
        return as_ink(_turned(self.images[self.flat(picks)], picks.turns))

    def embedded(self, embed: Embed, rows: np.ndarray, turns: int) -> FlatEmbeddings:
        """The embeddings of these classes, each image turned by 0 to `turns` - 1 quarters."""
        numbers = [np.arange(n) + first for first, n in zip(self.start[rows], self.counts[rows])]
        z = _embedded(embed, self.images, turns, np.concatenate(numbers))
        start = np.zeros(len(self), int)
        start[rows] = np.cumsum(self.counts[rows]) - self.counts[rows]
        return FlatEmbeddings(z, start)


class Embeddings:
    """Embeddings [turns, place of row, drawings, versions, D]."""

    def __init__(self, z: np.ndarray, place: np.ndarray):
        self.z, self.place = z, place

    def __getitem__(self, picks: Picks) -> np.ndarray:
        """[T, N, D]"""
        return self.z[picks.turns, self.place[picks.row], picks.drawing, picks.version]


class FlatEmbeddings:
    """Embeddings [turns, images, D], of a class from its start on."""

    def __init__(self, z: np.ndarray, start: np.ndarray):
        self.z, self.start = z, start

    def __getitem__(self, picks: Picks) -> np.ndarray:
        """[T, N, D]"""
        return self.z[picks.turns, self.start[picks.row] + picks.drawing]


Stack = np.ndarray | ClassImages
"""images of classes: an array of `Images`, or `ClassImages`"""


def bank_of(images: Stack) -> ImageBank:
    """The bank of an array of `Images`, or the images of classes, which are one."""
    return images if isinstance(images, ClassImages) else Images(images)


def joined(parts: Sequence[Stack]) -> Stack:
    """The classes of several parts of the same data, one part after the other."""
    first = parts[0]
    if isinstance(first, ClassImages):
        start, counts = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("start", "counts")
        )
        return ClassImages(first.images, start, counts)
    return np.concatenate(parts)  # type: ignore[arg-type]


def as_ink(x: np.ndarray) -> np.ndarray:
    """Convert pixels from uint8, 0 to 255, to float32, 0 to 1."""
    return np.multiply(x, np.float32(1 / 255), dtype=np.float32)


def _turned(x: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Images [T, N, ..., H, W], each turned by its number of quarters."""
    for quarters in range(1, QUARTER_TURNS):
        turned = turns == quarters
        if turned.any():
            x[turned] = np.rot90(x[turned], quarters, axes=(-2, -1))
    return x


def _embedded(
    embed: Embed, images: np.ndarray, turns: int, numbers: np.ndarray | None = None
) -> np.ndarray:
    """[turns, N, D] of the images [.., C, H, W] of these numbers, or of all."""
    count = len(images) if numbers is None else len(numbers)
    z = []
    for quarters in range(turns):
        for first in range(0, count, EMBEDDED_AT_ONCE):
            at = slice(first, first + EMBEDDED_AT_ONCE)
            part = images[at] if numbers is None else images[numbers[at]]
            z.append(embed(as_ink(np.rot90(part, quarters, axes=(2, 3)))))
    return np.concatenate(z).reshape(turns, count, -1)


def first_images(images: Stack, tasks: int = 2, number: int = 4) -> np.ndarray:
    """The first images of the first classes, [tasks, number, C, H, W] float32, to try a network."""
    bank = bank_of(images)
    row, drawing = np.indices((tasks, number))
    zeros = np.zeros_like(row)
    return bank[Picks(row, drawing % bank.counts[row], zeros, zeros, zeros)]
