"""Few-shot tasks drawn from arrays of characters: N-way, K-shot, with a seeded generator."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from maml.system.errors import UserError


class TaskBatch(NamedTuple):
    """T tasks; ink is 1, paper 0. Support and query are in random order, never sorted by class."""

    support_x: np.ndarray  # [T, way * shot, 1, H, W] float32
    support_y: np.ndarray  # [T, way * shot] int64, 0 .. way - 1
    query_x: np.ndarray  # [T, way * query, 1, H, W] float32
    query_y: np.ndarray  # [T, way * query] int64


EMBEDDED_AT_ONCE = 100  # images


def ink(x: np.ndarray) -> np.ndarray:
    """Pixels 0 .. 255, uint8 -> 0 .. 1, float32."""
    return np.multiply(x, np.float32(1 / 255), dtype=np.float32)


class TaskSampler:
    """Draws tasks from `images` [classes, drawings, V, H, W] uint8, ink 255.

    V is 1, or the number of versions of each drawing, any of which may stand for it. With
    `rotations`, each character turned by 0, 90, 180 and 270 degrees is four classes. A class is
    drawn at most once in a task and gets a random label; a drawing stands in support or query,
    never in both. With `alphabets`, the name of each character's, a task has all classes of one
    after the other, in random order, until it has enough; an alphabet that is turned is another
    one.
    """

    def __init__(
        self,
        images: np.ndarray,
        way: int,
        shot: int,
        query: int,
        rng: np.random.Generator,
        rotations: bool = False,
        alphabets: list[str] | None = None,
    ):
        self.characters, drawings = images.shape[:2]
        self.classes = classes = self.characters * (4 if rotations else 1)
        if way > classes:
            raise UserError(
                f"n_way (or train_way, in training) is {way}, but there are only {classes} classes"
                " to draw from"
            )
        if shot + query > drawings:
            raise UserError(
                f"k_spt + k_query is {shot + query}, but each class has {drawings} drawings"
            )
        self.images, self.way, self.shot, self.query, self.rng = images, way, shot, query, rng
        turned = [
            f"{name} turned {quarter} times"
            for quarter in range(classes // self.characters)
            for name in alphabets or []
        ]
        self.alphabet_of_class = np.unique(turned, return_inverse=True)[1]

    @property
    def drawings(self) -> int:
        """How many different images tasks are drawn from."""
        return self.classes * math.prod(self.images.shape[1:3])

    @property
    def images_in_a_task(self) -> int:
        """Of support and query together."""
        return self.way * (self.shot + self.query)

    def embedded(self, embed: Callable[[np.ndarray], np.ndarray]) -> TaskSampler:
        """The same tasks, with embeddings [T, N, D] in the place of images; `embed` takes images
        [N, 1, H, W] to [N, D], each once.
        """
        twin = copy.copy(self)
        twin.characters = self.classes
        images = np.concatenate(
            [
                np.rot90(self.images, quarter, axes=(3, 4))
                for quarter in range(self.classes // self.characters)
            ]
        )
        flat = images.reshape(-1, 1, *images.shape[3:])
        z = np.concatenate(
            [
                embed(ink(flat[start : start + EMBEDDED_AT_ONCE]))
                for start in range(0, len(flat), EMBEDDED_AT_ONCE)
            ]
        )
        twin.images = z.reshape(*images.shape[:3], -1)
        return twin

    def sample(self, tasks: int, part: slice = slice(None)) -> TaskBatch:
        """The next `tasks` tasks, or, having drawn them all, only `part` of them (what one of
        several processes needs).
        """
        rng, way, shot, query = self.rng, self.way, self.shot, self.query
        drawings, versions = self.images.shape[1:3]
        place = rng.random((tasks, self.classes), dtype=np.float32)
        if self.alphabet_of_class.size:
            place += rng.random((tasks, self.alphabet_of_class.max() + 1)).argsort(axis=1)[
                :, self.alphabet_of_class
            ]
        chosen = np.argpartition(place, way - 1, axis=1)[:, :way]
        chosen = rng.permuted(chosen, axis=1)  # labels 0 .. way - 1 in this order
        drawing = rng.random((tasks, way, drawings), dtype=np.float32).argsort(axis=2)[
            :, :, : shot + query
        ]
        version = rng.integers(versions, size=drawing.shape)
        labels = np.arange(way)

        def images(low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
            count = way * (high - low)
            order = rng.random((tasks, count), dtype=np.float32).argsort(axis=1)[part]
            y = np.take(labels.repeat(high - low), order)

            def shuffled(index):
                return np.take_along_axis(index[part].reshape(len(order), count), order, axis=1)

            turns, character = np.divmod(
                shuffled(np.broadcast_to(chosen[:, :, None], (tasks, way, high - low))),
                self.characters,
            )
            x = self.images[
                character, shuffled(drawing[:, :, low:high]), shuffled(version[:, :, low:high])
            ]  # [T, count, H, W] or [..., D]
            if x.dtype != np.uint8:
                return x, y
            for quarter in range(1, self.classes // self.characters):
                x[turns == quarter] = np.rot90(x[turns == quarter], quarter, axes=(1, 2))
            return ink(x[:, :, None]), y

        return TaskBatch(*images(0, shot), *images(shot, shot + query))


class AlphabetSampler:
    """Draws tasks whose classes all stand in one alphabet, a random one for each task; otherwise as
    `TaskSampler`.

    `rows` names the character, `Alphabet/characterNN`, of each of `images`. Without `alphabet`, all
    that have `way` characters take part. Raises `UserError` where none has.
    """

    def __init__(
        self,
        images: np.ndarray,
        rows: list[str],
        way: int,
        shot: int,
        query: int,
        rng: np.random.Generator,
        alphabet: str | None = None,
    ):
        members: dict[str, list[int]] = {}
        for place, row in enumerate(rows):
            members.setdefault(row.split("/")[0], []).append(place)
        if alphabet is not None and alphabet not in members:
            raise UserError(
                f"alphabet {alphabet} has no character here; there are {', '.join(members)}"
            )
        asked = {name: places for name, places in members.items() if alphabet in (None, name)}
        largest = max(asked, key=lambda name: len(asked[name]))
        if way > len(asked[largest]):
            raise UserError(
                f"n_way is {way}, but alphabet {largest} has only {len(asked[largest])} characters"
                " here"
                + ("" if alphabet else ", and no other has more")
                + "; the background split keeps whole alphabets for testing"
            )
        self.alphabets = {
            name: TaskSampler(images[places], way, shot, query, rng)
            for name, places in asked.items()
            if len(places) >= way
        }
        self.way, self.rng, self.images_in_a_task = way, rng, way * (shot + query)

    @property
    def drawings(self) -> int:
        """How many different images tasks are drawn from."""
        return sum(sampler.drawings for sampler in self.alphabets.values())

    def embedded(self, embed: Callable[[np.ndarray], np.ndarray]) -> AlphabetSampler:
        """The same tasks with embeddings in the place of images, as `TaskSampler.embedded`."""
        twin = copy.copy(self)
        twin.alphabets = {name: sampler.embedded(embed) for name, sampler in self.alphabets.items()}
        return twin

    def sample(self, tasks: int, part: slice = slice(None)) -> TaskBatch:
        """The next `tasks` tasks, or, having drawn them all, only `part` of them."""
        names = sorted(self.alphabets)
        drawn = [
            self.alphabets[names[i]].sample(1) for i in self.rng.integers(len(names), size=tasks)
        ]
        return TaskBatch(*(np.concatenate(arrays)[part] for arrays in zip(*drawn)))
