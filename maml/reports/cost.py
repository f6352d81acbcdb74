"""What accuracy costs: validation accuracy against core-hours, from the checkpoints' histories."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from maml.reports.results import name_method, read_reports
from maml.reports.table import NAMES, chain
from maml.training.checkpoint import Checkpoint, read

TASK = (20, 1)
"""way and shot"""


class Curve(NamedTuple):
    """The validations of one run."""

    label: str
    hours: list[float]
    """core-hours, with those of the weights that the run started from"""
    accuracies: list[float]


def read_curves(folder: Path) -> dict[str, list[Curve]]:
    """Return, by method, the runs on `TASK` of the random split, each after what it started from.

    Weights that were trained on validation characters too are left out: their validation accuracy
    says nothing about new characters.
    """
    reports = dict(read_reports(folder))
    found: dict[str, list[Curve]] = {}
    for name in reports:
        trained = read(folder / f"{name}.pkl")
        config = trained.config
        if (config.way, config.shot) != TASK or config.train_on_val:
            continue
        if trained.data.split != "random" or trained.data.source != "omniglot":
            continue
        before = sum(r["core_seconds"] for r in chain([name], reports)) - trained.core_seconds
        found.setdefault(NAMES[name_method(config)], []).append(_curve(name, trained, before))
    for curves in found.values():
        curves.sort(key=lambda curve: curve.hours)
    return found


def _curve(name: str, trained: Checkpoint, before: float) -> Curve:
    """Return a run's validations; each meta-iteration is taken to last as long as another."""
    seconds = trained.core_seconds / max(trained.iteration, 1)
    points = list(_validations(trained))
    hours = [(before + seconds * epoch) / 3600 for epoch, _ in points]
    return Curve(name, hours, [accuracy for _, accuracy in points])


def _validations(trained: Checkpoint) -> Iterator[tuple[int, float]]:
    for h in trained.history:
        if h["part"] == "validation":
            yield h["epoch"], h["accuracies"][-1]
