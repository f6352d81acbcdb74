"""How good a learner is: query accuracies of many tasks after every update step, and what can be
said of their mean.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import paddle

from maml import functional as fn
from maml.algorithms.learner import Learner
from maml.data.tasks import TaskBatch, TaskSampler
from maml.system.processes import Processes

TASKS_AT_ONCE = 8


class Result(NamedTuple):
    """Of each task, a column for each update step, the first of them before adaptation; one column
    where only the last was measured.
    """

    accuracies: np.ndarray  # [tasks, steps + 1], or [tasks, 1]
    losses: np.ndarray  # as many, of the queries
    correct: (
        np.ndarray
    )  # [tasks, way * query], 1 for each query that was told right after the last step, else 0

    @property
    def vector(self) -> np.ndarray:
        """Mean accuracy after every update step, [steps + 1]."""
        return self.accuracies.mean(axis=0)

    @property
    def mean(self) -> float:
        """Mean accuracy after the last update step."""
        return float(self.vector[-1])

    @property
    def interval(self) -> float:
        """Half the width of the 95% interval of `mean`: 1.96 standard errors over tasks."""
        last = self.accuracies[:, -1]
        return (
            float(1.96 * last.std(ddof=1) / np.sqrt(len(last))) if len(last) > 1 else float("nan")
        )


def measure(learner: Learner, tasks: TaskBatch, every_step: bool = True) -> Result:
    """Adapt to each task's support and score its queries, after every update step, or, which is
    quicker, after the last one only.
    """
    return measure_together([learner], tasks, every_step)[0]


def measure_together(
    learners: Sequence[Learner], tasks: TaskBatch, every_step: bool = True
) -> list[Result]:
    """`measure` each of `learners`, which adapt alike and differ in how they predict: the first one
    adapts for all of them.
    """
    support_x, support_y, query_x, query_y = map(paddle.to_tensor, tasks)
    states = learners[0].adapt(support_x, support_y)
    states = states if every_step else deque(states, maxlen=1)
    scores = [[learner.predict(adapted, query_x) for learner in learners] for adapted in states]
    with paddle.no_grad():
        return [
            Result(
                np.stack([fn.accuracy(s, query_y).numpy() for s in steps], axis=1),
                np.stack([fn.cross_entropy(s, query_y).numpy() for s in steps], axis=1),
                fn.correct(steps[-1], query_y).numpy(),
            )
            for steps in zip(*scores)
        ]


def evaluate(
    learner: Learner,
    sampler: TaskSampler,
    tasks: int,
    processes: Processes | None = None,
    progress: Callable[[Iterable], Iterable] = iter,
    every_step: bool = True,
) -> Result:
    """`measure` on the sampler's next `tasks` tasks, each process on some of them; all get the
    whole result.

    `progress` wraps range(0, tasks, 8), the number of the first of the tasks that are drawn at
    once.
    """
    return evaluate_together([learner], sampler, tasks, processes, progress, every_step)[0]


def evaluate_together(
    learners: Sequence[Learner],
    sampler: TaskSampler,
    tasks: int,
    processes: Processes | None = None,
    progress: Callable[[Iterable], Iterable] = iter,
    every_step: bool = True,
) -> list[Result]:
    """`evaluate` each of `learners`, as `measure_together`."""
    processes, learner = processes or Processes(), learners[0]
    if learner.embeds_alone and sampler.drawings < tasks * sampler.images_in_a_task:
        sampler = sampler.embedded(lambda x: learner.embed(paddle.to_tensor(x[None]))[0].numpy())
    total = None
    for batch, start in enumerate(progress(range(0, tasks, TASKS_AT_ONCE))):
        size = min(TASKS_AT_ONCE, tasks - start)
        mine = batch % processes.size == processes.rank
        drawn = sampler.sample(
            size, slice(None) if mine or total is None else slice(0)
        )  # all draw all, to stay in step
        if mine or total is None:
            results = measure_together(learners, drawn, every_step)
        if total is None:
            total = [
                Result(*(np.zeros((tasks, part.shape[1]), np.float32) for part in result))
                for result in results
            ]
        if mine:
            for whole, part in zip(itertools.chain(*total), itertools.chain(*results)):
                whole[start : start + size] = part
    return [Result(*map(processes.sum, result)) for result in total]


def queries(sampler: TaskSampler, tasks: int) -> np.ndarray:
    """The queries [tasks, way * query, ...] of the tasks that `evaluate` draws from a sampler in
    the same state.
    """
    starts = range(0, tasks, TASKS_AT_ONCE)
    return np.concatenate(
        [sampler.sample(min(TASKS_AT_ONCE, tasks - start)).query_x for start in starts]
    )
