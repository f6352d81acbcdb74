"""Data to use instead of Omniglot when there is no connection to download it.

The alphabets are invented, and 20 simulated hands draw each character.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from maml.data.raw import DRAWINGS, RAW_SIZE, STAND_IN_MARK
from maml.system.errors import UserError

_BACKGROUND = 0.6  # share of the alphabets that go to images_background
_MARGIN = 0.11  # of an image, around a character, in sides of the image
_FINE = 4  # an image is drawn at this multiple of its size, then reduced
_MARK_TEXT = """These images are NOT Omniglot. maml.data.stand_in invented the alphabets
and simulated the hands that draw them ({}), to run the programs where
Omniglot cannot be had. Accuracies on them compare with no published ones.
"""


class Stroke(NamedTuple):
    """One movement of the pen.

    Args:
        points (ndarray): control points, [points, 2]. x points to the right and y down. A
            character lies in the unit square.
        smooth (bool): the movement is a B-spline with these control points. If false, it consists
            of straight lines from point to point.
    """

    points: np.ndarray
    smooth: bool


class Hand(NamedTuple):
    """How one person draws. The unit of all lengths is the side of the image.

    Args:
        matrix (ndarray): slant, rotation and proportions, [2, 2].
        pen (float): width of the pen.
        carelessness (float): standard deviation of the control points.
        wobble (float): how much the lines tremble.
    """

    matrix: np.ndarray
    pen: float
    carelessness: float
    wobble: float


def _turn(angle: float) -> np.ndarray:
    """Return the matrix of a rotation, [2, 2]."""
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def _piece(rng: np.random.Generator, angles: np.ndarray, kinds: np.ndarray) -> Stroke:
    """Return a stroke from which the characters of an alphabet are built, centred on 0.

    It is a line, an arc, a corner or a free curve along one of `angles`. `kinds` are the
    probabilities of the four.
    """
    angle, length = rng.choice(angles), rng.uniform(0.4, 0.9)
    kind = rng.choice(["line", "arc", "corner", "curve"], p=kinds)
    if kind == "line":
        points = np.array([[-0.5, 0], [0.5, 0]])
    elif kind == "arc":
        turns = np.linspace(0, rng.uniform(0.4, 0.95), 7) * 2 * math.pi
        points = np.stack([np.cos(turns), np.sin(turns)], 1) * (0.6, 0.6 * rng.uniform(0.5, 1.0))
    elif kind == "corner":
        bend = rng.choice([-1, 1]) * rng.uniform(0.3, 0.75) * math.pi
        points = np.cumsum([[0, 0], [0.6, 0], _turn(bend) @ (rng.uniform(0.3, 0.7), 0)], 0)
    else:
        headings = np.cumsum(rng.choice([-1, 1]) * rng.uniform(-0.5, 1.8, rng.integers(3, 6)))
        lengths = rng.uniform(0.25, 0.5, (len(headings), 1))
        steps = np.stack([np.cos(headings), np.sin(headings)], 1) * lengths
        points = np.concatenate([np.zeros((1, 2)), np.cumsum(steps, 0)])
    points = (points - (points.max(0) + points.min(0)) / 2) @ _turn(angle).T * length
    return Stroke(points, kind in ("arc", "curve"))


def _path(stroke: Stroke, samples: int = 33) -> np.ndarray:
    """Return points along the stroke, [samples, 2].

    They include both ends of the stroke, and if `samples` is odd, the corner in its middle.
    """
    if stroke.smooth:
        # a uniform cubic B-spline; the end points are repeated, so that it reaches them
        first_point, last_point = stroke.points[:1], stroke.points[-1:]
        points = np.concatenate([first_point, first_point, stroke.points, last_point, last_point])
        at = np.linspace(0, len(points) - 3 - 1e-9, samples)
        first, t = at.astype(int), (at % 1)[:, None]
        weights = (1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3
        return sum(w * points[first + k] for k, w in enumerate(weights)) / 6
    at = np.linspace(0, len(stroke.points) - 1, samples)
    x, y = stroke.points.T
    corners = np.arange(len(stroke.points))
    return np.stack([np.interp(at, corners, x), np.interp(at, corners, y)], 1)


def _nearest(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the distance of each point of a [n, 2] to the nearest point of b [m, 2], as [n]."""
    return np.sqrt(((a[:, None] - b[None]) ** 2).sum(2).min(1))


def _character(
    rng: np.random.Generator, pieces: list[Stroke], counts: np.ndarray, narrow: np.ndarray
) -> list[Stroke]:
    """Return a character of 1 to 4 strokes.

    The strokes are among `pieces`, and no stroke lies along another one. The character is scaled
    into the middle of the image, times `narrow` [2]. `counts` are the probabilities of 1 to 4
    strokes.
    """
    strokes: list[Stroke] = []
    wanted = rng.choice(np.arange(1, 5), p=counts)
    for _ in range(20):
        piece = pieces[rng.integers(len(pieces))]
        points = piece.points * rng.uniform(0.8, 1.2)
        if strokes:
            other = _path(strokes[rng.integers(len(strokes))])
            end = len(other) - 1
            anchor = other[rng.choice([0, len(other) // 2, end, int(rng.integers(len(other)))])]
            how = rng.random()
            if how < 0.4:
                points = points - points[rng.choice([0, -1])] + anchor
            elif how < 0.75:
                points = points + anchor
            else:
                points = points + rng.uniform(-0.45, 0.45, 2)
            drawn = np.concatenate([_path(stroke) for stroke in strokes])
            if (_nearest(_path(Stroke(points, piece.smooth)), drawn) < 0.08).mean() > 0.4:
                continue
        strokes.append(Stroke(points, piece.smooth))
        if len(strokes) == wanted:
            break
    low, high = (f(np.concatenate([_path(s) for s in strokes]), axis=0) for f in (np.min, np.max))
    scale = (1 - 2 * _MARGIN) / max(*(high - low), 0.7) * narrow
    return [Stroke((s.points - (low + high) / 2) * scale + 0.5, s.smooth) for s in strokes]


def _alphabet(rng: np.random.Generator, characters: int) -> list[list[Stroke]]:
    """Return the characters of one alphabet, no two of them alike.

    They have one style: they consist of the same few pieces, have similar numbers of strokes, and
    are equally narrow or wide.
    """
    upright = rng.choice([0.0, 0.25, 0.5, 0.75], size=3) * math.pi + rng.normal(0, 0.06, 3)
    kinds = rng.dirichlet([1.0, 1.2, 0.6, 1.6])
    pieces = [_piece(rng, upright, kinds) for _ in range(rng.integers(5, 9))]
    narrow = np.exp(np.minimum(rng.normal(0, 0.25) * np.array([1, -1]), 0))
    busy = rng.uniform(1.0, 2.4)
    counts = np.array([math.exp(-0.8 * (n - 1 - busy) ** 2) for n in range(1, 5)])
    found: list[list[Stroke]] = []
    clouds: list[np.ndarray] = []
    alike = 0.09
    while len(found) < characters:
        character = _character(rng, pieces, counts / counts.sum(), narrow)
        cloud = np.concatenate([_path(stroke, 17) for stroke in character])
        if all(_nearest(cloud, c).mean() + _nearest(c, cloud).mean() > alike for c in clouds):
            found.append(character)
            clouds.append(cloud)
        else:
            alike *= 0.99  # so that the loop ends, also for many characters of few pieces
    return found


def _hand(rng: np.random.Generator) -> Hand:
    slant, turn, stretch = rng.normal(0, (0.12, 0.06, 0.10))
    proportions = np.diag([math.exp(stretch), math.exp(-stretch)])
    matrix = _turn(turn) @ np.array([[1, -slant], [0, 1]]) @ proportions
    return Hand(
        matrix=matrix * rng.uniform(0.8, 1.0),
        pen=rng.uniform(0.024, 0.036),
        carelessness=rng.uniform(0.008, 0.022),
        wobble=rng.uniform(0.001, 0.005),
    )


def _draw(rng: np.random.Generator, character: list[Stroke], hand: Hand) -> Image.Image:
    """Return a drawing of the character: 1 bit for each of 105 x 105 pixels, black ink."""
    matrix = hand.matrix @ _turn(rng.normal(0, 0.05)) * rng.uniform(0.92, 1.08)
    paths = []
    for points, smooth in character:
        points = points + rng.normal(0, hand.carelessness, points.shape)  # each point
        points = points + rng.normal(0, hand.carelessness, 2)  # the whole stroke
        path = _path(Stroke((points - 0.5) @ matrix.T, smooth))
        t = np.linspace(0, 1, len(path))[:, None]
        for cycles in (1, 2.3, 5):
            amplitude = hand.wobble / cycles**0.5 * rng.normal(size=2)
            path = path + amplitude * np.sin(2 * math.pi * (cycles * t + rng.random(2)))
        paths.append(path + 0.5)
    offset = rng.normal(0, 0.025, 2)
    low, high = np.min(paths, (0, 1)) + offset, np.max(paths, (0, 1)) + offset
    offset += np.maximum(hand.pen - low, 0) - np.maximum(high + hand.pen - 1, 0)
    side = RAW_SIZE * _FINE
    image = Image.new("L", (side, side), 255)
    pen = ImageDraw.Draw(image)
    for path in paths:
        path = np.clip(path + offset, hand.pen, 1 - hand.pen) * side
        width = hand.pen * side * rng.uniform(0.9, 1.1)
        pen.line([tuple(point) for point in path.tolist()], fill=0, width=round(width))
        for x, y in path.tolist():
            pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=0)
    return image.reduce(_FINE).convert("1", dither=Image.Dither.NONE)


def write(
    folder: str | Path,
    alphabets: int = 20,
    characters: int = 20,
    seed: int = 0,
    progress: Callable = lambda items, total: items,
) -> None:
    """Invent alphabets and write them to a new folder, in the layout of Omniglot.

    Three fifths of the alphabets go to `images_background`. The same arguments give the same bytes
    (with the same version of Pillow). The folder appears with everything in it, or not at all.

    Args:
        folder (str | Path): the folder, which must not exist.
        alphabets (int): number of alphabets.
        characters (int): characters of each alphabet.
        seed (int): seed of the invention.
        progress (Callable): takes the alphabets' numbers and their count, and returns an iterable
            of the numbers, which may show the progress.

    Raises:
        UserError: if the folder exists, or if it cannot be written.
    """
    folder = Path(folder)
    if folder.exists() or folder.is_symlink():
        raise UserError(f"{folder}: is there already; delete it, or name a folder that is not")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=f".{folder.name}.", suffix=".part", dir=folder.parent
        ) as temporary:
            root = Path(temporary, folder.name)
            root.mkdir()
            background = round(_BACKGROUND * alphabets)
            for a in progress(range(alphabets), alphabets):
                group = "images_background" if a < background else "images_evaluation"
                rng = np.random.default_rng([seed, a])
                hands = [_hand(rng) for _ in range(DRAWINGS)]
                for c, character in enumerate(_alphabet(rng, characters)):
                    drawings = root / group / f"Standin_{a + 1:02d}" / f"character{c + 1:02d}"
                    drawings.mkdir(parents=True)
                    number = a * characters + c + 1
                    for h, hand in enumerate(hands):
                        image = _draw(rng, character, hand)
                        image.save(drawings / f"{number:04d}_{h + 1:02d}.png")
            (root / STAND_IN_MARK).write_text(_MARK_TEXT.format(f"seed {seed}"), encoding="utf-8")
            os.rename(root, folder)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror}); free space or name another folder"
        ) from None
