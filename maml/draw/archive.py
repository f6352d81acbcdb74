"""A support as a zip with a folder for each class: --support takes it, the page reads it again."""

from __future__ import annotations

import io
import re
import struct
import zipfile
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from PIL import Image, ImageOps, PngImagePlugin

from maml.data.raw import DAMAGED
from maml.draw import drawings
from maml.draw.support import SHOTS, WAYS
from maml.system.errors import UserError

FORBIDDEN = re.compile(r'[\\/:*?"<>|\x00-\x1f\x7f]')  # in the names of files, on some system
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # on Windows
MADE_BY = "Software", "maml draw"  # what PNGs of drawings say of themselves
LARGEST = 256 << 20  # bytes of all files, unpacked


class Unpacked(NamedTuple):
    """What a zip holds.

    Args:
        names (list[str]): of the classes, in the zip's order.
        drawings (list[list[str]]): black drawings on transparency of each class, as data URLs.
        refused (list[dict]): files that show no character: their `file` and the `error`.
    """

    names: list[str]
    drawings: list[list[str]]
    refused: list[dict[str, Any]]


def pack(names: Sequence[str], support: Sequence[Sequence[str]]) -> bytes:
    """Return a zip of a folder for each class.

    Args:
        names (Sequence[str]): the name of each class.
        support (Sequence[Sequence[str]]): PNGs of each class, as data URLs.
    """
    said = PngImagePlugin.PngInfo()
    said.add_text(*MADE_BY)
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as written:
        for name, of_class in zip(folder_names(names), support):
            for number, text in enumerate(of_class, 1):
                png = io.BytesIO()
                drawings.open_drawing(text).convert("L").save(png, "png", pnginfo=said)
                written.writestr(f"{name}/{number}.png", png.getvalue())
    return memory.getvalue()


def unpack(text: Any) -> Unpacked:
    """Return the support of a zip: what `pack` wrote as it was, and other pictures as drawings.

    Of a class with more than enough pictures, the first ones are taken.

    Args:
        text: the zip, as a data URL.

    Raises:
        UserError: if it is no zip of folders of pictures, or holds too much.
    """
    refused = []
    try:
        with zipfile.ZipFile(io.BytesIO(drawings.content("the zip", text))) as archive:
            files = [entry for entry in archive.infolist() if _is_file_of_class(entry)]
            if sum(entry.file_size for entry in files) > LARGEST:
                raise UserError(f"the zip holds more than {LARGEST >> 20} MB; take less of it")
            paths = [PurePosixPath(entry.filename) for entry in files]
            found: dict[PurePosixPath, list[str]] = {path.parent: [] for path in paths}
            if len(found) > WAYS[-1]:
                raise UserError(f"the zip holds more than {WAYS[-1]} classes; take less of it")
            for entry, path in zip(files, paths):
                if len(found[path.parent]) == SHOTS[-1]:
                    continue
                try:
                    found[path.parent].append(_drawing(archive.read(entry)))
                except drawings.Refused as error:
                    refused.append({"file": str(path), "error": str(error)})
    except (*DAMAGED, EOFError, struct.error) as error:
        raise UserError(f"the zip cannot be read ({' '.join(str(error).split())})") from None
    taken = [path for path, of_class in found.items() if of_class]
    if not taken:
        raise UserError("the zip holds no folder with readable pictures for any class")
    return Unpacked([path.name for path in taken], [found[path] for path in taken], refused)


def _is_file_of_class(entry: zipfile.ZipInfo) -> bool:
    """Whether it is a file in a folder, and not one of those that systems hide."""
    parts = PurePosixPath(entry.filename).parts
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return not entry.is_dir() and len(parts) > 1 and not hidden


def _drawing(file: bytes) -> str:
    """A file as the page keeps pictures."""
    name, value = MADE_BY
    try:
        image = Image.open(io.BytesIO(file))
        if image.info.get(name) == value and max(image.size) <= drawings.LARGEST_DRAWING:
            return drawings.on_transparency(ImageOps.invert(image.convert("L")))
    except DAMAGED:
        pass  # it is refused below, with the reason
    return drawings.drawn_from(file)


def folder_names(names: Sequence[str]) -> list[str]:
    """Return a name of a folder for each class: distinct, visible and allowed on every system."""
    found: list[str] = []
    for number, name in enumerate(names, 1):
        allowed = FORBIDDEN.sub("_", name).strip(". ")[:60].strip(". ") or f"class {number}"
        if RESERVED.fullmatch(allowed):
            allowed = f"_{allowed}"
        distinct, turn, taken = allowed, 2, {other.casefold() for other in found}
        while distinct.casefold() in taken:
            distinct, turn = f"{allowed} {turn}", turn + 1
        found.append(distinct)
    return found
