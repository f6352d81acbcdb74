"""Make the arrays that the demo runs on, of Omniglot where it can be had, else of a procedural stand-in, and say loudly which."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from PIL import Image

from maml import download, errors, glyphs, omniglot
from maml.errors import UserError

EXAMPLE = """example:
  python -m maml.demo_data --out data/demo
  OMNIGLOT=/mnt/omniglot.zip python -m maml.demo_data --out data/demo    raw images from there, and from nowhere else
"""
OMNIGLOT = Path("data/omniglot")
STAND_IN = Path("data/stand-in")
SIZE, SPLIT, SEED = 28, "random", 0
NAMES = {"omniglot": "OMNIGLOT", "stand-in": "PROCEDURAL STAND-IN, NOT OMNIGLOT. ITS ACCURACIES COMPARE WITH NO PUBLISHED ONES",
         "other": "NEITHER OMNIGLOT NOR ITS STAND-IN"}


def _bar(items, total, label="reading", unit=" characters"):
    from tqdm import tqdm

    return tqdm(items, label, total, unit=unit, disable=None)


def find_raw() -> tuple[Path, str]:
    """The raw images to use, folder or zip, and how they came to be chosen; downloads or invents them if need be."""
    given = os.environ.get("OMNIGLOT")
    if given:
        try:
            omniglot.find_characters(given)
        except UserError as error:
            raise UserError(f"OMNIGLOT={given} is of no use ({_reason(error)}); let it name the raw images, or unset it") from None
        return Path(given), "as the variable OMNIGLOT says"
    try:
        omniglot.find_characters(OMNIGLOT)
        usable, reason = True, "the download into it broke off"
    except UserError as error:
        usable, reason = False, _reason(error)
    archives = [(OMNIGLOT / name).exists() for name in download.MD5]
    if usable and (all(archives) or not any(archives)):  # one of the two: a download was broken off between them
        return OMNIGLOT, "found there"
    print(f"{reason}; downloading Omniglot", flush=True)
    try:
        download.omniglot(OMNIGLOT)
        return OMNIGLOT, "the official download"
    except download.Offline as error:
        print(_reason(error), flush=True)
    if usable:
        return OMNIGLOT, "INCOMPLETE, and no connection to get the rest"
    if not STAND_IN.exists():
        glyphs.write(STAND_IN, progress=lambda items, total: _bar(items, total, "inventing", " alphabets"))
    return STAND_IN, "no connection to get Omniglot"


def _reason(error: UserError) -> str:
    return str(error).partition("; ")[0]


def _is_made(out: Path, raw: Path, characters: list[omniglot.Character], source: str) -> bool:
    """The arrays in `out` are whole, and what `raw` would give again as far as names and dates tell."""
    try:
        _, index = omniglot.read(out)
    except UserError:
        return False
    return (index.source == source and index.image_size == SIZE and index.pillow == Image.__version__
            and index.rows == omniglot.split_characters(characters, SPLIT, SEED)
            and raw.stat().st_mtime < (out / omniglot.INDEX).stat().st_mtime)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m maml.demo_data", description=__doc__, epilog=EXAMPLE,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="where the arrays go")
    out = parser.parse_args().out
    raw, why = find_raw()
    characters = omniglot.find_characters(raw)
    known = {c.name.split("/")[0] for c in characters} & set(omniglot.BACKGROUND_ALPHABETS)
    source = "stand-in" if (raw / omniglot.STAND_IN_MARK).exists() else "omniglot" if known else "other"
    line = f"DATA: {NAMES[source]} ({raw}, {why})"
    print("=" * len(line), line, "=" * len(line), sep="\n", flush=True)
    if _is_made(out, raw, characters, source):
        print(f"{out}: has the arrays of it already")
        return
    arrays, index = omniglot.convert(raw, SIZE, SPLIT, SEED, progress=_bar)
    omniglot.save(arrays, index, out)
    print(f"{out}: {' / '.join(str(len(index.rows[part])) for part in omniglot.PARTS)} characters for training / validation / testing")


if __name__ == "__main__":
    errors.run(main)
