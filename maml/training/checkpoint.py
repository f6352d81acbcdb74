"""What a checkpoint holds, and reading one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from maml.config import Config, make
from maml.data.arrays import check_index
from maml.system import safe_pickle
from maml.system.errors import UserError

if TYPE_CHECKING:  # so that who only reads checkpoints need not wait for Paddle
    pass


class Trained(NamedTuple):
    """A checkpoint: its file, its contents, and the configuration it was trained with."""

    path: Path
    state: dict[str, Any]
    config: Config


def read(path: str | Path) -> Trained:
    """The checkpoint at `path`; a `UserError` where it is none."""
    state = safe_pickle.load(
        path,
        {
            "weights": list,
            "running": list,
            "config": dict,
            "data": dict,
            "best": dict,
            "history": list,
        },
    )
    if not all(_is_measurement(h) for h in state["history"]):
        raise UserError(
            f"{path}: is not a checkpoint of train.py's, its history does not list accuracies"
        )
    if not isinstance(state["best"].get("accuracy"), float):
        raise UserError(f"{path}: is not a checkpoint of train.py's, it lacks the best accuracy")
    if not all(isinstance(w, np.ndarray) for w in state["weights"]):
        raise UserError(f"{path}: holds weights that are no arrays")
    if not isinstance(state.get("machine", ""), str):
        raise UserError(f"{path}: is not a checkpoint of train.py's, its machine has no name")
    check_index(state["data"], str(path), parts=("train", "val"))
    return Trained(Path(path), state, make(state["config"], str(path)))


def _is_measurement(h: Any) -> bool:
    return (
        isinstance(h, dict)
        and isinstance(h.get("epoch"), int)
        and isinstance(h.get("part"), str)
        and isinstance(h.get("accuracies"), list)
        and len(h["accuracies"]) > 0
        and all(isinstance(a, float) for a in h["accuracies"])
    )
