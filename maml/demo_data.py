"""Make the arrays that the demo runs on, of Omniglot where it can be had, else of a procedural
stand-in, and say loudly which.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from maml import download, errors, glyphs, omniglot
from maml.progress import watched

EXAMPLE = """example:
  python -m maml.demo_data --out data/demo
  OMNIGLOT=/mnt/omniglot.zip python -m maml.demo_data --out data/demo
      raw images from there, and from nowhere else
"""
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
        omniglot.find_characters(raw)
    except errors.UserError as error:
        return str(error).partition("; ")[0]


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
        glyphs.write(
            STAND_IN, progress=lambda items, total: watched(items, total, "alphabets", "inventing")
        )
    return STAND_IN, "no connection to get Omniglot"


def _is_made(out: Path, raw: Path, characters: list[omniglot.Character], source: str) -> bool:
    """The arrays in `out` are whole, and what `raw` would give again as far as names and dates
    tell.
    """
    try:
        _, index = omniglot.read(out)
    except errors.UserError:
        return False
    return (
        index.source == source
        and index.image_size == SIZE
        and index.pillow == Image.__version__
        and index.rows == omniglot.split_characters(characters, SPLIT, SEED)
        and raw.stat().st_mtime < (out / omniglot.INDEX).stat().st_mtime
    )


def main() -> None:
    parser = errors.Parser(__doc__, EXAMPLE, prog="python -m maml.demo_data")
    parser.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="where the arrays go"
    )
    out = parser.parse_args().out
    raw, why = find_raw()
    characters = omniglot.find_characters(raw)
    source = omniglot.source_of(raw, characters)
    print("=" * 80, f"DATA: {NAMES[source]}", f"({raw}, {why})", "=" * 80, sep="\n", flush=True)
    if not _is_made(out, raw, characters, source):
        omniglot.save(*omniglot.convert(raw, SIZE, SPLIT, SEED, progress=_watched), out)
    print(f"{out}: holds the arrays of its {len(characters)} characters")


if __name__ == "__main__":
    errors.run(main)
