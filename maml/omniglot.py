"""Raw Omniglot (Lake, Salakhutdinov & Tenenbaum 2015) -> train, validation and test arrays, with an
index of what they hold.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple, NoReturn

import numpy as np
from PIL import Image

from maml import files
from maml.errors import UserError

DRAWINGS = 20
RAW_SIZE = 105
LARGEST_DRAWING, LARGEST_ARCHIVE = 1 << 20, 1 << 28  # bytes; far above any of Omniglot's
PARTS = ("train", "val", "test")
INDEX = "omniglot_index.json"
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


class Character(NamedTuple):
    """One character's 20 drawings in the raw data, in the order of their file names."""

    name: str
    """`Alphabet/characterNN`"""
    background: bool
    """stands in `images_background`, the 30 alphabets that were published for training"""
    drawings: list[tuple[str, Callable[[], bytes]]]
    """file name for messages, and how to read it"""


@dataclass(frozen=True)
class Index:
    """What the arrays hold. Recorded in checkpoints, so that evaluation never runs on characters
    that were trained on.
    """

    source: str
    """"omniglot", "stand-in" (made by maml.glyphs) or "other" """
    split: str
    seed: int
    image_size: int
    polarity: str
    """"ink high": ink is 255, paper 0"""
    pillow: str
    """the version that scaled the images; another may give slightly other pixels"""
    sha256: dict[str, str]
    """of the bytes of each array, by part"""
    rows: dict[str, list[str]]
    """`Alphabet/characterNN`, or with a rotation `Alphabet/characterNN/rotDDD`, for each row, by
    part
    """


def _files(raw: Path) -> Iterator[tuple[PurePosixPath, Callable[[], bytes]]]:
    """All PNGs below `raw`, a folder or zip, with their paths; zips that lie in it are read in
    place, unpacked or not.
    """
    if raw.is_dir():
        for folder, folders, names in os.walk(raw, onerror=_unreadable):
            folders[:] = sorted(
                name for name in folders if "_small" not in name and name != "__MACOSX"
            )
            for name in sorted(name for name in names if not name.startswith("._")):
                path = Path(folder, name)
                if name.endswith(".png"):
                    yield (
                        PurePosixPath(path.relative_to(raw).as_posix()),
                        lambda path=path: _read_drawing(path),
                    )
                elif (
                    name.endswith(".zip")
                    and "_small" not in name
                    and not name.startswith("strokes")
                ):
                    for inner, read in _zipped(path, name):
                        yield PurePosixPath(path.relative_to(raw).parent.as_posix()) / inner, read
    else:
        yield from _zipped(raw, raw.name)


def _unreadable(error: OSError) -> NoReturn:
    raise UserError(
        f"{error.filename}: cannot be read ({error.strerror}); let yourself read all of the raw"
        " data"
    ) from None


def _read_drawing(path: Path) -> bytes:
    if path.stat().st_size > LARGEST_DRAWING:
        raise UserError(
            f"{path}: has {path.stat().st_size:,} bytes, which no drawing needs; unpack the data"
            " again"
        )
    return path.read_bytes()


def _zipped(
    source: Path | io.BytesIO, label: str
) -> Iterator[tuple[PurePosixPath, Callable[[], bytes]]]:
    try:
        archive = zipfile.ZipFile(source)
    except DAMAGED as error:
        raise UserError(f"{label}: is not a readable zip ({error})") from None
    for entry in sorted(archive.infolist(), key=lambda entry: entry.filename):
        name = entry.filename
        drawing = name.endswith(".png") and "_small" not in name and "__MACOSX" not in name
        if not drawing and not (
            name.endswith(".zip") and "images_" in name and "_small" not in name
        ):
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
            yield PurePosixPath(name), lambda name=name: archive.read(name)
        else:
            yield from _zipped(io.BytesIO(_unpacked(archive, name, label)), f"{label}/{name}")


def _unpacked(archive: zipfile.ZipFile, name: str, label: str) -> bytes:
    try:
        return archive.read(name)
    except DAMAGED as error:
        raise UserError(
            f"{label}: {name} cannot be unpacked ({error}); download it again"
        ) from None


def find_characters(raw: str | Path) -> list[Character]:
    """All characters below `raw`, sorted by name.

    `raw` may be a folder with the alphabets in it, the two folders or zips `images_background` and
    `images_evaluation`, or a zip that holds them. Raises `UserError` where there are none, or where
    one has not exactly 20 drawings.
    """
    raw = Path(raw)
    if not raw.exists():
        raise UserError(
            f"{raw}: no such folder or zip; --raw names where the raw Omniglot images are"
        )
    found: dict[str, dict[str, Callable[[], bytes]]] = {}
    background: dict[str, bool] = {}
    for path, read in _files(raw):
        if len(path.parts) < 3 or any(map(_CHALLENGE.fullmatch, path.parts[:-1])):
            continue
        *above, alphabet, character, file = path.parts
        name = f"{alphabet}/{character}"
        if not _is_text(name):
            raise UserError(f"{raw}: the name of {name!a} is not UTF-8; rename it")
        found.setdefault(name, {}).setdefault(file, read)
        groups = [part for part in above if part.startswith("images_")]
        background[name] = (
            "images_background" in groups if groups else alphabet in BACKGROUND_ALPHABETS
        )
    if not found:
        raise UserError(
            f"{raw}: no images like Alphabet/character01/0001_01.png in it; --raw names the folder"
            " that holds the alphabets"
        )
    for name, drawings in found.items():
        if len(drawings) != DRAWINGS:
            raise UserError(
                f"{raw}: {name} has {len(drawings)} drawings instead of {DRAWINGS}; unpack the data"
                " again"
            )
    return [
        Character(
            name,
            background[name],
            [(f"{name}/{file}", read) for file, read in sorted(found[name].items())],
        )
        for name in sorted(found)
    ]


def _is_text(name: str) -> bool:
    """Whether the file system's name is text, and not bytes that Python could not decode."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def load(drawing: tuple[str, Callable[[], bytes]], size: int) -> np.ndarray:
    """One raw drawing (105 x 105, ink black) as [size, size] uint8, ink 255, scaled down by
    Lanczos' filter.
    """
    name, read = drawing
    try:
        image = Image.open(io.BytesIO(read()))
        if image.size != (RAW_SIZE, RAW_SIZE):
            width, height = image.size
            raise UserError(
                f"{name}: is {width} x {height} pixels instead of {RAW_SIZE} x {RAW_SIZE}; unpack"
                " the data again"
            )
        if image.mode not in (
            "1",
            "L",
        ):  # of others, transparent ones above all, it would be a guess what is ink
            raise UserError(
                f"{name}: is a {image.mode} image, not black on white or grey; unpack the data"
                " again"
            )
        image = image.convert("L")
    except DAMAGED as error:
        raise UserError(
            f"{name}: is not a readable image ({error}); unpack the data again"
        ) from None
    if size != RAW_SIZE:
        image = image.resize((size, size), Image.LANCZOS)
    return 255 - np.asarray(image)


def split_characters(
    characters: list[Character], split: str, seed: int, lists: str | Path | None = None
) -> dict[str, list[str]]:
    """Row names by part, disjoint by character.

    random      60 / 20 / 20 % of the characters
    background  80 / 20 % of the background characters for training and validation, the rest for
    testing
    vinyals     as train.txt, val.txt and test.txt in `lists` say, each rotation a row of its own
    """
    rng = np.random.default_rng(seed)

    def shuffled(names):
        return [names[i] for i in rng.permutation(len(names))]

    names = [c.name for c in characters]
    if split == "random":
        names = shuffled(names)
        train = int(0.6 * len(names))
        val = (len(names) - train) // 2
        return {
            "train": names[:train],
            "val": names[train : train + val],
            "test": names[train + val :],
        }
    if split == "background":
        background = shuffled([c.name for c in characters if c.background])
        train = int(0.8 * len(background))
        return {
            "train": background[:train],
            "val": background[train:],
            "test": [c.name for c in characters if not c.background],
        }
    if lists is None:
        raise UserError(
            "--split vinyals needs --lists, the folder with train.txt, val.txt and test.txt"
        )
    rows = {}
    known = set(names)
    for part in PARTS:
        path = Path(lists) / f"{part}.txt"
        try:
            rows[part] = path.read_text(encoding="utf-8").split()
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from None
        for row in rows[part]:
            character, _, rotation = row.rpartition("/")
            if character not in known or rotation not in ("rot000", "rot090", "rot180", "rot270"):
                raise UserError(
                    f"{path}: {row} is no character of the raw data, or its rotation is none of"
                    " rot000, rot090, rot180, rot270"
                )
        if len(set(rows[part])) < len(rows[part]):
            twice = next(row for i, row in enumerate(rows[part]) if row in rows[part][:i])
            raise UserError(
                f"{path}: {twice} stands there twice, which would be two classes; remove one"
            )
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        common = {character_of(row) for row in rows[one]} & {
            character_of(row) for row in rows[other]
        }
        if common:
            raise UserError(
                f"{lists}: {min(common)} stands in {one}.txt and in {other}.txt, but the parts must"
                " not share characters"
            )
    return rows


def character_of(row: str) -> str:
    """`Alphabet/characterNN` of a row's name, without its rotation."""
    return "/".join(row.split("/")[:2])


def convert(
    raw: str | Path,
    size: int,
    split: str,
    seed: int,
    lists: str | Path | None = None,
    progress: Callable = lambda items, total: items,
) -> tuple[dict[str, np.ndarray], Index]:
    """Read all of `raw` into arrays [rows, 20, 1, size, size] uint8 (ink 255) by part, and their
    index.

    `progress(iterator, total)` wraps the loop over characters.
    """
    characters = find_characters(raw)
    rows = split_characters(characters, split, seed, lists)
    for part in PARTS:
        if not rows[part]:
            raise UserError(
                f"{raw}: its {len(characters)} characters leave none for the {part} part of the"
                f" {split} split; get more"
            )
    wanted = {character_of(row) for part in PARTS for row in rows[part]}
    characters = [c for c in characters if c.name in wanted]
    by_name = {
        c.name: np.stack([load(drawing, size) for drawing in c.drawings])[
            :, None
        ]  # threads would only wait for each other
        for c in progress(characters, len(characters))
    }

    def image(row: str) -> np.ndarray:
        turns = int(row.rpartition("/rot")[2]) // 90 if "/rot" in row else 0
        return np.rot90(by_name[character_of(row)], turns, axes=(2, 3))

    arrays = {
        part: np.ascontiguousarray(np.stack([image(row) for row in rows[part]])) for part in PARTS
    }
    digests = {part: hashlib.sha256(arrays[part].tobytes()).hexdigest() for part in PARTS}
    return arrays, Index(
        source_of(raw, characters), split, seed, size, "ink high", Image.__version__, digests, rows
    )


def source_of(raw: str | Path, characters: list[Character]) -> str:
    """What the raw data are: "stand-in", by the mark that maml.glyphs leaves, "omniglot", by its
    alphabets, or "other".
    """
    if (Path(raw) / STAND_IN_MARK).exists():
        return "stand-in"
    alphabets = {c.name.split("/")[0] for c in characters}
    return "omniglot" if alphabets <= {*BACKGROUND_ALPHABETS, *EVALUATION_ALPHABETS} else "other"


def save(arrays: dict[str, np.ndarray], index: Index, out: str | Path) -> None:
    """Write `omniglot_{train,val,test}.npy` and the index to `out`; all of them, or, after an
    error, none.
    """
    contents = {
        Path(out, f"omniglot_{part}.npy"): lambda file, part=part: _write_array(file, arrays[part])
        for part in PARTS
    }
    text = json.dumps(asdict(index), indent=1, ensure_ascii=False) + "\n"
    files.write({**contents, Path(out, INDEX): lambda file: file.write(text.encode())})


def _write_array(file: BinaryIO, array: np.ndarray) -> None:
    """As np.save, whose error on a full disk does not say so."""
    np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
    file.write(array.data)


def read(data: str | Path) -> tuple[dict[str, np.ndarray], Index]:
    """What `save` wrote to the folder `data`, checked against its index."""
    data = Path(data)
    index = read_index(data)
    arrays = {}
    for part in PARTS:
        path = data / f"omniglot_{part}.npy"
        try:
            arrays[part] = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError, MemoryError) as error:
            raise UserError(f"{path}: cannot be read ({error}); make_data.py writes it") from None
        expected = (len(index.rows[part]), DRAWINGS, 1, index.image_size, index.image_size)
        if arrays[part].shape != expected or arrays[part].dtype != np.uint8:
            raise UserError(
                f"{path}: is {arrays[part].dtype} {arrays[part].shape}, not uint8 {expected} as"
                f" {INDEX} says; run make_data.py again"
            )
        if hashlib.sha256(arrays[part].tobytes()).hexdigest() != index.sha256[part]:
            raise UserError(
                f"{path}: is not the array that {INDEX} describes; run make_data.py again"
            )
    return arrays, index


def read_index(data: str | Path) -> Index:
    """The index in the folder `data`."""
    path = Path(data) / INDEX
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path}: not found; run make_data.py first, or name the arrays' folder by --data"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path}: is not an index of make_data.py's ({error}); run it again"
        ) from None
    return check_index(stated, str(path))


def check_index(stated: Any, source: str, parts: Sequence[str] = PARTS) -> Index:
    """`stated` as an `Index` that lists these parts; a `UserError` that names `source` where it is
    none.
    """
    kinds = {
        "source": str,
        "split": str,
        "seed": int,
        "image_size": int,
        "polarity": str,
        "pillow": str,
        "sha256": dict,
        "rows": dict,
    }
    whole = (
        isinstance(stated, dict)
        and stated.keys() == kinds.keys()
        and all(type(stated[key]) is kinds[key] for key in kinds)
        and all(
            isinstance(stated["sha256"].get(part), str)
            and isinstance(stated["rows"].get(part), list)
            and all(isinstance(row, str) for row in stated["rows"][part])
            for part in parts
        )
        and 1 <= stated["image_size"] <= RAW_SIZE
    )
    if not whole:
        raise UserError(
            f"{source}: does not tell its data as make_data.py's {INDEX} does; run it again"
        )
    return Index(**stated)
