"""From images as people have them to the files of `maml.data.images`, in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from maml.data.folders import Item, from_arrays, from_csv, from_folder
from maml.data.form import Form
from maml.data.images import Origin, Writer, usual_form
from maml.data.index import IMAGES_OF, ImageIndex
from maml.data.own_splits import file_items, kept, listed_parts
from maml.data.splits import USUAL, named, split_classes

Progress = Callable[[Iterable[Any], int, str], Iterable[Any]]
"""takes items, their number and what is done with them; returns the items, and may show progress"""


class Source(NamedTuple):
    """Where images are: a folder or a CSV file; arrays; or what three lists name below a folder."""

    raw: Path
    arrays: tuple[str, str] | None = None  # images and labels, files of NumPy's, instead of `raw`
    lists: Sequence[str] = ()  # of training, validation and test classes

    @property
    def place(self) -> Path:
        """The file or folder that the data are called after."""
        return Path(self.arrays[0]) if self.arrays else self.raw

    def items(self) -> list[Item]:
        """The images of all classes, which are not read yet."""
        if self.arrays:
            return from_arrays(*self.arrays)
        if self.lists and Path(self.lists[0]).suffix.lower() == ".csv":
            return file_items(self.raw, self.lists)
        if self.raw.suffix.lower() == ".csv":
            return from_csv([self.raw], [self.raw.parent])
        return from_folder(self.raw)


class Division(NamedTuple):
    """How classes become parts, where no lists say it, see `split_classes`."""

    split: str = "random"
    seed: int = 0
    fractions: Sequence[float] = USUAL


class Wishes(NamedTuple):
    """What the images are to be like; None for what they suggest themselves, see `usual_form`."""

    image_size: int | None = None
    channels: int | None = None
    fit: str = "crop"
    ink: str = ""


def convert_images(
    source: Source,
    out: str | Path,
    division: Division,
    wishes: Wishes,
    fewest: int = 1,
    skip_bad: bool = False,
    progress: Progress = lambda items, total, doing: items,
) -> tuple[ImageIndex, int]:
    """Write images, their list and their index to a folder.

    Args:
        source (Source): where the images are.
        out (str | Path): the folder to write to.
        division (Division): how classes become parts.
        wishes (Wishes): what the images are to be like.
        fewest (int): classes with fewer images are left out.
        skip_bad (bool): go on without images that cannot be read.
        progress (Callable): shows the progress of "looking" and "reading".

    Returns:
        tuple[ImageIndex, int]: the index, and the number of classes that were left out.

    Raises:
        UserError: if images cannot be read or written, or leave a part without classes.
    """
    items, left_out = kept(source.items(), fewest)
    names = sorted({item.name for item in items} - {""})
    if source.lists:
        split, parts = "lists", listed_parts(source.lists, names, source.place)
    else:
        split = named(division.split, division.fractions)
        parts = split_classes(names, division.split, division.seed, division.fractions)
    size, channels, fit, ink = wishes
    if size is None or channels is None:
        found = usual_form(progress(items, len(items), "looking"))
        size, channels = size or found[0], channels or found[1]
    origin = Origin(f"{IMAGES_OF}{source.place.resolve().stem}", split, division.seed)
    writer = Writer(items, parts, Form(size, channels, fit, ink), origin, skip_bad)
    index = writer.write(out, lambda items, total: progress(items, total, "reading"))
    return index, left_out
