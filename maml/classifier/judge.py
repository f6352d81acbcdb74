"""Judging weights: all on the same validation tasks, and the best of each method by strangers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from maml.classifier import calibration
from maml.classifier.choose import has_own_network
from maml.classifier.judged import (
    TASKS,
    Judged,
    Record,
    Strangers,
    read_records,
    record_of,
    write_records,
)
from maml.classifier.strangers import Answers, ask
from maml.config import METHODS
from maml.data.arrays import read_arrays
from maml.training.checkpoint import Checkpoint, read
from maml.training.leakage import check_data, find_split
from maml.training.restore import restore

REJECT = 0.05  # members that are lost, in the table of strangers
Progress = Callable[[Any, str], Iterable]


def judge(
    paths: Sequence[Path],
    folders: Sequence[str],
    queries: int,
    progress: Progress = lambda items, what: items,
) -> None:
    """Judge weights on validation tasks, and write what is found to the index beside them.

    Weights that were trained on validation characters too, or with a network of the user's own,
    are left out. What was judged on as many queries is not judged again. The best weights of each
    method are then asked about strangers among test characters.

    Args:
        paths (Sequence[Path]): files of weights.
        folders (Sequence[str]): folders with arrays, one for each split.
        queries (int): queries of known classes in the tasks of one way and shot.
        progress (Callable): wraps the tasks that are gone through, and is told what they are.

    Raises:
        UserError: if no folder holds the split that weights were trained on.
    """
    every = [t for t in map(read, paths) if not (t.config.train_on_val or has_own_network(t))]

    def answers(trained: Checkpoint, part: str, way: int, shot: int) -> Answers:
        arrays, index = read_arrays(find_split(trained, folders))
        check_data(trained, index, part)
        learner, tasks = restore(trained, way, bn="inductive"), -(-queries // way)
        what = f"{trained.path.stem}: {way}-way {shot}-shot, {part} characters"
        return ask(learner, arrays[part], way, shot, tasks, lambda items: progress(items, what))

    for way, shot in TASKS:
        for trained in every:
            known = record_of(trained.path)
            if trained.serves(way) and not _has(known.judged, way, shot, queries):
                found = judged(answers(trained, "val", way, shot), shot)
                _write(trained.path, known._replace(judged=_with(known.judged, found)))
        for trained in best_of_each_method(every, way, shot):
            known = record_of(trained.path)
            if not _has(known.strangers, way, shot, queries):
                (on_val,) = [j for j in known.judged if (j.way, j.shot) == (way, shot)]
                told = strangers(answers(trained, "test", way, shot), on_val)
                _write(trained.path, known._replace(strangers=_with(known.strangers, told)))


def judged(answers: Answers, shot: int) -> Judged:
    """Return what weights reach and what their scores are worth, by validation answers."""
    way = answers.scores.shape[-1]
    scores, y = answers.scores.reshape(-1, way), answers.y.ravel()
    return Judged(
        way,
        shot,
        tasks=len(answers.y),
        accuracy=round(float((scores.argmax(axis=1) == y).mean()), 6),
        temperature=round(calibration.fit_temperature(scores, y), 4),
        quantiles=[round(q, 6) for q in calibration.quantiles(answers.members)],
    )


def strangers(answers: Answers, on_val: Judged) -> Strangers:
    """Return how well strangers are told, by answers on test characters."""
    scores, y = answers.scores.reshape(-1, on_val.way), answers.y.ravel()
    members, others = answers.members.ravel(), answers.strangers.ravel()

    def refused(nearness):
        share = (calibration.typicality(nearness, on_val.quantiles) < REJECT).mean()
        return round(float(share), 6)

    def error(temperature: float) -> float:
        p = calibration.softmax(scores, temperature)
        return round(calibration.calibration_error(p, y), 6)

    return Strangers(
        on_val.way,
        on_val.shot,
        tasks=len(answers.y),
        area=round(calibration.area_under_curve(members, others), 6),
        refused=refused(others),
        lost=refused(members),
        error=error(on_val.temperature),
        error_before=error(1.0),
    )


def best_of_each_method(every: Sequence[Checkpoint], way: int, shot: int) -> list[Checkpoint]:
    """Return the weights of each method, on the random split, that were judged the best."""
    found = {}
    for trained in every:
        for j in record_of(trained.path).judged if trained.data.split == "random" else ():
            if (j.way, j.shot) == (way, shot):
                found[j.at_least, trained.path.stem] = trained
    ranked = [found[place] for place in sorted(found)]
    best = {trained.config.algorithm: trained for trained in ranked}
    return [best[method] for method in METHODS if method in best]


def _has(found: Sequence[Judged] | Sequence[Strangers], way: int, shot: int, queries: int) -> bool:
    return any((f.way, f.shot) == (way, shot) and f.tasks * way >= queries for f in found)


def _with(found: list, new: Judged | Strangers) -> list:
    """What was found before, but for the same kind of tasks, and what is new."""
    return sorted([f for f in found if f[:2] != new[:2]] + [new])


def _write(path: Path, record: Record) -> None:
    write_records(path.parent, {**read_records(path.parent), path.stem: record})
