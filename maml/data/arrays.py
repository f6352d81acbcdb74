"""The arrays that make_data.py writes, and the index that describes them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from maml.data import images
from maml.data.banks import Stack
from maml.data.index import INDEX, ImageIndex, Index, read_index
from maml.data.raw import DRAWINGS, Character, find_characters, load, source_of
from maml.data.splits import PARTS, USUAL, character_of, is_rotation, named, split_characters
from maml.system import files
from maml.system.errors import UserError


def convert(
    raw: str | Path,
    size: int,
    split: str,
    seed: int,
    lists: str | Path | None = None,
    progress: Callable = lambda items, total: items,
    fractions: Sequence[float] = USUAL,
) -> tuple[dict[str, np.ndarray], Index]:
    """Convert raw data into arrays.

    Args:
        raw (str | Path): folder or zip of the raw data, see `find_characters`.
        size (int): side of the images, in pixels.
        split (str): how to split the characters, see `split_characters`.
        seed (int): seed of the split.
        lists (str | Path | None): folder with the lists of the split "vinyals".
        progress (Callable): takes the characters and their number, and returns an iterable of the
            characters, which may show the progress.
        fractions (Sequence[float]): the parts' shares, see `split_classes`.

    Returns:
        tuple[dict[str, ndarray], Index]: by part, an array [rows, 20, 1, size, size] uint8 with
        ink 255, and the index.

    Raises:
        UserError: if the raw data cannot be read, or leave a part without characters.
    """
    characters = find_characters(raw)
    rows = split_characters(characters, split, seed, lists, fractions)
    for part in PARTS:
        if not rows[part]:
            raise UserError(
                f"{raw}: its {len(characters)} characters leave none for the {part} part of the"
                f" {split} split; get more"
            )
    characters = _of_rows(characters, rows)
    arrays = read_drawings(characters, rows, size, progress)
    return arrays, Index(
        source=source_of(raw, characters),
        split=named(split, fractions),
        seed=seed,
        image_size=size,
        polarity="ink high",
        pillow=Image.__version__,
        sha256={part: _sha256(arrays[part]) for part in PARTS},
        rows=rows,
    )


def read_drawings(
    characters: Sequence[Character],
    rows: dict[str, list[str]],
    size: int,
    progress: Callable = lambda items, total: items,
) -> dict[str, np.ndarray]:
    """Return the drawings of each part's rows, arrays [rows, 20, 1, size, size] uint8, ink 255.

    Args:
        characters (Sequence[Character]): those of the rows, and others, which are not read.
        rows (dict[str, list[str]]): by part, the names of characters, or of their rotations.
        size, progress: as for `convert`.
    """
    found = _of_rows(characters, rows)
    by_name = {}
    for c in progress(found, len(found)):  # threads would only wait for each other
        by_name[c.name] = np.stack([load(drawing, size) for drawing in c.drawings])[:, None]

    def drawings(row: str) -> np.ndarray:  # [20, 1, size, size]
        turns = int(row.rpartition("/rot")[2]) // 90 if is_rotation(row) else 0
        return np.rot90(by_name[character_of(row)], turns, axes=(2, 3))

    return {
        part: np.ascontiguousarray(np.stack([drawings(row) for row in of_part]))
        for part, of_part in rows.items()
    }


def _of_rows(characters: Sequence[Character], rows: dict[str, list[str]]) -> list[Character]:
    wanted = {character_of(row) for part in rows.values() for row in part}
    return [c for c in characters if c.name in wanted]


def _sha256(array: np.ndarray) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()


def save_arrays(arrays: dict[str, np.ndarray], index: Index, out: str | Path) -> None:
    """Write `omniglot_{train,val,test}.npy` and the index to a folder.

    After an error, none of the files is written.

    Args:
        arrays (dict[str, ndarray]): by part, the array.
        index (Index): the description of the arrays.
        out (str | Path): the folder.

    Raises:
        UserError: if a file cannot be written.
    """
    contents = {
        Path(out, f"omniglot_{part}.npy"): lambda file, part=part: _write_array(file, arrays[part])
        for part in PARTS
    }
    text = json.dumps(asdict(index), indent=1, ensure_ascii=False) + "\n"
    files.write({**contents, Path(out, INDEX): lambda file: file.write(text.encode())})


def _write_array(file: BinaryIO, array: np.ndarray) -> None:
    """Write an array as `np.save` does, whose error does not say that the disk is full."""
    np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
    file.write(array.data)


def read_arrays(data: str | Path) -> tuple[dict[str, Stack], Index]:
    """Read the arrays that make_data.py wrote, and check them against their index.

    Args:
        data (str | Path): the folder with the arrays.

    Returns:
        tuple[dict[str, ndarray | ClassImages], Index]: by part, an array [rows, 20, 1, H, W] uint8
        with ink 255, or the images of classes of unequal size; and the index.

    Raises:
        UserError: if a file cannot be read, or is not what the index describes.

    Example:
        >>> import tempfile, maml
        >>> from maml.data import arrays, stand_in
        >>> folder = tempfile.mkdtemp()
        >>> stand_in.write(f"{folder}/raw", alphabets=3, characters=4)
        >>> arrays.save_arrays(*arrays.convert(f"{folder}/raw", 28, "random", 0), folder)
        >>> images, index = maml.read_arrays(folder)
        >>> images["train"].shape, index.source
        ((7, 20, 1, 28, 28), 'stand-in')
    """
    data = Path(data)
    index = read_index(data)
    if isinstance(index, ImageIndex):
        return images.read(data, index), index
    arrays: dict[str, Stack] = {}
    for part in PARTS:
        path = data / f"omniglot_{part}.npy"
        try:
            array = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError, MemoryError) as error:
            raise UserError(f"{path}: cannot be read ({error}); make_data.py writes it") from None
        expected = (len(index.rows[part]), DRAWINGS, 1, index.image_size, index.image_size)
        if array.shape != expected or array.dtype != np.uint8:
            raise UserError(
                f"{path}: is {array.dtype} {array.shape}, not uint8 {expected} as"
                f" {INDEX} says; run make_data.py again"
            )
        arrays[part] = array
        if _sha256(array) != index.sha256[part]:
            raise UserError(
                f"{path}: is not the array that {INDEX} describes; run make_data.py again"
            )
    return arrays, index
