"""Raw Omniglot (Lake, Salakhutdinov & Tenenbaum 2015): its files, folders and zips, unpacked or
not.
"""

from __future__ import annotations

import io
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple, NoReturn

import numpy as np
from PIL import Image

from maml.system.errors import UserError

DRAWINGS = 20
RAW_SIZE = 105
LARGEST_DRAWING, LARGEST_ARCHIVE = 1 << 20, 1 << 28  # bytes; far above any of Omniglot's
_CHALLENGE = re.compile(r"run\d+|all_runs")  # folders of the one-shot challenge: no characters
STAND_IN_MARK = "STAND-IN.txt"

# What Pillow and zipfile raise for files that are damaged, encrypted or made to do harm.
DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    RuntimeError,
    zlib.error,
    zipfile.BadZipFile,
    Image.DecompressionBombError,
)

BACKGROUND_ALPHABETS = (
    "Alphabet_of_the_Magi",
    "Anglo-Saxon_Futhorc",
    "Arcadian",
    "Armenian",
    "Asomtavruli_(Georgian)",
    "Balinese",
    "Bengali",
    "Blackfoot_(Canadian_Aboriginal_Syllabics)",
    "Braille",
    "Burmese_(Myanmar)",
    "Cyrillic",
    "Early_Aramaic",
    "Futurama",
    "Grantha",
    "Greek",
    "Gujarati",
    "Hebrew",
    "Inuktitut_(Canadian_Aboriginal_Syllabics)",
    "Japanese_(hiragana)",
    "Japanese_(katakana)",
    "Korean",
    "Latin",
    "Malay_(Jawi_-_Arabic)",
    "Mkhedruli_(Georgian)",
    "N_Ko",
    "Ojibwe_(Canadian_Aboriginal_Syllabics)",
    "Sanskrit",
    "Syriac_(Estrangelo)",
    "Tagalog",
    "Tifinagh",
)
EVALUATION_ALPHABETS = (
    "Angelic",
    "Atemayar_Qelisayer",
    "Atlantean",
    "Aurek-Besh",
    "Avesta",
    "Ge_ez",
    "Glagolitic",
    "Gurmukhi",
    "Kannada",
    "Keble",
    "Malayalam",
    "Manipuri",
    "Mongolian",
    "Old_Church_Slavonic_(Cyrillic)",
    "Oriya",
    "Sylheti",
    "Syriac_(Serto)",
    "Tengwar",
    "Tibetan",
    "ULOG",
)


Read = Callable[[], bytes]


class Character(NamedTuple):
    """One character's 20 drawings in the raw data, in the order of their file names."""

    name: str  # Alphabet/characterNN
    background: bool  # of the 30 alphabets that were published for training
    drawings: list[tuple[str, Read]]  # the file's name for messages, and how to read it


def _files(raw: Path) -> Iterator[tuple[PurePosixPath, Read]]:
    """All PNGs below `raw`, a folder or zip, with their paths; zips in it are read in place."""
    if not raw.is_dir():
        yield from zipped(raw, raw.name)
        return
    for folder, folders, names in os.walk(raw, onerror=_unreadable):
        folders[:] = sorted(f for f in folders if "_small" not in f and f != "__MACOSX")
        for name in sorted(name for name in names if not name.startswith("._")):
            path = Path(folder, name)
            inside = PurePosixPath(path.relative_to(raw).as_posix())
            if name.endswith(".png"):
                yield inside, partial(_read_drawing, path)
            elif name.endswith(".zip") and "_small" not in name and not name.startswith("strokes"):
                for inner, read in zipped(path, name):
                    yield inside.parent / inner, read


def _unreadable(error: OSError) -> NoReturn:
    raise UserError(
        f"{error.filename}: cannot be read ({error.strerror}); let yourself read all of the raw "
        "data"
    ) from None


def _read_drawing(path: Path) -> bytes:
    if path.stat().st_size > LARGEST_DRAWING:
        raise UserError(
            f"{path}: has {path.stat().st_size:,} bytes, which no drawing needs; unpack the data "
            "again"
        )
    return path.read_bytes()


def zipped(
    source: Path | io.BytesIO, label: str, wanted: str | tuple[str, ...] = ".png"
) -> Iterator[tuple[PurePosixPath, Read]]:
    """All files in a zip whose names end with `wanted`, and those in zips of images in it."""
    try:
        archive = zipfile.ZipFile(source)
    except DAMAGED as error:
        raise UserError(f"{label}: is not a readable zip ({error})") from None
    for entry in sorted(archive.infolist(), key=lambda entry: entry.filename):
        name = entry.filename
        if "_small" in name:
            continue
        drawing = name.endswith(wanted) and "__MACOSX" not in name
        if not drawing and not (name.endswith(".zip") and "images_" in name):
            continue
        if name.startswith("/") or ".." in PurePosixPath(name).parts:
            raise UserError(
                f"{label}: holds {name}, a path out of its own folder; download it again"
            )
        if entry.file_size > (LARGEST_DRAWING if drawing else LARGEST_ARCHIVE):
            raise UserError(
                f"{label}: {name} would unpack to {entry.file_size:,} bytes; download it again"
            )
        if drawing:
            yield PurePosixPath(name), partial(archive.read, name)
        else:
            yield from zipped(io.BytesIO(_unpacked(archive, name, label)), f"{label}/{name}")


def _unpacked(archive: zipfile.ZipFile, name: str, label: str) -> bytes:
    try:
        return archive.read(name)
    except DAMAGED as error:
        raise UserError(
            f"{label}: {name} cannot be unpacked ({error}); download it again"
        ) from None


def find_characters(raw: str | Path) -> list[Character]:
    """Return all characters below `raw`, sorted by name.

    Args:
        raw (str | Path): a folder with the alphabets in it, or with the two folders or zips
            `images_background` and `images_evaluation`, or a zip that holds them.

    Raises:
        UserError: if there are no characters, or one does not have exactly 20 drawings.
    """
    raw = Path(raw)
    if not raw.exists():
        raise UserError(
            f"{raw}: no such folder or zip; --raw names where the raw Omniglot images are"
        )
    found: dict[str, dict[str, Read]] = {}
    background: dict[str, bool] = {}
    for path, read in _files(raw):
        if len(path.parts) < 3 or any(map(_CHALLENGE.fullmatch, path.parts[:-1])):
            continue
        *above, alphabet, character, file = path.parts
        name = f"{alphabet}/{character}"
        if not is_text(name):
            raise UserError(f"{raw}: the name of {name!a} is not UTF-8; rename it")
        found.setdefault(name, {}).setdefault(file, read)
        groups = [part for part in above if part.startswith("images_")]
        in_list = alphabet in BACKGROUND_ALPHABETS
        background[name] = "images_background" in groups if groups else in_list
    if not found:
        raise UserError(
            f"{raw}: no images like Alphabet/character01/0001_01.png in it; --raw names the folder "
            "that holds the alphabets"
        )
    for name, drawings in found.items():
        if len(drawings) != DRAWINGS:
            raise UserError(
                f"{raw}: {name} has {len(drawings)} drawings instead of {DRAWINGS}; unpack the "
                "data again"
            )
    return [
        Character(
            name,
            background[name],
            [(f"{name}/{file}", read) for file, read in sorted(found[name].items())],
        )
        for name in sorted(found)
    ]


def looks_like_characters(raw: Path) -> bool:
    """Whether a folder is of Omniglot's form: its alphabets, zips, or 20 drawings of 105 x 105.

    The first class tells; `find_characters` checks them all.
    """
    if (raw / STAND_IN_MARK).exists() or any(raw.glob("images_*")) or any(raw.glob("*.zip")):
        return True
    first = next((path for path, _ in _files(raw) if len(path.parts) >= 3), None)
    if first is None:
        return False
    if first.parts[-3] in {*BACKGROUND_ALPHABETS, *EVALUATION_ALPHABETS}:
        return True
    if re.fullmatch(r"character\d+", first.parts[-2]):
        return True
    try:
        with Image.open(raw / first) as image:
            fits = image.size == (RAW_SIZE, RAW_SIZE) and image.mode in ("1", "L")
    except DAMAGED:
        return False
    return fits and len(list((raw / first).parent.glob("*.png"))) == DRAWINGS


def is_text(name: str) -> bool:
    """Whether the file system's name is text, and not bytes that Python could not decode."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def load(drawing: tuple[str, Read], size: int) -> np.ndarray:
    """Return one raw drawing (105 x 105, ink black) as [size, size] uint8, ink 255.

    It is scaled down by Lanczos' filter.
    """
    name, read = drawing
    try:
        image = Image.open(io.BytesIO(read()))
        (width, height), mode = image.size, image.mode
        grey = image.convert("L") if mode in ("1", "L") else None
    except DAMAGED as error:
        raise UserError(
            f"{name}: is not a readable image ({error}); unpack the data again"
        ) from None
    if (width, height) != (RAW_SIZE, RAW_SIZE):
        raise UserError(
            f"{name}: is {width} x {height} pixels instead of {RAW_SIZE} x {RAW_SIZE}; unpack the "
            "data again"
        )
    if grey is None:  # what is ink would be a guess, in a transparent image above all
        raise UserError(
            f"{name}: is a {mode} image, not black on white or grey; unpack the data again"
        )
    if size != RAW_SIZE:
        grey = grey.resize((size, size), Image.Resampling.LANCZOS)
    return 255 - np.asarray(grey)


def source_of(raw: str | Path, characters: list[Character]) -> str:
    """Return "stand-in" (by the mark in the folder), "omniglot" (by its alphabets) or "other"."""
    if (Path(raw) / STAND_IN_MARK).exists():
        return "stand-in"
    alphabets = {c.name.split("/")[0] for c in characters}
    return "omniglot" if alphabets <= {*BACKGROUND_ALPHABETS, *EVALUATION_ALPHABETS} else "other"
