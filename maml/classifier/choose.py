"""Which checkpoint of a folder serves a task best."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from maml.config import ANY_WAY
from maml.data.arrays import Index
from maml.system.errors import UserError

if TYPE_CHECKING:  # so that who only reads checkpoints need not wait for Paddle
    pass
from maml.training.checkpoint import Trained, read
from maml.training.restore import serves


def find(
    folder: str | Path,
    n_way: int,
    k_spt: int,
    algorithm: str | None = None,
    data: Index | None = None,
    split: str | None = None,
) -> Trained:
    """The checkpoint in `folder` for this task (and of this algorithm, and for this split of these
    data).

    One that was validated on it, else with as many classes, else one that serves them; of several,
    the best on validation characters; what was trained on those too comes last, for its accuracy
    there says nothing. Before all that, one of `split`, if that is given.
    """

    def place(t: Trained) -> tuple[bool, bool, bool, bool, float]:
        return (
            t.state["data"]["split"] == split,
            (t.config.n_way, t.config.k_spt) == (n_way, k_spt),
            t.config.n_way == n_way,
            not t.config.train_on_val,
            t.state["best"]["accuracy"],
        )

    candidates = [
        t
        for t in map(read, sorted(Path(folder).glob("*.pkl")))
        if algorithm in (None, t.config.algorithm)
        and (
            data is None
            or (t.state["data"]["source"], t.state["data"]["split"]) == (data.source, data.split)
        )
        and serves(t.config, n_way)
        and (t.config.algorithm in ANY_WAY or t.config.k_spt == k_spt)
    ]
    if not candidates:
        raise UserError(
            f"{folder}: no checkpoint for n_way {n_way} and k_spt {k_spt}"
            + (f" of {algorithm}" if algorithm else "")
            + (f" and the {data.split} split" if data else "")
            + "; train one, or name any by --checkpoint"
        )
    return max(candidates, key=place)
