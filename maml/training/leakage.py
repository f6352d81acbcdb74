"""Whether data may be used to measure a checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maml.data.arrays import Index
from maml.data.splits import character_of
from maml.system.errors import UserError

if TYPE_CHECKING:  # so that who only reads checkpoints need not wait for Paddle
    pass
from maml.training.checkpoint import Trained


def check_data(trained: Trained, index: Index, part: str) -> str | None:
    """Whether accuracies on `part` of the data are to be believed: a `UserError` where not, a
    warning to print where nearly so.
    """
    theirs = trained.state["data"]
    for key in ("source", "image_size", "polarity"):
        if theirs[key] != getattr(index, key):
            raise UserError(
                f"{trained.path}: was trained on data with {key} {theirs[key]!r}, these have"
                f" {getattr(index, key)!r}; name the right arrays by --data"
            )
    used = theirs["rows"]["train"] + (
        theirs["rows"]["val"] if part == "test" or trained.config.train_on_val else []
    )
    seen = {character_of(row) for row in used} & {character_of(row) for row in index.rows[part]}
    if seen:
        raise UserError(
            f"{trained.path}: was trained or chosen on {len(seen)} of these {part} characters, such"
            f" as {min(seen)}; make the data with its split: make_data.py --split {theirs['split']}"
            f" --seed {theirs['seed']}"
        )
    if theirs["sha256"].get(part) != index.sha256[part] and (theirs["split"], theirs["seed"]) == (
        index.split,
        index.seed,
    ):
        return (
            f"warning: the {part} images differ in some pixels from those made for {trained.path} "
            f"(Pillow {theirs['pillow']} there, {index.pillow} here)"
        )
    return None
