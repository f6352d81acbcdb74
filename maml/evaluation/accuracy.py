"""How good a classifier is: query accuracies of many tasks, and the interval of their mean."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import paddle

from maml import functional as fn
from maml.algorithms.learner import Classifier, Encoder
from maml.data.tasks import Sampler, TaskBatch, TaskIndices
from maml.system.processes import Processes

TASKS_AT_ONCE = 8


class Result(NamedTuple):
    """Results by task. Column k is after k update steps, or the only one is after the last step.

    Args:
        accuracies (ndarray): [tasks, steps + 1].
        losses (ndarray): mean cross-entropy of the queries, [tasks, steps + 1].
        correct (ndarray): 1 where a query was right after the last step, [tasks, way * query].

    Example:
        >>> import numpy as np, maml
        >>> accuracies = np.array([[0.2, 1.0], [0.2, 0.9], [0.2, 0.8]])
        >>> result = maml.Result(accuracies, accuracies, accuracies)
        >>> f"{result.mean:.2f} +- {result.interval:.2f}"
        '0.90 +- 0.11'
    """

    accuracies: np.ndarray
    losses: np.ndarray
    correct: np.ndarray

    @property
    def vector(self) -> np.ndarray:
        """Mean accuracy after every update step, [steps + 1]."""
        return self.accuracies.mean(axis=0)

    @property
    def mean(self) -> float:
        """Mean accuracy after the last update step, 0 to 1."""
        return float(self.vector[-1])

    @property
    def interval(self) -> float:
        """Half the width of the 95% interval of `mean`: 1.96 standard errors over tasks."""
        return interval(self.accuracies[:, -1])


def interval(values: np.ndarray) -> float:
    """Return half the width of the 95% interval of the mean of values; NaN of a single one."""
    if len(values) < 2:
        return float("nan")
    return float(1.96 * values.std(ddof=1) / np.sqrt(len(values)))


def measure(
    classifiers: Sequence[Classifier], tasks: TaskBatch, every_step: bool = True
) -> list[Result]:
    """Adapt to each task's support and score its queries.

    Args:
        classifiers (Sequence[Classifier]): classifiers that adapt alike and predict differently;
            the first one adapts for all of them.
        tasks (TaskBatch): the tasks.
        every_step (bool): measure after every update step, or, which is quicker, after the last.
    """
    support_x, support_y, query_x, query_y = map(fn.as_tensor, tasks)
    states: Iterable = classifiers[0].adapt(support_x, support_y)
    if not every_step:
        states = deque(states, maxlen=1)
    scores = [[c.predict(adapted, query_x) for c in classifiers] for adapted in states]

    def by_step(count: Callable, steps: Iterable) -> np.ndarray:
        return np.stack([count(s, query_y).numpy() for s in steps], axis=1)

    with paddle.no_grad():
        return [
            Result(
                by_step(fn.accuracy, steps),
                by_step(fn.cross_entropy, steps),
                fn.correct(steps[-1], query_y).numpy(),
            )
            for steps in zip(*scores)
        ]


def evaluate(
    classifier: Classifier,
    sampler: Sampler,
    tasks: int,
    processes: Processes | None = None,
    progress: Callable[[Iterable], Iterable] = iter,
    every_step: bool = True,
) -> Result:
    """Measure a classifier on the sampler's next tasks.

    Args:
        classifier (Classifier): a trained learner, or any object with `adapt` and `predict`.
        sampler (Sampler): where the tasks come from.
        tasks (int): the number of tasks.
        processes (Processes | None): the processes that share the tasks; all get the whole result.
        progress (Callable): wraps the range of tasks, in steps of 8 for each process; where it ends
            earlier, in all processes alike, the result is of fewer tasks.
        every_step (bool): measure after every update step, or, which is quicker, after the last.

    Returns:
        Result: accuracies and losses by task; `mean` and `interval` sum them up.

    Example:
        >>> import numpy as np, maml
        >>> images = np.random.default_rng(0).integers(0, 255, [9, 20, 1, 28, 28], np.uint8)
        >>> sampler = maml.TaskSampler(images, 5, 1, 5, np.random.default_rng(0))
        >>> network = maml.ConvNet(5, np.random.default_rng(0))
        >>> learner = maml.MAML(network, alpha=0.4, beta=1e-3, steps=1, steps_test=1)
        >>> maml.evaluate(learner, sampler, tasks=8).accuracies.shape
        (8, 2)
    """
    return evaluate_together([classifier], sampler, tasks, processes, progress, every_step)[0]


def evaluate_together(
    classifiers: Sequence[Classifier],
    sampler: Sampler,
    tasks: int,
    processes: Processes | None = None,
    progress: Callable[[Iterable], Iterable] = iter,
    every_step: bool = True,
) -> list[Result]:
    """Measure several classifiers, as `evaluate` one; they adapt alike, see `measure`."""
    processes = processes or Processes()
    if len(classifiers) == 1:
        first, sampler = embed_once(classifiers[0], sampler, tasks)
        classifiers = [first]
    total: list[Result] = []
    done = 0
    # a round has a batch for each process, which all are measured before `progress` goes on
    for begin in progress(range(0, tasks, processes.size * TASKS_AT_ONCE)):
        done = min(begin + processes.size * TASKS_AT_ONCE, tasks)
        for batch, start in enumerate(range(begin, done, TASKS_AT_ONCE)):
            size, mine = min(TASKS_AT_ONCE, tasks - start), batch == processes.rank
            # all processes draw all tasks, to stay in step, and measure the first batch, to know
            # the results' shapes
            drawn = sampler.sample(size, slice(None) if mine or not total else slice(0))
            if mine or not total:
                results = measure(classifiers, drawn, every_step)
            if not total:
                total = [Result(*(_zeros(tasks, part) for part in result)) for result in results]
            if mine:
                for whole, part in _arrays(total, results):
                    whole[start : start + size] = part
    return [Result(*(processes.sum(part[:done]) for part in result)) for result in total]


def embed_once(classifier: Classifier, sampler: Sampler, tasks: int) -> tuple[Classifier, Sampler]:
    """Return what embeds each image once, where that is possible and less work.

    The classifier and the sampler give the same results; tasks hold embeddings instead of images.
    """
    per_image = isinstance(classifier, Encoder) and classifier.per_image
    if not per_image or sampler.image_count >= tasks * sampler.images_per_task:
        return classifier, sampler
    encoder: Encoder = classifier  # type: ignore[assignment]

    def embed(x: np.ndarray) -> np.ndarray:
        return encoder.embed(paddle.to_tensor(x[None]))[0].numpy()

    embedded = sampler.embedded(embed)
    # a user's network may mix the images of a batch, which its first pass finds out
    return (encoder.of_embeddings(), embedded) if encoder.per_image else (classifier, sampler)


def _zeros(tasks: int, like: np.ndarray) -> np.ndarray:
    return np.zeros((tasks, like.shape[1]), np.float32)


def _arrays(a: list[Result], b: list[Result]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for one, other in zip(a, b):
        yield from zip(one, other)


def drawn_tasks(sampler: Sampler, tasks: int) -> TaskIndices:
    """Return the indices of the tasks that `evaluate` draws from a sampler in the same state."""
    starts = range(0, tasks, TASKS_AT_ONCE)
    batches = [sampler.indices(min(TASKS_AT_ONCE, tasks - start)) for start in starts]
    joined = [type(picks[0])(*map(np.concatenate, zip(*picks))) for picks in zip(*batches)]
    return TaskIndices(*joined)
