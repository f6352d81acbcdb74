"""Few-shot tasks of any dataset for `paddle.io.DataLoader`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from paddle.io import BatchSampler

from maml.data.banks import ClassImages
from maml.data.tasks import TaskBatch, TaskSampler


class EpisodeSampler(BatchSampler):
    """Few-shot tasks of any dataset, as the `batch_sampler` of a `paddle.io.DataLoader`.

    A batch is the indices of the images of `tasks` tasks: of each task the support, then the query,
    both in random order. Tasks are those of `maml.TaskSampler`: the classes of a task differ, and
    no image is in it twice. Each pass over the loader goes on where the last one ended, so that an
    epoch has tasks of its own; a new sampler with the same seed draws the same tasks again.

    Args:
        labels (Sequence[int] | ndarray): the class of each item of the dataset, [N].
        way (int): classes in a task.
        shot (int): support images of each class.
        query (int): query images of each class.
        tasks (int): tasks in a batch.
        batches (int): batches in an epoch, which is the loader's length.
        seed (int): seed of the tasks.
        part (slice): which tasks of each batch are drawn for this process, where several share
            batches; all draw the same stream.

    Raises:
        UserError: if there are fewer classes than `way`, or one has fewer images than `shot +
            query`.

    Example:
        >>> import maml, numpy as np, paddle
        >>> from maml.data import EpisodeSampler, ImageDataset
        >>> labels = np.arange(8).repeat(20)
        >>> dataset = ImageDataset(np.zeros([160, 1, 28, 28], np.uint8), labels, list("abcdefgh"))
        >>> episodes = EpisodeSampler(labels, way=5, shot=1, query=3, tasks=2, batches=10)
        >>> loader = paddle.io.DataLoader(
        ...     dataset, batch_sampler=episodes, collate_fn=episodes.collate
        ... )
        >>> for tasks in loader:
        ...     batch = maml.TaskBatch(*tasks)  # what a learner's meta_step takes
        >>> len(loader), list(batch.query_x.shape)
        (10, [2, 15, 1, 28, 28])
    """

    def __init__(
        self,
        labels: Sequence[int] | np.ndarray,
        way: int = 5,
        shot: int = 1,
        query: int = 15,
        tasks: int = 1,
        batches: int = 100,
        seed: int = 0,
        part: slice = slice(None),
    ):
        labels = np.asarray(labels).ravel()
        names, counts = np.unique(labels, return_counts=True)
        # the "images" of a class are the places of its items
        places = labels.argsort(kind="stable").reshape(-1, 1, 1, 1)
        self.places = ClassImages(places, np.cumsum(counts) - counts, counts)
        self.drawing = TaskSampler(
            self.places,
            way,
            shot,
            query,
            np.random.default_rng(seed),
            names=[f"class {name}" for name in names],
        )
        self.tasks, self.batches, self.part = tasks, batches, part

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return self.batches

    def __iter__(self) -> Iterator[list[int]]:
        """The indices of each batch of an epoch."""
        for _ in range(self.batches):
            both = self.drawing.indices(self.tasks, self.part)
            drawn = [self.places.images[self.places.flat(picks)] for picks in both]
            yield np.concatenate(drawn, axis=1).ravel().tolist()

    def collate(self, items: Sequence[tuple[Any, int]]) -> TaskBatch:
        """Put the items of a batch together as tasks, whose labels are 0 to `way` - 1.

        Args:
            items (Sequence[tuple]): of each index of the batch, the image and the class.

        Returns:
            TaskBatch: its label of a class is its place in the order in which the support has them.
        """
        supports = self.drawing.way * self.drawing.shot
        each = self.drawing.images_per_task
        x = np.stack([np.asarray(image) for image, _ in items])
        x = x.reshape(-1, each, *x.shape[1:])
        classes = np.array([np.asarray(label).item() for _, label in items]).reshape(-1, each)
        y = np.stack([_numbered(of_task) for of_task in classes])
        return TaskBatch(x[:, :supports], y[:, :supports], x[:, supports:], y[:, supports:])


def _numbered(classes: np.ndarray) -> np.ndarray:
    """The place of each class in the order of their first appearance, [N] int64."""
    order = {name: k for k, name in enumerate(dict.fromkeys(classes.tolist()))}
    return np.array([order[name] for name in classes.tolist()], np.int64)
