"""Omniglot's one-shot classification challenge (Lake, Salakhutdinov & Tenenbaum 2015).

It consists of 20 runs. A run has one drawing of each of 20 characters of an alphabet as the
support, all by one drawer, and 20 drawings of these characters by another one as the queries.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from maml.data.raw import DAMAGED, Read, load, zipped
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


class Listed(NamedTuple):
    """The files of a run: their paths, and each item's class as an index of the support."""

    name: str
    support: list[str]
    items: list[str]
    classes: list[int]


def read(runs: str | Path, image_size: int) -> list[Run]:
    """Read the runs of the challenge.

    Args:
        runs (str | Path): all_runs.zip as published, or the folder that it was unpacked to. It has
            `runNN/training/classNN.png`, `runNN/test/itemNN.png` and `runNN/class_labels.txt`. The
            latter has a line for each item, with the path of the item and the path of its class.
        image_size (int): side of the images, in pixels.

    Returns:
        list[Run]: the runs, in the order of their names.

    Raises:
        UserError: if there are no runs, or if a run is incomplete or damaged.
    """
    files = _files(Path(runs))

    def images(paths: list[str]) -> np.ndarray:
        drawings = [load((f"{runs}/{path}", files[path]), image_size) for path in paths]
        return np.stack(drawings)[None, :, None].astype(np.float32) / 255  # [1, N, 1, H, W]

    found = []
    for run in _listed(Path(runs), files):
        # shuffled, so that a classifier that always answers with the first class gains nothing
        label = np.random.default_rng(len(run.support)).permutation(len(run.support))
        support, items = images(run.support), images(run.items)
        found.append(
            Run(run.name, TaskBatch(support, label[None], items, label[None, run.classes]))
        )
    return found


def way(runs: str | Path) -> int:
    """Return the largest number of classes in a run.

    Args:
        runs (str | Path): as for `read`.

    Raises:
        UserError: if there are no runs, or if a run is incomplete.
    """
    return max(len(run.support) for run in _listed(Path(runs), _files(Path(runs))))


def _files(runs: Path) -> dict[str, Read]:
    """How each file of the runs is read, by its path from the folder runNN on."""
    if not runs.exists():
        raise UserError(
            f"{runs}: no such folder or zip; --runs names Omniglot's all_runs.zip, or the folder "
            "that holds run01, run02, ..."
        )
    if runs.is_dir():
        return {p.relative_to(runs).as_posix(): p.read_bytes for p in runs.glob("run*/**/*.*")}
    found = {}
    for path, reader in zipped(runs, str(runs), (".png", LABELS)):
        parts = path.parts  # some tools put the runs into a folder of the zip
        first = next((k for k, part in enumerate(parts) if part.startswith("run")), 0)
        found[str(PurePosixPath(*parts[first:]))] = reader
    return found


def _listed(runs: Path, files: dict[str, Read]) -> list[Listed]:
    """The runs among `files`, in the order of their names."""
    names = sorted(path.split("/")[0] for path in files if path.endswith(f"/{LABELS}"))
    if not names:
        raise UserError(
            f"{runs}: no runNN/{LABELS} in it; --runs names Omniglot's all_runs.zip, or the folder "
            "that holds run01, run02, ..."
        )
    return [_list(runs, name, files) for name in names]


def _list(runs: Path, name: str, files: dict[str, Read]) -> Listed:
    """The run `name`."""
    labels = f"{name}/{LABELS}"
    support = sorted(
        path for path in files if path.startswith(f"{name}/training/") and path.endswith(".png")
    )
    try:
        lines = files[labels]().decode("utf-8", "replace").splitlines()
    except DAMAGED as error:
        raise UserError(f"{runs}/{labels}: cannot be read ({error})") from None
    items, classes = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        paths = line.split()
        if len(paths) != 2 or paths[0] not in files or paths[1] not in support:
            raise UserError(
                f"{runs}/{labels}: line {number}, {line[:80]!r}, does not name a test item and its "
                "class in training/"
            )
        items.append(paths[0])
        classes.append(support.index(paths[1]))
    if len(support) < 2 or not items:
        raise UserError(
            f"{runs}/{labels}: needs at least 2 classes in training/ and one test item, found"
            f" {len(support)} and {len(items)}"
        )
    return Listed(name, support, items, classes)
