"""The one-shot classification challenge that came with Omniglot (Lake, Salakhutdinov & Tenenbaum
2015): 20 runs, each with one drawing of each of 20 characters of one alphabet, and 20 other
drawings to tell apart.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from maml.data.raw import load
from maml.data.tasks import TaskBatch
from maml.system.errors import UserError

LABELS = "class_labels.txt"


class Run(NamedTuple):
    """A run's name and its one task."""

    name: str
    task: TaskBatch


def read(folder: str | Path, image_size: int) -> list[Run]:
    """The runs in `folder`: `runNN/training/classNN.png`, `runNN/test/itemNN.png`, and in
    `runNN/class_labels.txt` a line for each item with its path and that of its class, below
    `folder`.

    Raises `UserError` where there are none, or one is incomplete.
    """
    return [
        Run(name, _task(support, items, image_size))
        for name, support, items in _listed(Path(folder))
    ]


def way(folder: str | Path) -> int:
    """The largest number of classes in one of the runs in `folder`; raises as `read`."""
    return max(len(support) for _, support, _ in _listed(Path(folder)))


def _listed(folder: Path) -> list[tuple[str, list[Path], list[tuple[Path, int]]]]:
    """What `_read_run` says of each run in `folder`."""
    runs = [_read_run(folder, path) for path in sorted(folder.glob(f"run*/{LABELS}"))]
    if not runs:
        raise UserError(
            f"{folder}: no runNN/{LABELS} in it; --runs names the folder that holds run01,"
            " run02, ..."
        )
    return runs


def _read_run(folder: Path, labels: Path) -> tuple[str, list[Path], list[tuple[Path, int]]]:
    """A run's name, the support's image of each class, and the test items with their classes'
    places among them.
    """
    support = sorted((labels.parent / "training").glob("*.png"))
    items = []
    for number, line in enumerate(
        labels.read_text(encoding="utf-8", errors="replace").splitlines(), 1
    ):
        if not line.strip():
            continue
        paths = [folder / part for part in line.split()]
        if len(paths) != 2 or paths[1] not in support or not paths[0].is_file():
            raise UserError(
                f"{labels}: line {number}, {line[:80]!r}, does not name a test item and its class"
                " in training/"
            )
        items.append((paths[0], support.index(paths[1])))
    if len(support) < 2 or not items:
        raise UserError(
            f"{labels}: needs at least 2 classes in training/ and one test item, found"
            f" {len(support)} and {len(items)}"
        )
    return labels.parent.name, support, items


def _task(support: list[Path], items: list[tuple[Path, int]], image_size: int) -> TaskBatch:
    """Classes are labelled in another order than they are listed in, so that whoever always says
    the first gets no points for it.
    """
    label = np.random.default_rng(len(support)).permutation(len(support))

    def images(paths):
        inks = [load((str(path), path.read_bytes), image_size) for path in paths]
        return np.stack(inks)[None, :, None].astype(np.float32) / 255  # [1, N, 1, H, W]

    return TaskBatch(
        images(support),
        label[None],
        images([path for path, _ in items]),
        label[None, [place for _, place in items]],
    )
