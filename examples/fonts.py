#!/usr/bin/env python3
"""Printed characters as a folder of images: letters of all scripts, in the fonts of this machine.

Each letter is a class, in the group of its script: data/printed/Greek/U+03B1/DejaVuSans-Bold.png. A
class has one picture from each of up to 20 faces, so that classes are of unequal size; sizes and
colours are random, with ink that is darker than paper. Letters that look like another one already
there (Latin A and Greek Alpha, o and O) are left out, and so are letters with marks.

setup on Debian or Ubuntu:
  apt-get install fonts-dejavu fonts-liberation fonts-noto-core fonts-freefont-ttf
example:
  python examples/fonts.py --out data/printed
  python make_data.py --raw data/printed --out data/fonts --image-size 28 --channels 1 --ink dark
  python evaluate.py --checkpoint protonet_60w1s --data data/fonts --query 5
"""

import argparse
import sys
import unicodedata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import matplotlib
import numpy as np
from fontTools.ttLib import TTFont, TTLibError
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from maml.system import errors
from maml.system.progress import watched

LETTERS = {"Lu", "Ll", "Lo"}
"""categories of Unicode: capital, small and other letters"""
LEFT_OUT = ("CJK", "HANGUL", "MODIFIER", "MATHEMATICAL", "FULLWIDTH", "HALFWIDTH", "YI")
"""first words of names: too many for a font, or other letters in another style"""
ALIKE = 0.06
"""mean difference of two shapes, of values between 0 and 1, below which they look the same"""
SIDE, SHAPE = 64, 16  # pixels of what is compared: as drawn, and as compared


def font_files() -> list[str]:
    """This machine's fonts, or where it has none those of Matplotlib, each face once, by name."""
    own = Path(matplotlib.get_data_path(), "fonts", "ttf").glob("*.ttf")
    by_name = {Path(path).name: str(path) for path in font_manager.findSystemFonts() or own}
    return [by_name[name] for name in sorted(by_name)]


def faces_of_letters() -> dict[str, list[str]]:
    """By letter, the font files that have it, in the order of their names."""
    found: dict[str, list[str]] = {}
    for path in font_files():
        try:
            with TTFont(path, fontNumber=0, lazy=True) as font:
                known = font.getBestCmap() or {}
        except (TTLibError, OSError):
            continue
        for code in known:
            found.setdefault(chr(code), []).append(path)
    return {letter: paths for letter, paths in sorted(found.items()) if is_plain(letter)}


def is_plain(letter: str) -> bool:
    """Whether this is a letter of its own, and not another one with a mark or in another style."""
    name = unicodedata.name(letter, "")
    return (
        unicodedata.category(letter) in LETTERS
        and bool(name)
        and not name.startswith(LEFT_OUT)
        and " WITH " not in name
        and not unicodedata.decomposition(letter)
    )


def drawn(letter: str, path: str, height: int) -> Image.Image:
    """The letter's ink alone, `height` pixels to the em: values between 0 and 255, cut out."""
    font = ImageFont.truetype(path, height, layout_engine=ImageFont.Layout.BASIC)
    left, top, right, bottom = font.getbbox(letter)
    ink = Image.new("L", (max(1, right - left), max(1, bottom - top)))
    ImageDraw.Draw(ink).text((-left, -top), letter, fill=255, font=font)
    return ink.crop(ink.getbbox())


def shape(letter: str, path: str) -> np.ndarray | None:
    """What a letter looks like, whatever its size, [SHAPE * SHAPE]; None where it has no ink."""
    ink = drawn(letter, path, SIDE)
    if min(ink.size) < 3:
        return None
    side = max(ink.size)
    square = Image.new("L", (side, side))
    square.paste(ink, ((side - ink.width) // 2, (side - ink.height) // 2))
    return np.asarray(square.resize((SHAPE, SHAPE)), np.float32).ravel() / 255


def distinct(faces: dict[str, list[str]]) -> dict[str, list[str]]:
    """The letters that look like no letter before them, each in the first face that has it."""
    shapes = np.full([len(faces), SHAPE * SHAPE], 2, np.float32)
    kept = {}
    for k, letter in enumerate(watched(faces, len(faces), "letters", "comparing")):
        found = shape(letter, faces[letter][0])
        if found is None or np.abs(shapes[:k] - found).mean(axis=1).min(initial=1) < ALIKE:
            continue
        shapes[k], kept[letter] = found, faces[letter]
    return kept


def picture(letter: str, path: str, rng: np.random.Generator) -> Image.Image:
    """The letter in random size and colours, ink darker than paper, on a square of 32 to 95."""
    side = int(rng.integers(32, 96))
    ink = drawn(letter, path, int(rng.uniform(0.5, 0.8) * side))
    ink.thumbnail((0.9 * side, 0.9 * side))
    paper, colour = rng.integers(190, 256, 3), rng.integers(0, 110, 3)
    image = Image.new("RGB", (side, side), tuple(paper.tolist()))
    room = side - np.array(ink.size)
    place = (room * rng.uniform(0.3, 0.7, 2)).astype(int)
    image.paste(tuple(colour.tolist()), tuple(place.tolist()), ink)
    return image


def main(argv=None):
    """Write the folder of images."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default="data/printed", help="folder to write to")
    parser.add_argument("--fewest", type=int, default=8, help="faces that a letter must have")
    parser.add_argument("--most", type=int, default=20, help="faces in which a letter is drawn")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    out = Path(arguments.out)
    if out.exists() and any(out.iterdir()):
        raise errors.UserError(f"{out}: is not empty; name another folder by --out")
    faces = faces_of_letters()
    faces = {letter: paths for letter, paths in faces.items() if len(paths) >= arguments.fewest}
    if not faces:
        raise errors.UserError(
            f"no letter is in {arguments.fewest} fonts of this machine; install some (see --help)"
        )
    faces, rng, count, used = distinct(faces), np.random.default_rng(arguments.seed), 0, set()
    for letter in watched(faces, len(faces), "letters", "drawing"):
        script = unicodedata.name(letter).split()[0].title()
        folder = out / script / f"U+{ord(letter):04X}"
        folder.mkdir(parents=True)
        few = min(arguments.most, len(faces[letter]))
        for path in rng.choice(faces[letter], few, replace=False):
            picture(letter, path, rng).save(folder / f"{Path(path).stem}.png")
            used.add(path)
            count += 1
    scripts = len(list(out.iterdir()))
    print(
        f"{len(faces)} letters of {scripts} scripts, {count} pictures in {len(used)} faces: {out}"
    )


if __name__ == "__main__":
    errors.run(main)
