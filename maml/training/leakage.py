"""Whether data may be used to measure a checkpoint: never on characters that it was trained on."""

from __future__ import annotations

from collections.abc import Sequence

from maml.data.arrays import Index, read_index
from maml.data.splits import character_of
from maml.system.errors import UserError
from maml.training.checkpoint import Checkpoint


def check_data(trained: Checkpoint, index: Index, part: str) -> str | None:
    """Check that accuracies on `part` of the data are to be believed.

    Returns:
        str | None: a warning to print, where they nearly are.

    Raises:
        UserError: if they are not.
    """
    theirs, path = trained.data, trained.path
    for key in ("source", "image_size", "polarity"):
        if getattr(theirs, key) != getattr(index, key):
            raise UserError(
                f"{path}: was trained on data with {key} {getattr(theirs, key)!r}, these have "
                f"{getattr(index, key)!r}; name the right arrays by --data"
            )
    used = list(theirs.rows["train"])
    if part == "test" or trained.config.train_on_val:
        used += theirs.rows["val"]
    seen = {character_of(row) for row in used} & {character_of(row) for row in index.rows[part]}
    if seen:
        raise UserError(
            f"{path}: was trained or chosen on {len(seen)} of these {part} characters, such as "
            f"{min(seen)}; make the data with its split: make_data.py --split {theirs.split} "
            f"--seed {theirs.seed}"
        )
    same_split = (theirs.split, theirs.seed) == (index.split, index.seed)
    if same_split and theirs.sha256.get(part) != index.sha256[part]:
        return (
            f"warning: the {part} images differ in some pixels from those made for {path} "
            f"(Pillow {theirs.pillow} there, {index.pillow} here)"
        )
    return None


def find_split(trained: Checkpoint, folders: Sequence[str]) -> str:
    """Return the folder whose arrays are of the split that the checkpoint was trained on."""
    split = trained.data.split
    for folder in folders:
        if read_index(folder).split == split:
            return folder
    raise UserError(
        f"{trained.path}: was trained on the {split} split, which is not in {', '.join(folders)}; "
        "name its arrays by --data"
    )
