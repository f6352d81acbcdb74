"""The split of the characters into parts for training, validation and tests."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maml.data.raw import Character
from maml.system.errors import UserError

PARTS = ("train", "val", "test")
SPLITS = {
    "random": "60 / 20 / 20 %% of the classes (--fractions), at random",
    "groups": "whole groups (alphabets, or the folders above the classes) at random, by "
    "--fractions of the classes",
    "background": "Omniglot: train and validate on the 30 background alphabets, test on the 20 "
    "evaluation alphabets",
    "background-alphabets": "Omniglot: as background, but validate on whole background alphabets",
    "vinyals": "Omniglot: by lists, each rotation a class of its own",
    "maml": "1,100 / 100 / 423 characters at random, as in the code of the MAML paper",
    "lists": "folders of images: by --split-files",
}
BACKGROUND = ("background", "background-alphabets")
OF_CHARACTERS, OF_IMAGES = (*BACKGROUND, "vinyals"), ("lists",)
"""splits that the other kind of data does not have"""
MAML_SPLIT = (1100, 100)  # training and validation characters, the rest is for tests
USUAL = (60.0, 20.0, 20.0)  # per cent, or shares in any unit
ROTATION = re.compile("/rot(000|090|180|270)")


def named(split: str, fractions: Sequence[float] = USUAL) -> str:
    """Return how an index names a split, such as "random" or "random --fractions 70 10 20"."""
    usual = split not in ("random", "groups") or tuple(fractions) == USUAL
    return split if usual else f"{split} --fractions {' '.join(f'{f:g}' for f in fractions)}"


def split_classes(
    names: Sequence[str], split: str, seed: int, fractions: Sequence[float] = USUAL
) -> dict[str, list[str]]:
    """Return the names of the classes of each part, at random; no two parts share a class.

    Args:
        names (Sequence[str]): all classes, as group/class.
        split (str): "random", "maml", or "groups", where no two parts share a group either.
        seed (int): seed of the split.
        fractions (Sequence[float]): the parts' shares of the classes, as "random" and "groups"
            take them; of groups they are met as nearly as whole groups in random order meet them.

    Raises:
        UserError: if the shares are none.
    """
    rng, count = np.random.default_rng(seed), len(names)
    if len(fractions) != 3 or not all(0 <= f < math.inf for f in fractions) or fractions[0] <= 0:
        raise UserError(
            "--fractions takes three shares for training, validation and test, such as 60 20 20"
        )
    if split == "groups":
        return _whole_groups(names, rng, fractions)
    shuffled = [names[i] for i in rng.permutation(count)]
    train, val = MAML_SPLIT
    if split == "random":
        train = int(fractions[0] / sum(fractions) * count)
        rest = sum(fractions[1:])
        val = int((count - train) * (fractions[1] / rest)) if rest else 0
    return {
        "train": shuffled[:train],
        "val": shuffled[train : train + val],
        "test": shuffled[train + val :],
    }


def _whole_groups(
    names: Sequence[str], rng: np.random.Generator, fractions: Sequence[float]
) -> dict[str, list[str]]:
    """Groups in random order, each to the part that lacks the largest part of its share."""
    members: dict[str, list[str]] = {}
    for name in names:
        members.setdefault(group_of(name), []).append(name)
    wanted = {part: f for part, f in zip(PARTS, fractions) if f}
    rows: dict[str, list[str]] = {part: [] for part in PARTS}
    groups = sorted(members)
    for group in (groups[i] for i in rng.permutation(len(groups))):
        rows[min(wanted, key=lambda part: len(rows[part]) / wanted[part])] += members[group]
    return rows


def split_characters(
    characters: list[Character],
    split: str,
    seed: int,
    lists: str | Path | None = None,
    fractions: Sequence[float] = USUAL,
) -> dict[str, list[str]]:
    """Return the names of the rows of each part; no two parts share a character.

    Args:
        characters (list[Character]): the characters of the raw data.
        split (str): how to split the characters.
            "random", "groups", "maml": see `split_classes`.
            "background": 80 / 20 % of the background characters for training and validation, and
            all other characters for tests.
            "background-alphabets": the same, but no alphabet has both training and validation
            characters.
            "vinyals": by the lists train.txt, val.txt and test.txt in the folder `lists`, where
            each rotation of a character is a row of its own.
        seed (int): seed of the split.
        lists (str | Path | None): folder with the lists of "vinyals".
        fractions (Sequence[float]): the parts' shares, see `split_classes`.

    Returns:
        dict[str, list[str]]: by part, the names of its rows.

    Raises:
        UserError: if the lists are missing, wrong, or share characters.
    """
    names = [c.name for c in characters]
    if split not in OF_CHARACTERS:
        return split_classes(names, split, seed, fractions)
    if split in BACKGROUND:
        background = [c.name for c in characters if c.background]
        test = [c.name for c in characters if not c.background]
        rng = np.random.default_rng(seed)
        if split == "background-alphabets":
            return {**_whole_groups(background, rng, (80, 20, 0)), "test": test}
        background = [background[i] for i in rng.permutation(len(background))]
        train = int(0.8 * len(background))
        return {"train": background[:train], "val": background[train:], "test": test}
    if lists is None:
        raise UserError(
            "split vinyals needs lists, the folder with train.txt, val.txt and test.txt"
        )
    return _listed(Path(lists), set(names))


def _listed(lists: Path, known: set[str]) -> dict[str, list[str]]:
    """Return the rows that the lists of the split "vinyals" name, all of `known` characters."""
    rows = {}
    for part in PARTS:
        path = lists / f"{part}.txt"
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
            repeated = next(row for i, row in enumerate(rows[part]) if row in rows[part][:i])
            raise UserError(
                f"{path}: {repeated} is listed twice, which would be two classes; remove one"
            )
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        common = set(map(character_of, rows[one])) & set(map(character_of, rows[other]))
        if common:
            raise UserError(
                f"{lists}: {min(common)} stands in {one}.txt and in {other}.txt, but the parts must"
                " not share characters"
            )
    return rows


def character_of(row: str) -> str:
    """Return the class `Alphabet/characterNN` of a row's name, without the rotation."""
    return ROTATION.sub("", row) if is_rotation(row) else row


def is_rotation(row: str) -> bool:
    """Whether a row is a turned character, as in the lists of the split "vinyals"."""
    return ROTATION.fullmatch(row[-len("/rot000") :]) is not None


def group_of(row: str) -> str:
    """Return the group of a row: the alphabet, or the folders above a class; empty for none."""
    return character_of(row).rpartition("/")[0]
