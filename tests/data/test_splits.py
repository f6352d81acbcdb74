"""How characters are split: by chance, by alphabets, by lists and as in MAML's paper."""

import numpy as np
import pytest
from helpers import command

from maml.data.arrays import convert
from maml.data.raw import Character, find_characters
from maml.data.splits import BACKGROUND, PARTS, character_of, group_of, split_characters
from maml.system.errors import UserError


@pytest.mark.parametrize("split", ["random", "background", "background-alphabets", "vinyals"])
def test_splits_are_disjoint_by_character(raw, tmp_path, split):
    characters = find_characters(raw)
    names = [c.name for c in characters]
    for part, low, high in (("train", 0, 20), ("val", 20, 30), ("test", 30, 40)):
        rows = [f"{name}/rot{turn:03}" for name in names[low:high] for turn in (0, 90, 180, 270)]
        (tmp_path / f"{part}.txt").write_text("\n".join(rows) + "\n")
    for seed in range(5):
        rows = split_characters(characters, split, seed, tmp_path)
        parts = [{character_of(row) for row in rows[part]} for part in PARTS]
        assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
        assert set.union(*parts) == set(names)
    if split == "background-alphabets":
        assert not {group_of(c) for c in parts[0]} & {group_of(c) for c in parts[1]}
    if split in BACKGROUND:
        assert parts[2] == {c.name for c in characters if not c.background}


def test_vinyals_lists_that_share_a_character_are_refused(raw, tmp_path):
    a, b = [c.name for c in find_characters(raw)[:2]]
    for part, rows in (("train", f"{a}/rot000"), ("val", f"{b}/rot000"), ("test", f"{a}/rot090")):
        (tmp_path / f"{part}.txt").write_text(rows)
    with pytest.raises(UserError, match=f"{a} stands in train.txt and in test.txt"):
        split_characters(find_characters(raw), "vinyals", 0, tmp_path)


def test_vinyals_rows_are_rotations(raw, tmp_path):
    name = find_characters(raw)[0].name
    for i, part in enumerate(PARTS):
        other = find_characters(raw)[i].name
        (tmp_path / f"{part}.txt").write_text(f"{other}/rot000\n{other}/rot090\n{other}/rot270\n")
    arrays, index = convert(raw, 28, "vinyals", 0, tmp_path)
    assert index.rows["train"] == [f"{name}/rot000", f"{name}/rot090", f"{name}/rot270"]
    assert (arrays["train"][1, 4, 0] == np.rot90(arrays["train"][0, 4, 0])).all()
    assert (arrays["train"][2, 4, 0] == np.rot90(arrays["train"][0, 4, 0], 3)).all()


def test_the_split_of_the_maml_paper():
    characters = [Character(f"A/character{n:04}", n < 964, []) for n in range(1623)]
    rows = split_characters(characters, "maml", 0)
    assert [len(rows[part]) for part in PARTS] == [1100, 100, 423]
    assert sorted(row for part in PARTS for row in rows[part]) == [c.name for c in characters]
    assert split_characters(characters, "maml", 1) != rows


def test_too_few_characters_for_the_split_of_the_maml_paper(raw, tmp_path):
    done = command("data", "--raw", raw, "--out", tmp_path, "--split", "maml", status=2)
    assert "leave none for the val part" in done.stderr
