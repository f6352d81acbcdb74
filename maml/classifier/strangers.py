"""Tasks in which half of the queries are strangers: of classes outside of the task."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import paddle

from maml.algorithms.learner import Classifier
from maml.classifier.nearness import nearness
from maml.data.banks import Stack
from maml.data.streams import Stream, generator
from maml.data.tasks import TaskSampler
from maml.evaluation.accuracy import TASKS_AT_ONCE, embed_once


class Answers(NamedTuple):
    """What a classifier says of the members and of the strangers.

    Args:
        scores (ndarray): of members, [tasks, way, way]; one query of each class.
        y (ndarray): the members' classes, [tasks, way].
        members (ndarray): their nearness, [tasks, way].
        strangers (ndarray): the strangers' nearness, [tasks, way].
    """

    scores: np.ndarray
    y: np.ndarray
    members: np.ndarray
    strangers: np.ndarray


def ask(
    classifier: Classifier,
    images: Stack,
    way: int,
    shot: int,
    tasks: int,
    progress: Callable[[Any], Iterable] = iter,
) -> Answers:
    """Ask a classifier about the members of random tasks, and about as many strangers.

    Everyone who asks gets the same tasks.

    Args:
        classifier (Classifier): a trained learner for `way` classes, in inductive mode.
        images (ndarray | ClassImages): what a `TaskSampler` draws from.
        way, shot (int): classes, and support images of each.
        tasks (int): the number of tasks.
        progress (Callable): wraps the range of tasks, in steps of 8.
    """
    # of twice as many classes, half are the task's: labels are random
    sampler = TaskSampler(images, 2 * way, shot, 1, generator(0, Stream.STRANGERS))
    classifier, sampler = embed_once(classifier, sampler, tasks)  # type: ignore[assignment]
    found = []
    for start in progress(range(0, tasks, TASKS_AT_ONCE)):
        drawn = sampler.sample(min(TASKS_AT_ONCE, tasks - start))
        chosen = drawn.support_y < way
        support = [a[chosen].reshape(len(a), -1, *a.shape[2:]) for a in drawn[:2]]
        x, y = map(paddle.to_tensor, support)
        *_, adapted = classifier.adapt(x, y)
        query_x = paddle.to_tensor(drawn.query_x)
        scores = classifier.predict(adapted, query_x)
        near = nearness(classifier, adapted, y, query_x, scores).numpy()
        member = drawn.query_y < way

        def of(which: np.ndarray, values: np.ndarray) -> np.ndarray:
            return values[which].reshape(len(values), way, *values.shape[2:])

        found.append(
            Answers(
                of(member, scores.numpy()),
                of(member, drawn.query_y),
                of(member, near),
                of(~member, near),
            )
        )
    return Answers(*map(np.concatenate, zip(*found)))
