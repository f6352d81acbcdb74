"""A search reads descriptions of files of weights, or an index of files without one."""

import dataclasses
import json
import os

import pytest
from helpers import save_description

from maml.classifier import candidates, choose
from maml.classifier.candidates import INDEX
from maml.draw.server import find_models
from maml.system import safe_pickle
from maml.training.checkpoint import read


def save_older(path, accuracy):
    """Write a checkpoint as earlier versions did, without a description."""
    state = safe_pickle.load(save_description(path, accuracy))
    safe_pickle.save(state, path)
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three older files of weights; as many are many enough for an index."""
    monkeypatch.setattr(candidates, "MANY", 3)
    for n in range(3):
        save_older(tmp_path / f"{n}.pkl", 0.5 + n / 100)
    return tmp_path


@pytest.fixture
def reads(monkeypatch):
    """The names of the files that were read."""
    names, load = [], safe_pickle.load

    def noted(path, *more):
        names.append(path.name)
        return load(path, *more)

    monkeypatch.setattr(safe_pickle, "load", noted)
    return names


def search(folder):
    return choose.find([folder], 5, 1)


def described(folder):
    return {t.path.name: t for t in choose.candidates_in([folder])[0]}


def test_a_described_file_is_read_only_if_it_is_chosen(tmp_path, reads):
    names = [save_description(tmp_path / f"{n}.pkl", 0.5 + n / 100).name for n in range(3)]
    assert sorted(described(tmp_path)) == names and reads == []
    assert search(tmp_path).chosen.accuracy == 0.52 and reads == ["2.pkl"]


def test_a_description_says_what_is_in_the_file(tmp_path):
    new, old = save_description(tmp_path / "new.pkl", 0.6), save_older(tmp_path / "old.pkl", 0.6)
    assert safe_pickle.describe(new) == read(new).description() == read(old).description()
    assert safe_pickle.describe(old) is None
    first, second = described(tmp_path).values()
    assert dataclasses.replace(second, path=new, modified=first.modified) == first


def test_what_is_damaged_behind_its_description_is_passed_over(tmp_path):
    for n in range(3):
        save_description(tmp_path / f"{n}.pkl", 0.5 + n / 100)
    with open(tmp_path / "2.pkl", "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"?")
    choice = search(tmp_path)
    assert choice.chosen.path.name == "1.pkl" and "2.pkl: is not a" in choice.passed_over[0]
    assert [t.path.name for t in choice.candidates] == ["1.pkl", "0.pkl"]
    assert find_models(tmp_path)["protonet"].path.name == "1.pkl"


def test_a_second_search_reads_what_it_chooses_alone(folder, reads):
    first = search(folder)
    assert sorted(reads) == ["0.pkl", "1.pkl", "2.pkl", "2.pkl"]
    reads.clear()
    again = search(folder)
    assert reads == ["2.pkl"] and again.candidates == first.candidates
    assert again.chosen.path == first.chosen.path == folder / "2.pkl"


def test_few_files_get_no_index(folder):
    (folder / "0.pkl").unlink()
    search(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["1.pkl", "2.pkl"]


def test_the_index_leaves_no_other_file_and_forgets_what_is_gone(folder):
    search(folder)
    assert sorted(path.name for path in folder.iterdir()) == [INDEX, "0.pkl", "1.pkl", "2.pkl"]
    (folder / "2.pkl").unlink()
    assert search(folder).chosen.path.name == "1.pkl"
    for n in range(3, 6):
        save_older(folder / f"{n}.pkl", 0.4)
    search(folder)
    assert sorted(json.loads((folder / INDEX).read_text())) == [f"{n}.pkl" for n in (0, 1, 3, 4, 5)]


@pytest.mark.parametrize("in_place", [True, False], ids=["overwritten", "replaced"])
def test_a_changed_file_of_the_same_size_and_time_is_read_again(folder, in_place):
    search(folder)
    before = (folder / "0.pkl").stat()
    other = save_older(folder / "other", 0.99)
    if in_place:
        (folder / "0.pkl").write_bytes(other.read_bytes())
    else:
        os.replace(other, folder / "0.pkl")
    os.utime(folder / "0.pkl", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (folder / "0.pkl").stat().st_size == before.st_size
    assert search(folder).chosen.accuracy == 0.99


def test_a_file_that_is_damaged_later_is_passed_over(folder):
    search(folder)
    (folder / "2.pkl").write_bytes(b"of another program")
    choice = search(folder)
    assert choice.chosen.path.name == "1.pkl" and len(choice.passed_over) == 1
    assert "2.pkl: is not a checkpoint of this project" in choice.passed_over[0]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[" * 100_000,
        "[1]",
        '{"0.pkl": 3, "1.pkl": {}, "2.pkl": {"stamp": STAMP, "config": {"way": "two"}}}',
        '{"2.pkl": {"stamp": STAMP, "config": {}, "source": 1, "split": 2, "accuracy": "high"}}',
    ],
)
def test_a_damaged_index_changes_nothing(folder, content):
    expected = search(folder).candidates
    stamp = json.loads((folder / INDEX).read_text())["2.pkl"]["stamp"]
    (folder / INDEX).write_text(content.replace("STAMP", json.dumps(stamp)))
    assert search(folder).candidates == expected


def test_where_the_index_cannot_be_written_files_are_read(folder, reads):
    (folder / INDEX).mkdir()  # which nothing can replace
    for _ in range(2):
        assert search(folder).chosen.path.name == "2.pkl"
    assert len(reads) == 8 and sorted(folder.glob("*part")) == sorted(folder.glob(".*part")) == []


def test_a_folder_that_moved_and_a_link_are_named_as_they_are_now(folder, tmp_path):
    search(folder)
    moved = folder.rename(tmp_path.with_name(f"{tmp_path.name} moved"))
    (moved / "3.pkl").symlink_to(moved / "2.pkl")
    assert [t.path.parent for t in described(moved).values()] == [moved] * 3
