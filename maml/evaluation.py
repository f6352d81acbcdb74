"""How good a learner is: query accuracies of many tasks after every update step, and what can be said of their mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Iterable

import numpy as np
import paddle

from maml import functional as fn
from maml.learner import Learner
from maml.tasks import TaskBatch, TaskSampler

TASKS_AT_ONCE = 8


@dataclass(frozen=True)
class Result:
    """Accuracies and query losses, [tasks, steps + 1]: column 0 is before adaptation, column k after k update steps."""

    accuracies: np.ndarray
    losses: np.ndarray

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
        """Half the width of the 95% confidence interval of `mean`: 1.96 standard errors over tasks."""
        last = self.accuracies[:, -1]
        return float(1.96 * last.std(ddof=1) / np.sqrt(len(last))) if len(last) > 1 else float("nan")


def measure(learner: Learner, tasks: TaskBatch) -> Result:
    """Adapt to each task's support and score its queries."""
    accuracies, losses = [], []
    for i in range(0, len(tasks.support_x), TASKS_AT_ONCE):
        support_x, support_y, query_x, query_y = (paddle.to_tensor(a[i:i + TASKS_AT_ONCE]) for a in tasks)
        query = learner.network.prepare(query_x)
        scores = [learner.predict(adapted, query) for adapted in learner.adapt(support_x, support_y)]
        with paddle.no_grad():
            accuracies.append(np.stack([fn.accuracy(s, query_y).numpy() for s in scores], axis=1))
            losses.append(np.stack([fn.cross_entropy(s, query_y).numpy() for s in scores], axis=1))
    return Result(np.concatenate(accuracies), np.concatenate(losses))


def evaluate(learner: Learner, sampler: TaskSampler, tasks: int, part: slice = slice(None),
             progress: Callable[[Iterable, int], Iterable] = lambda items, total: items) -> Result:
    """`measure` over the sampler's next `tasks` tasks, drawn a few at a time."""
    sizes = [min(TASKS_AT_ONCE, tasks - i) for i in range(0, tasks, TASKS_AT_ONCE)]
    results = [measure(learner, sampler.sample(size)) for size in progress(sizes, len(sizes))]
    return Result(np.concatenate([r.accuracies for r in results]), np.concatenate([r.losses for r in results]))
