"""Make the arrays that the demo runs on, of Omniglot where it can be had, else of a procedural
stand-in, and say loudly which.
"""

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
from maml.system.progress import watched

OMNIGLOT, STAND_IN = Path("data/omniglot"), Path("data/stand-in")
SIZE, SPLIT, SEED = 28, "random", 0
NAMES = {
    "omniglot": "OMNIGLOT",
    "stand-in": "PROCEDURAL STAND-IN, NOT OMNIGLOT",
    "other": "NEITHER OMNIGLOT NOR ITS STAND-IN",
}


def _watched(items: Iterable, total: int) -> Iterable:
    return watched(items, total, "characters", "reading")


def _problem(raw: str | Path) -> str | None:
    """Why the characters of `raw` cannot be used."""
    try:
        find_characters(raw)
    except errors.UserError as error:
        return str(error).partition("; ")[0]
    return None


def find_raw() -> tuple[Path, str]:
    """The raw images to use, folder or zip, and how they came to be chosen; downloads or invents
    them if need be.

    Raises `UserError` if the variable OMNIGLOT names none, or if the download fails for another
    reason than a lacking connection.
    """
    if given := os.environ.get("OMNIGLOT"):
        if problem := _problem(given):
            raise errors.UserError(
                f"OMNIGLOT={given} is of no use ({problem}); correct it or unset it"
            )
        return Path(given), "as the variable OMNIGLOT says"
    problem = _problem(OMNIGLOT)
    if (
        not problem and len({(OMNIGLOT / name).exists() for name in download.MD5}) == 1
    ):  # one without the other: broken off
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
        stand_in.write(
            STAND_IN, progress=lambda items, total: watched(items, total, "alphabets", "inventing")
        )
    return STAND_IN, "no connection to get Omniglot"


def _is_made(out: Path, raw: Path, characters: list[Character], source: str) -> bool:
    """The arrays in `out` are whole, and what `raw` would give again as far as names and dates
    tell.
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
        and raw.stat().st_mtime < (out / INDEX).stat().st_mtime
    )
