"""Which characters are for training, validation and testing."""

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
    """Return row names by part, disjoint by character.

    Args:
        characters (list[Character]): the characters of the raw data.
        split (str): "random": 60 / 20 / 20 % of the characters; "background": 80 / 20 % of the
            background characters for training and validation, all others for tests; "vinyals": as
            train.txt, val.txt and test.txt in `lists` say, each rotation a row of its own; "maml":
            1,100 / 100 / 423 characters at random.
        seed (int): seed of the split.
        lists (str | Path | None): folder with the lists of "vinyals".

    Raises:
        UserError: if the lists are missing, wrong, or share characters.
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
    if split == "maml":
        names, (train, val) = shuffled(names), MAML_SPLIT
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
