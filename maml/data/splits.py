"""The split of the characters into parts for training, validation and tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from maml.data.raw import Character
from maml.system.errors import UserError

PARTS = ("train", "val", "test")
SPLITS = {
    "random": "60 / 20 / 20 %% of the characters, at random",
    "background": "train and validate on the 30 background alphabets, test on the 20 evaluation "
    "alphabets",
    "vinyals": "by lists, each rotation a class of its own",
    "maml": "1,100 / 100 / 423 characters at random, as in the code of the MAML paper",
}
MAML_SPLIT = (1100, 100)  # training and validation characters, the rest is for tests


def split_characters(
    characters: list[Character], split: str, seed: int, lists: str | Path | None = None
) -> dict[str, list[str]]:
    """Return the names of the rows of each part; no two parts share a character.

    Args:
        characters (list[Character]): the characters of the raw data.
        split (str): how to split the characters.
            "random": 60 / 20 / 20 % of the characters.
            "background": 80 / 20 % of the background characters for training and validation, and
            all other characters for tests.
            "vinyals": by the lists train.txt, val.txt and test.txt in the folder `lists`, where
            each rotation of a character is a row of its own.
            "maml": 1,100 / 100 / 423 characters at random.
        seed (int): seed of the split.
        lists (str | Path | None): folder with the lists of "vinyals".

    Returns:
        dict[str, list[str]]: by part, the names of its rows.

    Raises:
        UserError: if the lists are missing, wrong, or share characters.
    """
    rng = np.random.default_rng(seed)

    def shuffled(names: list[str]) -> list[str]:
        return [names[i] for i in rng.permutation(len(names))]

    names = [c.name for c in characters]
    if split in ("random", "maml"):
        train, val = MAML_SPLIT
        if split == "random":
            train = int(0.6 * len(names))
            val = (len(names) - train) // 2
        names = shuffled(names)
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
    """Return the character `Alphabet/characterNN` of a row's name, without the rotation."""
    return "/".join(row.split("/")[:2])
