"""Few-shot tasks, drawn as indices into the data: N-way, K-shot, with a seeded generator."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from maml.data.banks import QUARTER_TURNS, Bank, Picks, Stack, as_ink, bank_of
from maml.data.splits import group_of
from maml.system.errors import UserError

__all__ = ["AlphabetSampler", "Picks", "TaskBatch", "TaskIndices", "TaskSampler", "as_ink"]


FEW = 5  # classes that an error names
MOST_KEYS = 1000  # images of a class, up to which each gets a sort key when some are drawn


class TaskBatch(NamedTuple):
    """A batch of T tasks. Support and query are in random order, never sorted by class.

    Learners take arrays and, as a `paddle.io.DataLoader` gives them, tensors.

    Args:
        support_x (ndarray | Tensor): images, [T, way * shot, C, H, W] float32 between 0 and 1; of
            drawings ink is 1 and paper 0.
        support_y (ndarray | Tensor): their labels, [T, way * shot] int64, 0 to way - 1.
        query_x (ndarray | Tensor): images, [T, way * query, C, H, W] float32.
        query_y (ndarray | Tensor): their labels, [T, way * query] int64.

    Example:
        >>> import numpy as np, maml
        >>> x, y = np.zeros([1, 5, 1, 28, 28], "float32"), np.arange(5)[None]
        >>> maml.TaskBatch(x, y, query_x=x, query_y=y).support_y.tolist()
        [[0, 1, 2, 3, 4]]
    """

    support_x: np.ndarray
    support_y: np.ndarray
    query_x: np.ndarray
    query_y: np.ndarray


class TaskIndices(NamedTuple):
    """A batch of tasks as indices: what they are asked of, images or embeddings, comes later."""

    support: Picks
    query: Picks


class Sampler(Protocol):
    """Draws tasks; its generator `rng` is all of its state."""

    way: int
    rng: np.random.Generator

    @property
    def image_count(self) -> int:
        """The number of different images that tasks are drawn from."""

    @property
    def images_per_task(self) -> int:
        """Images of support and query together."""

    def embedded(self, embed: Callable[[np.ndarray], np.ndarray]) -> Sampler:
        """Return a sampler of the same tasks with embeddings [T, N, D] in the place of images."""

    def indices(self, tasks: int, part: slice = slice(None)) -> TaskIndices:
        """Draw the next tasks; return `part` of them, which is what one process needs."""

    def sample(self, tasks: int, part: slice = slice(None)) -> TaskBatch:
        """Draw the next tasks with their images; return `part` of them."""


class TaskSampler:
    """Draw N-way K-shot tasks from images.

    A class is drawn at most once in a task and gets a random label. A drawing is in the support or
    in the query, never in both. Neither holds with `replacement`.

    Args:
        images (ndarray | ClassImages): [rows, drawings, versions, H, W] uint8, ink 255. Of several
            versions of a drawing (distorted copies), one is picked at random each time that it is
            drawn. Or the images of classes of unequal size: each class is as likely as another.
        way (int): classes in a task.
        shot (int): support images of each class.
        query (int): query images of each class.
        rng (numpy.random.Generator): the source of randomness.
        rotations (bool): a row turned by 0, 90, 180 and 270 degrees counts as four classes.
        alphabets (Sequence[str] | None): the alphabet of each row. If given, a task is filled with
            all classes of one random alphabet, then of another, so that its classes resemble each
            other. A rotated alphabet is an alphabet of its own.
        rows (ndarray | None): the rows to draw from; None for all.
        replacement (bool): draw classes and drawings with replacement, as Keras's Reptile example
            does, so that two labels can be of one class. It takes no `alphabets`.
        by_drawer (bool): draw the same drawings of all classes of a task. Where drawing k of every
            character is by the same person, as within an alphabet of Omniglot, the support is then
            by others than the queries.
        names (Sequence[str] | None): the name of each row, for the error.

    Raises:
        UserError: if there are fewer classes than `way`, or if one has fewer images than `shot +
            query`.

    Example:
        >>> import numpy as np
        >>> from maml import TaskSampler
        >>> images = np.zeros([30, 20, 1, 28, 28], np.uint8)
        >>> sampler = TaskSampler(images, 5, 1, 15, np.random.default_rng(0))
        >>> sampler.sample(8).query_x.shape
        (8, 75, 1, 28, 28)
    """

    def __init__(
        self,
        images: Stack,
        way: int,
        shot: int,
        query: int,
        rng: np.random.Generator,
        rotations: bool = False,
        alphabets: Sequence[str] | None = None,
        rows: np.ndarray | None = None,
        replacement: bool = False,
        by_drawer: bool = False,
        names: Sequence[str] | None = None,
    ):
        self.rows = np.arange(len(images)) if rows is None else rows
        self.turns = QUARTER_TURNS if rotations else 1
        self.classes = len(self.rows) * self.turns
        bank = bank_of(images)
        self.counts, self.versions = bank.counts[self.rows], bank.versions
        if way > self.classes:
            raise UserError(
                f"way (or train_way, in training) is {way}, but there are only {self.classes} "
                "classes to draw from"
            )
        if shot + query > self.counts.min():
            raise UserError(self._too_few(shot + query, names))
        self.images, self.way, self.shot, self.query, self.rng = images, way, shot, query, rng
        self.replacement, self.by_drawer = replacement, by_drawer
        self.bank: Bank = bank
        turned = [f"{name} turned {k} times" for k in range(self.turns) for name in alphabets or []]
        self.alphabet_of_class = np.unique(turned, return_inverse=True)[1]

    @property
    def image_count(self) -> int:
        """The number of different images that tasks are drawn from."""
        return int(self.counts.sum()) * self.turns * self.versions

    @property
    def images_per_task(self) -> int:
        """Images of support and query together."""
        return self.way * (self.shot + self.query)

    def embedded(self, embed: Callable[[np.ndarray], np.ndarray]) -> TaskSampler:
        """Return a sampler of the same tasks with embeddings [T, N, D] in the place of images.

        `embed` takes images [N, 1, H, W] to embeddings [N, D]; each image is embedded once.
        """
        twin = copy.copy(self)
        twin.bank = bank_of(self.images).embedded(embed, self.rows, self.turns)
        return twin

    def indices(self, tasks: int, part: slice = slice(None)) -> TaskIndices:
        """Draw the next tasks; return `part` of them, which is what one process needs."""
        rng, shot, query = self.rng, self.shot, self.query
        chosen = self._classes(tasks)  # [T, way], of label 0, 1, ...
        turns, place = np.divmod(chosen, len(self.rows))
        drawing = self._drawings(self.counts[place])
        version = rng.integers(self.versions, size=(tasks, self.way, shot + query))
        row = self.rows[place]

        def picks(first: int, end: int) -> Picks:
            count = self.way * (end - first)
            keys = rng.random((tasks, count), dtype=np.float32)
            order = keys.argsort(axis=1, kind="stable")[part]

            def shuffled(values: np.ndarray) -> np.ndarray:  # [T, way, end - first] -> [T, count]
                values = np.broadcast_to(values, (tasks, self.way, end - first))[part]
                return np.take_along_axis(values.reshape(len(order), count), order, axis=1)

            return Picks(
                shuffled(row[:, :, None]),
                shuffled(drawing[:, :, first:end]),
                shuffled(version[:, :, first:end]),
                shuffled(turns[:, :, None]),
                shuffled(np.arange(self.way)[:, None]),
            )

        return TaskIndices(picks(0, shot), picks(shot, shot + query))

    @property
    def _equal(self) -> bool:
        """Whether all classes have the same number of images."""
        return bool((self.counts == self.counts[0]).all())

    def _drawings(self, counts: np.ndarray) -> np.ndarray:
        """Different images of classes of `counts` [T, way] images, [T, way, shot + query]."""
        number = self.shot + self.query
        if self.by_drawer:  # those of one class are those of all
            counts = counts.min(axis=1, keepdims=True)
        if self.replacement:
            high = self.counts[0] if self._equal else counts[:, :, None]
            return self.rng.integers(high, size=(*counts.shape, number))
        if self._equal and self.counts[0] <= MOST_KEYS:
            keys = self.rng.random((*counts.shape, self.counts[0]), dtype=np.float32)
            return keys.argsort(axis=2, kind="stable")[:, :, :number]
        drawn = [self.rng.choice(count, number, replace=False) for count in counts.ravel()]
        return np.reshape(drawn, (*counts.shape, number)).astype(int)

    def _too_few(self, number: int, names: Sequence[str] | None) -> str:
        """The sentence about classes with fewer images than a task takes."""
        task = f"shot + query (or train_shot + train_query, in training) is {number}"
        if self._equal:
            return f"{task}, but each class has {self.counts[0]} drawings"
        short = np.flatnonzero(self.counts < number)
        said = [
            f"{names[self.rows[k]] if names else f'class {self.rows[k]}'} has {self.counts[k]}"
            for k in short[np.argsort(self.counts[short], kind="stable")][:FEW]
        ]
        more = f" and {len(short) - FEW} more classes have too few" if len(short) > FEW else ""
        return (
            f"{task}, but {', '.join(said)}{more}; lower shot or query, or leave such classes out "
            f"by make_data.py --min-images {number}"
        )

    def _classes(self, tasks: int) -> np.ndarray:
        """The classes of each task, [T, way], in random order.

        Every class gets a random sort key, and the first `way` are taken. With alphabets, the
        key's integer part is the random rank of the class's alphabet, so that whole alphabets
        come first.
        """
        if self.replacement:
            return self.rng.integers(self.classes, size=(tasks, self.way))
        key = self.rng.random((tasks, self.classes), dtype=np.float32)
        if self.alphabet_of_class.size:
            alphabets = self.alphabet_of_class.max() + 1
            rank = self.rng.random((tasks, alphabets)).argsort(axis=1)
            key += rank[:, self.alphabet_of_class]
        # without equal keys, the classes and their order are the same in every version of NumPy
        distinct = key + np.arange(self.classes) * 2.0**-46
        chosen = np.argpartition(distinct, self.way - 1, axis=1)[:, : self.way]
        order = np.take_along_axis(distinct, chosen, axis=1).argsort(axis=1)
        return self.rng.permuted(np.take_along_axis(chosen, order, axis=1), axis=1)

    def sample(self, tasks: int, part: slice = slice(None)) -> TaskBatch:
        """Draw the next tasks with their images; return `part` of them."""
        support, query = self.indices(tasks, part)
        return TaskBatch(self.bank[support], support.label, self.bank[query], query.label)


class AlphabetSampler:
    """Draw tasks whose classes are all of one alphabet, a random one for each task.

    Args:
        images, way, shot, query, rng: as for `TaskSampler`.
        names (Sequence[str]): `Alphabet/characterNN` of each row of `images`.
        alphabet (str | None): the alphabet of all tasks; None for all that have `way` characters.
        by_drawer (bool): as for `TaskSampler`.

    Raises:
        UserError: if there is no such alphabet, or none with `way` characters.

    Example:
        >>> import numpy as np, maml
        >>> names = [f"{alphabet}/character{n}" for alphabet in ("A", "B") for n in range(6)]
        >>> images, rng = np.zeros([12, 20, 1, 28, 28], np.uint8), np.random.default_rng(0)
        >>> sampler = maml.AlphabetSampler(images, names, way=5, shot=1, query=1, rng=rng)
        >>> rows = sampler.indices(1).support.row[0]
        >>> len({names[row].split("/")[0] for row in rows})  # all of one alphabet
        1
    """

    def __init__(
        self,
        images: Stack,
        names: Sequence[str],
        way: int,
        shot: int,
        query: int,
        rng: np.random.Generator,
        alphabet: str | None = None,
        by_drawer: bool = False,
    ):
        members: dict[str, list[int]] = {}
        for row, name in enumerate(names):
            members.setdefault(group_of(name), []).append(row)
        if set(members) == {""}:
            raise UserError(
                "these classes have no groups; make_data.py takes the folders above them as groups"
            )
        if alphabet is not None and alphabet not in members:
            raise UserError(
                f"alphabet {alphabet} has no character here; there are {', '.join(members)}"
            )
        allowed = {name: rows for name, rows in members.items() if alphabet in (None, name)}
        largest = max(allowed, key=lambda name: len(allowed[name]))
        if way > len(allowed[largest]):
            raise UserError(
                f"way is {way}, but alphabet {largest} has only {len(allowed[largest])} characters "
                "here"
                + ("" if alphabet else ", and no other has more")
                + "; the background split keeps whole alphabets for testing"
            )
        self.alphabets = {
            name: TaskSampler(
                images,
                way,
                shot,
                query,
                rng,
                rows=np.array(rows),
                by_drawer=by_drawer,
                names=names,
            )
            for name, rows in allowed.items()
            if len(rows) >= way
        }
        self.way, self.rng, self.images_per_task = way, rng, way * (shot + query)

    @property
    def image_count(self) -> int:
        """The number of different images that tasks are drawn from."""
        return sum(sampler.image_count for sampler in self.alphabets.values())

    def embedded(self, embed: Callable[[np.ndarray], np.ndarray]) -> AlphabetSampler:
        """Return a sampler of the same tasks with embeddings, as `TaskSampler.embedded`."""
        twin = copy.copy(self)
        twin.alphabets = {name: s.embedded(embed) for name, s in self.alphabets.items()}
        return twin

    def _next(self, tasks: int) -> list[TaskSampler]:
        """The sampler of each of the next tasks."""
        names = sorted(self.alphabets)
        return [self.alphabets[names[i]] for i in self.rng.integers(len(names), size=tasks)]

    def indices(self, tasks: int, part: slice = slice(None)) -> TaskIndices:
        """Draw the next tasks; return `part` of them, which is what one process needs."""
        drawn = [sampler.indices(1) for sampler in self._next(tasks)]
        return TaskIndices(*(Picks(*_joined(picks, part)) for picks in zip(*drawn)))

    def sample(self, tasks: int, part: slice = slice(None)) -> TaskBatch:
        """Draw the next tasks with their images; return `part` of them."""
        return TaskBatch(*_joined([sampler.sample(1) for sampler in self._next(tasks)], part))


def _joined(batches: Sequence[Sequence[np.ndarray]], part: slice) -> list[np.ndarray]:
    return [np.concatenate(arrays)[part] for arrays in zip(*batches)]
