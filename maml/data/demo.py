"""The data of the demo: Omniglot if it can be downloaded, and otherwise invented alphabets."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from maml.data import download, stand_in
from maml.data.arrays import INDEX, read_arrays
from maml.data.raw import Character, find_characters
from maml.data.splits import split_characters
from maml.system import errors
from maml.system.files import is_in_future
from maml.system.progress import watched

OMNIGLOT, STAND_IN = Path("data/omniglot"), Path("data/stand-in")
SIZE, SPLIT, SEED = 28, "random", 0
NAMES = {
    "omniglot": "OMNIGLOT",
    "stand-in": "PROCEDURAL STAND-IN, NOT OMNIGLOT",
    "other": "NEITHER OMNIGLOT NOR ITS STAND-IN",
}


def reading_progress(items: Iterable, total: int) -> Iterable:
    """Yield the characters that are read, and show the progress."""
    return watched(items, total, "characters", "reading")


def _inventing_progress(items: Iterable, total: int) -> Iterable:
    return watched(items, total, "alphabets", "inventing")


def _problem(raw: str | Path) -> str | None:
    """Return why the characters of `raw` cannot be used, or None if they can."""
    try:
        find_characters(raw)
    except errors.UserError as error:
        return str(error).partition("; ")[0]
    return None


def find_raw() -> tuple[Path, str]:
    """Return the raw data for the demo; download or invent them if necessary.

    Returns:
        tuple[Path, str]: the folder or zip, and why it was chosen.

    Raises:
        UserError: if the environment variable OMNIGLOT does not name raw data, or if the download
            fails although there is a connection.
    """
    if given := os.environ.get("OMNIGLOT"):
        if problem := _problem(given):
            raise errors.UserError(
                f"OMNIGLOT={given} is of no use ({problem}); correct it or unset it"
            )
        return Path(given), "as the variable OMNIGLOT says"
    problem = _problem(OMNIGLOT)
    # One archive without the other means that a download was interrupted.
    if not problem and len({(OMNIGLOT / name).exists() for name in download.MD5}) == 1:
        return OMNIGLOT, "found there"
    print(problem or f"{OMNIGLOT}: lacks an archive", "downloading Omniglot", sep="; ", flush=True)
    try:
        download.omniglot(OMNIGLOT)
        return OMNIGLOT, "the official download"
    except download.Offline as error:
        print(error, flush=True)
    if not problem:
        return OMNIGLOT, "INCOMPLETE, and no connection to get the rest"
    if not STAND_IN.exists():
        stand_in.write(STAND_IN, progress=_inventing_progress)
    return STAND_IN, "no connection to get Omniglot"


def is_up_to_date(out: Path, raw: Path, characters: list[Character], source: str) -> bool:
    """Whether the arrays in a folder are complete and need not be made again from the raw data.

    Args:
        out (Path): the folder with the arrays.
        raw (Path): the raw data. They must be older than the arrays.
        characters (list[Character]): the characters of the raw data.
        source (str): where the raw data come from, see `Index`.
    """
    try:
        _, index = read_arrays(out)
    except errors.UserError:
        return False
    return (
        index.source == source
        and index.image_size == SIZE
        and index.pillow == Image.__version__
        and index.rows == split_characters(characters, SPLIT, SEED)
        and raw.stat().st_mtime_ns < (made := (out / INDEX).stat().st_mtime_ns)
        and not is_in_future(made)
    )
