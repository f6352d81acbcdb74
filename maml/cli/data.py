"""Turn raw Omniglot into the arrays omniglot_train.npy, omniglot_val.npy and omniglot_test.npy, of
shape (characters, 20, 1, 28, 28)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from maml.data import download
from maml.data.arrays import convert, save_arrays
from maml.data.raw import RAW_SIZE
from maml.data.splits import PARTS, SPLITS, character_of
from maml.system import errors
from maml.system.progress import watched

RAW = Path("data/omniglot")
LONG_NAMES = {"train": "train", "val": "validation", "test": "test"}
EXAMPLE = """examples:
  python make_data.py --raw data/omniglot
      973 / 325 / 325 characters, at random
  python make_data.py --download
      the same; fetches Omniglot first if data/omniglot lacks it
  python make_data.py --split vinyals --lists splits/vinyals
      the lists that Matching and Prototypical Networks report on
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Read the flags and write the arrays."""
    parser = errors.Parser(__doc__ or "", EXAMPLE)
    parser.add_argument(
        "--raw",
        default=str(RAW),
        metavar="PATH",
        help="folder with the alphabets, with images_background and images_evaluation (folders or "
        "zips), or a zip of them (default: %(default)s)",
    )
    parser.add_argument(
        "--download",
        action="store_true",
        help=f"fetch Omniglot (15 MB) to {RAW} if it is not there; without this flag, make_data.py "
        "asks on a terminal",
    )
    parser.add_argument(
        "--out",
        default=".",
        metavar="DIR",
        help="folder for the arrays (default: the current folder)",
    )
    splits = "; ".join(f"{name}: {text}" for name, text in SPLITS.items())
    parser.add_argument(
        "--split",
        default="random",
        choices=list(SPLITS),
        help=f"{splits} (default: %(default)s)",
    )
    parser.add_argument(
        "--lists", metavar="DIR", help="folder with train.txt, val.txt and test.txt, for vinyals"
    )
    parser.add_argument(
        "--image-size",
        "--image_size",
        type=int,
        default=28,
        metavar="PIXELS",
        help="side of the scaled images (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the split (default: %(default)s)"
    )
    arguments = parser.parse_args(argv)
    if not 8 <= arguments.image_size <= RAW_SIZE:
        raise errors.UserError(
            f"--image-size must be between 8 and {RAW_SIZE}, not {arguments.image_size}"
        )
    if arguments.seed < 0:
        raise errors.UserError(f"--seed must be at least 0, not {arguments.seed}")
    fetch(Path(arguments.raw), arguments.download)
    arrays, index = convert(
        arguments.raw,
        arguments.image_size,
        arguments.split,
        arguments.seed,
        arguments.lists,
        progress=lambda items, total: watched(items, total, "characters", "reading"),
    )
    save_arrays(arrays, index, arguments.out)
    characters = {part: len({character_of(row) for row in index.rows[part]}) for part in PARTS}
    if index.source == "stand-in":
        print("These are the procedural stand-in's characters, NOT Omniglot's.")
    print(f"The number of character folders: {sum(characters.values())}")
    for part in PARTS:
        print(f"The number of {LONG_NAMES[part]} characters is {characters[part]}")
    for part in PARTS:
        print(f"The shape of {part}_imgs: {arrays[part].shape}")
    files = ", ".join(str(Path(arguments.out) / f"omniglot_{part}.npy") for part in PARTS)
    print(f"written: {files}")


def fetch(raw: Path, allowed: bool) -> None:
    """Download Omniglot to its usual folder, if that is what is read and it is not there."""
    if raw != RAW or (raw.exists() and not allowed):
        return
    if not allowed and sys.stdin is not None and sys.stdin.isatty():
        print(f"{raw}: Omniglot is not there. Download it now (15 MB)? [Y/n] ", end="", flush=True)
        allowed = sys.stdin.readline().strip().lower() in ("", "y", "yes")
    if not allowed:
        raise errors.UserError(
            f"{raw}: no such folder or zip; add --download to fetch Omniglot, or name where it is "
            "by --raw"
        )
    download.omniglot(raw)
