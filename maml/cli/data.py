"""Turn raw Omniglot into the arrays omniglot_train.npy, omniglot_val.npy and omniglot_test.npy, of
shape (characters, 20, 1, 28, 28), or any folder of images, a folder for each class, into
images.npy."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from maml.data import download
from maml.data.arrays import convert, save_arrays
from maml.data.form import FITS, INKS
from maml.data.images import ARRAY, FILES
from maml.data.index import IMAGES_INDEX, INDEX, LARGEST
from maml.data.own_images import Division, Source, Wishes, convert_images
from maml.data.raw import RAW_SIZE, looks_like_characters
from maml.data.splits import (
    OF_CHARACTERS,
    OF_IMAGES,
    PARTS,
    SPLITS,
    USUAL,
    character_of,
    group_of,
)
from maml.system import errors
from maml.system.progress import watched

RAW = Path("data/omniglot")
WRITTEN = (ARRAY, FILES, IMAGES_INDEX)
LONG_NAMES = {"train": "train", "val": "validation", "test": "test"}
EXAMPLE = """examples:
  python make_data.py --raw data/omniglot
      973 / 325 / 325 characters, at random
  python make_data.py --download
      the same; fetches Omniglot first if data/omniglot lacks it
  python make_data.py --split vinyals --lists splits/vinyals
      the lists that Matching and Prototypical Networks report on
  python make_data.py --raw photos --out data/photos
      your own images: a folder for each class, or photos/group/class
  python make_data.py --raw miniImageNet --split-files train.csv val.csv test.csv --out data/mini
"""
OF_IMAGES_ALONE = ("fit", "channels", "ink", "images", "labels", "split_files")
"""flags that say that the raw data are images of any kind, and not drawings of Omniglot's form"""


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
        metavar="PIXELS",
        help="side of the scaled images (default: 28; of folders of images 84, or their own side "
        "where all are squares of one size up to 128)",
    )
    parser.add_argument(
        "--fractions",
        nargs="+",
        type=float,
        default=list(USUAL),
        metavar="SHARE",
        help="shares of training, validation and test classes (default: 60 20 20)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the split (default: %(default)s)"
    )
    add_image_flags(parser)
    arguments = parser.parse_args(argv)
    stated = [name for name in OF_IMAGES_ALONE if getattr(arguments, name) is not None]
    if arguments.seed < 0:
        raise errors.UserError(f"--seed must be at least 0, not {arguments.seed}")
    raw = Path(arguments.raw)
    if stated or arguments.split in OF_IMAGES or is_of_images(raw):
        return make_images(arguments, raw)
    return make_characters(arguments, raw)


def add_image_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags for images that are not of Omniglot's form."""
    group = parser.add_argument_group("folders of images, lists and arrays")
    group.add_argument(
        "--fit",
        choices=list(FITS),
        help="; ".join(f"{name}: {text}" for name, text in FITS.items()) + " (default: crop)",
    )
    group.add_argument(
        "--channels",
        type=int,
        choices=[1, 3],
        help="1: grey, 3: colour (default: 3 where any image is in colour)",
    )
    group.add_argument(
        "--ink",
        choices=INKS,
        help="the images are drawings in this ink, which becomes high values, as in Omniglot's "
        "arrays (default: values stay)",
    )
    group.add_argument("--images", metavar="FILE.npy", help="array [N, H, W(, C)] instead of --raw")
    group.add_argument("--labels", metavar="FILE.npy", help="the class of each image of --images")
    group.add_argument(
        "--split-files",
        "--split_files",
        nargs=3,
        metavar="FILE",
        help="the training, validation and test classes: CSV files of paths and labels, as "
        "mini-ImageNet has them, or lists of classes, one a line, as CIFAR-FS",
    )
    group.add_argument(
        "--min-images",
        "--min_images",
        type=int,
        default=1,
        metavar="INT",
        help="leave out classes with fewer images (default: %(default)s)",
    )
    group.add_argument(
        "--skip-bad",
        "--skip_bad",
        action="store_true",
        help="go on without images that cannot be read, and list them in the index",
    )


def is_of_images(raw: Path) -> bool:
    """Whether the raw data are images of any kind: a list, or a folder not of Omniglot's form."""
    return raw.suffix.lower() == ".csv" or (raw.is_dir() and not looks_like_characters(raw))


def check_alone(out: str, other: str) -> None:
    """Raise a `UserError` where `out` holds data of the other kind."""
    if Path(out, other).exists():
        raise errors.UserError(
            f"{out}: holds other data, which {other} describes; name another folder by --out"
        )


def make_images(arguments: argparse.Namespace, raw: Path) -> None:
    """Write the images of a folder, a list or an array, and say what they are."""
    if (arguments.images is None) != (arguments.labels is None):
        raise errors.UserError(
            "--images and --labels belong together: the images, and their classes"
        )
    if arguments.split in OF_CHARACTERS:
        raise errors.UserError(
            f"--split {arguments.split} is for Omniglot; split images by random, groups, maml or "
            "--split-files"
        )
    if arguments.split in OF_IMAGES and not arguments.split_files:
        raise errors.UserError("--split lists needs --split-files, three files")
    size = arguments.image_size
    if size is not None and not 8 <= size <= LARGEST:
        raise errors.UserError(f"--image-size must be between 8 and {LARGEST}, not {size}")
    check_alone(arguments.out, INDEX)
    arrays = (arguments.images, arguments.labels) if arguments.images else None
    index, left_out = convert_images(
        Source(raw, arrays, arguments.split_files or ()),
        arguments.out,
        Division(arguments.split, arguments.seed, arguments.fractions),
        Wishes(size, arguments.channels, arguments.fit or "crop", arguments.ink or ""),
        arguments.min_images,
        arguments.skip_bad,
        lambda items, total, doing: watched(items, total, "images", doing),
    )
    for file, reason in index.skipped:
        print(f"skipped: {file}: {reason}", file=sys.stderr)
    if left_out:
        print(f"left out: {left_out} classes with fewer than {arguments.min_images} images")
    groups = {group_of(row) for rows in index.rows.values() for row in rows} - {""}
    side, colours = index.image_size, "grey" if index.channels == 1 else "colour"
    print(f"{index.source}: {side} x {side} pixels, {colours}", end="")
    print(f", in {len(groups)} groups" if groups else "")
    for part in PARTS:
        counts = index.counts[part]
        few, many = min(counts), max(counts)
        each = f"{few}" if few == many else f"{few} to {many}"
        print(f"{LONG_NAMES[part]}: {len(counts)} classes of {each} images, {sum(counts)} in all")
    if not index.ink:
        print("values stay as they are; --ink dark is for drawings in dark ink on light paper")
    print(f"written: {', '.join(str(Path(arguments.out) / name) for name in WRITTEN)}")


def make_characters(arguments: argparse.Namespace, raw: Path) -> None:
    """Write the arrays of drawings of Omniglot's form."""
    size = 28 if arguments.image_size is None else arguments.image_size
    if not 8 <= size <= RAW_SIZE:
        raise errors.UserError(f"--image-size must be between 8 and {RAW_SIZE}, not {size}")
    fetch(raw, arguments.download)
    check_alone(arguments.out, IMAGES_INDEX)
    arrays, index = convert(
        raw,
        size,
        arguments.split,
        arguments.seed,
        arguments.lists,
        progress=lambda items, total: watched(items, total, "characters", "reading"),
        fractions=arguments.fractions,
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
