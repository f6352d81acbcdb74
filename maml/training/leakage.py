"""Whether data may be used to measure a checkpoint: never on characters that it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from maml.data.form import Form
from maml.data.index import ImageIndex, Index, read_index
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
    of_images = isinstance(theirs, ImageIndex) or isinstance(index, ImageIndex)
    for key in ("source", "image_size", "polarity") if not of_images else ():
        if getattr(theirs, key) != getattr(index, key):
            raise UserError(
                f"{path}: was trained on data with {key} {getattr(theirs, key)!r}, these have "
                f"{getattr(index, key)!r}; name the right arrays by --data"
            )
    _check_form(path, theirs.form, index.form)
    for ancestor in trained.lineage:
        seen = _common(ancestor.data, ancestor.parts_seen(part), index, part)
        if seen:
            who = "" if ancestor.data is theirs else f"started from {ancestor.name}, which "
            what = "classes" if of_images else "characters"
            raise UserError(
                f"{path}: {who}was trained or chosen on {len(seen)} of these {part} {what}, such "
                f"as {min(seen)}; make the data with its split: make_data.py --split "
                f"{ancestor.data.split} --seed {ancestor.data.seed}"
            )
    if theirs.source != index.source:
        return _transfer(trained, index)
    same_split = (theirs.split, theirs.seed) == (index.split, index.seed)
    if same_split and theirs.sha256.get(part) != index.sha256[part]:
        return (
            f"warning: the {part} images differ in some pixels from those made for {path} "
            f"(Pillow {theirs.pillow} there, {index.pillow} here)"
        )
    return None


def find_split(trained: Checkpoint, folders: Sequence[str]) -> str:
    """Return the folder with the source, split and form of images that weights were trained on."""
    source, split, form = trained.data.source, trained.data.split, trained.data.form
    for folder in folders:
        index = read_index(folder)
        if (index.source, index.split, index.form) == (source, split, form):
            return folder
    raise UserError(
        f"{trained.path}: was trained on the {split} split of {source}, {_form(form)}, which is "
        f"not in {', '.join(folders)}; name its arrays by --data"
    )


def _check_form(path: Path, theirs: Form, ours: Form) -> None:
    """Raise a `UserError` where images are of another size than the network's, or in colour."""
    if (theirs.image_size, theirs.channels) != (ours.image_size, ours.channels):
        raise UserError(
            f"{path}: takes images of {_form(theirs)}, these have {_form(ours)}; make them again "
            f"by make_data.py --image-size {theirs.image_size} --channels {theirs.channels}, in a "
            "folder of their own"
        )


def _form(form: Form) -> str:
    colours = "grey" if form.channels == 1 else "in colour"
    return f"{form.image_size} x {form.image_size} pixels, {colours}"


def _common(theirs: Index, parts: Sequence[str], index: Index, part: str) -> set[str]:
    """The classes of `part` that are in `parts` of what was trained on.

    In data of the same source names tell, in any data the contents of the images, where both know
    them.
    """
    found = set()
    if theirs.source == index.source:
        used = {character_of(row) for each in parts for row in theirs.rows[each]}
        found = used & {character_of(row) for row in index.rows[part]}
    if isinstance(theirs, ImageIndex) and isinstance(index, ImageIndex):
        contents = {digest for each in parts for digest in theirs.digests[each]}
        rows = zip(index.rows[part], index.digests[part])
        found |= {row for row, digest in rows if digest in contents}
    return found


def _transfer(trained: Checkpoint, index: Index) -> str:
    """What to tell where weights meet data of another kind."""
    theirs = trained.data
    sources = dict.fromkeys(ancestor.data.source for ancestor in trained.lineage)
    trained_on = ", before that on ".join(sources)
    line = f"transfer: {trained.path} was trained on {trained_on}, these are {index.source}"
    if (theirs.polarity == "ink high") == (index.polarity == "ink high"):
        return line
    if theirs.polarity == "ink high":
        return f"{line}; its ink is high: make drawings again by make_data.py --ink dark (or light)"
    return f"{line}; these have high ink, which the weights do not know"
