"""The arrays that make_data.py writes, and the index of the characters that they hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from maml.data.raw import DRAWINGS, RAW_SIZE, find_characters, load, source_of
from maml.data.splits import PARTS, character_of, split_characters
from maml.system import files
from maml.system.errors import UserError

INDEX = "omniglot_index.json"


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


def save_arrays(arrays: dict[str, np.ndarray], index: Index, out: str | Path) -> None:
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


def read_arrays(data: str | Path) -> tuple[dict[str, np.ndarray], Index]:
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
