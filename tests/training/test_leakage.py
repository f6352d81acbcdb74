"""What weights have seen, they themselves and those that they were started from."""

import dataclasses
from pathlib import Path

import pytest
from helpers import INDEX

from maml.config import Config
from maml.data.index import ImageIndex, Index
from maml.system import safe_pickle
from maml.system.errors import UserError
from maml.training.checkpoint import Checkpoint, read
from maml.training.leakage import check_data


def data(source, train, val, test=()):
    """Characters, grey and 28 x 28, of a source."""
    rows = {"train": [*train], "val": [*val], "test": [*test]}
    return dataclasses.replace(INDEX, source=source, rows=rows)


def folder(source, train, val, test=()):
    """Classes of images, each with its name for its digest."""
    characters = data(source, train, val, test)
    of_images = {
        "channels": 1,
        "fit": "crop",
        "ink": "",
        "mean": [0.5],
        "deviation": [0.2],
        "counts": {part: [9] * len(rows) for part, rows in characters.rows.items()},
        "digests": {
            part: [f"{r} of files" for r in rows] for part, rows in characters.rows.items()
        },
        "skipped": [],
    }
    return ImageIndex(**{**vars(characters), **of_images})


def weights(path: Path, index: Index, *ancestors, **settings) -> Checkpoint:
    """A checkpoint as it is read from its file."""
    best = {"accuracy": 0.5, "epoch": 1}
    config = Config(name=path.stem, **settings)
    Checkpoint(path, config, index, [], [], 1, best, [], 1.0, "", ancestors=ancestors).save()
    return read(path)


@pytest.fixture
def chain(tmp_path):
    """Omniglot's, then a folder's, then another folder's."""
    first = weights(tmp_path / "first.pkl", data("omniglot", "ab", "c"))
    second = weights(tmp_path / "second.pkl", folder("images of x", "pq", "r"), *first.lineage)
    return weights(tmp_path / "third.pkl", folder("images of y", "uv", "w"), *second.lineage)


@pytest.mark.parametrize(
    "index, seen",
    [
        (
            data("omniglot", "xy", "z", "dea"),
            "first.pkl, which was trained or chosen on 1 .* as a;",
        ),
        (data("omniglot", "xy", "z", "dc"), "first.pkl, which was trained .* on 1 .* such as c;"),
        (folder("images of z", "l", "m", "rp"), "second.pkl, which .* on 2 .* classes, such as p;"),
        (folder("images of y", "l", "m", "v"), "third.pkl: was trained or chosen on 1 "),
    ],
)
def test_weights_are_not_measured_on_what_those_before_them_saw(chain, index, seen):
    """By names in the same source, by their files in any."""
    with pytest.raises(UserError, match=seen):
        check_data(chain, index, "test")


def test_other_characters_of_what_was_seen_before_are_measured_on(chain):
    said = check_data(chain, data("omniglot", "xy", "ac", "de"), "test")
    assert "was trained on images of y, before that on images of x, before that on omniglot" in said
    with pytest.raises(UserError, match="first.pkl, which was trained or chosen on 1 of these val"):
        check_data(chain, data("omniglot", "xy", "ac", "de"), "val")
    check_data(chain, data("omniglot", "xy", "c", "de"), "val")  # which chose the weights, as ever


def test_those_that_validated_on_what_they_trained_on(tmp_path):
    first = weights(tmp_path / "a.pkl", data("omniglot", "ab", "c"), train_on_val=True)
    second = weights(tmp_path / "b.pkl", folder("images of x", "pq", "r"), *first.lineage)
    with pytest.raises(UserError, match="started from a.pkl, which was trained"):
        check_data(second, data("omniglot", "xy", "c", "de"), "val")


def test_a_checkpoint_of_before_has_no_ancestors_and_damage_is_named(chain):
    state = safe_pickle.load(chain.path)
    assert [a["name"] for a in state["ancestors"]] == ["second.pkl", "first.pkl"]
    assert "test" not in state["ancestors"][0]["data"]["rows"]
    for damaged in ("x", [3], [{"name": "a"}], [{**state["ancestors"][0], "name": 3}]):
        safe_pickle.save({**state, "ancestors": damaged}, chain.path)
        with pytest.raises(UserError, match="does not tell what it was started from"):
            read(chain.path)
    safe_pickle.save({**state, "ancestors": [{**state["ancestors"][1], "data": {}}]}, chain.path)
    with pytest.raises(UserError, match="third.pkl: does not tell its data"):
        read(chain.path)
    del state["ancestors"]
    safe_pickle.save(state, chain.path)
    assert read(chain.path).ancestors == ()
