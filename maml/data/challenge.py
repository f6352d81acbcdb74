"""Omniglot's one-shot classification challenge (Lake, Salakhutdinov & Tenenbaum 2015).

It consists of 20 runs. A run has one drawing of each of 20 characters of an alphabet as the
support, and 20 other drawings of these characters as the queries.
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
    """A run of the challenge.

    Args:
        name (str): name of its folder, such as run01.
        task (TaskBatch): its single task.
    """

    name: str
    task: TaskBatch


def read(folder: str | Path, image_size: int) -> list[Run]:
    """Read the runs of the challenge.

    Args:
        folder (str | Path): folder of the runs. It has `runNN/training/classNN.png`,
            `runNN/test/itemNN.png` and `runNN/class_labels.txt`. The latter has a line for each
            item, with the path of the item and the path of its class, relative to `folder`.
        image_size (int): side of the images, in pixels.

    Returns:
        list[Run]: the runs, in the order of their names.

    Raises:
        UserError: if there are no runs, or if a run is incomplete.
    """
    return [
        Run(name, _task(support, items, image_size))
        for name, support, items in _listed(Path(folder))
    ]


def way(folder: str | Path) -> int:
    """Return the largest number of classes in a run.

    Args:
        folder (str | Path): folder of the runs, as for `read`.

    Raises:
        UserError: if there are no runs, or if a run is incomplete.
    """
    return max(len(support) for _, support, _ in _listed(Path(folder)))


def _listed(folder: Path) -> list[tuple[str, list[Path], list[tuple[Path, int]]]]:
    """Return what `_read_run` returns for each run in `folder`."""
    runs = [_read_run(folder, path) for path in sorted(folder.glob(f"run*/{LABELS}"))]
    if not runs:
        raise UserError(
            f"{folder}: no runNN/{LABELS} in it; --runs names the folder that holds run01,"
            " run02, ..."
        )
    return runs


def _read_run(folder: Path, labels: Path) -> tuple[str, list[Path], list[tuple[Path, int]]]:
    """Return a run's name, the image of each class, and each test item with its class's index."""
    support = sorted((labels.parent / "training").glob("*.png"))
    items = []
    lines = labels.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, 1):
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
    """Return a run as a task whose labels are shuffled.

    A classifier that always answers with the first class must not profit from the order of the
    classes in the folder.
    """
    label = np.random.default_rng(len(support)).permutation(len(support))

    def images(paths: list[Path]) -> np.ndarray:
        drawings = [load((str(path), path.read_bytes), image_size) for path in paths]
        return np.stack(drawings)[None, :, None].astype(np.float32) / 255  # [1, N, 1, H, W]

    return TaskBatch(
        images(support),
        label[None],
        images([path for path, _ in items]),
        label[None, [index for _, index in items]],
    )
