import hashlib
import os
import pickle

import numpy as np
import pytest

from maml.system import safe_pickle
from maml.system.errors import UserError

STATE = {
    "weights": [np.arange(6, dtype=np.float32).reshape(2, 3), np.array(0.5)],
    "config": {"a": 1, "b": None, "c": True},
    "rng": np.random.default_rng(0).bit_generator.state,
    "text": "字",
}


def test_what_is_saved_is_read_back(tmp_path):
    safe_pickle.save(STATE, tmp_path / "new" / "a.pkl")
    state = safe_pickle.load(tmp_path / "new" / "a.pkl")
    assert (state["weights"][0] == STATE["weights"][0]).all() and state["weights"][
        0
    ].dtype == np.float32
    assert (
        state["rng"] == STATE["rng"]
        and state["config"] == STATE["config"]
        and state["text"] == "字"
    )
    assert os.listdir(tmp_path / "new") == ["a.pkl"]


def test_a_description_is_read_without_the_rest(tmp_path):
    path, described = tmp_path / "a.pkl", {"words": "字" * 600, "number": 0.5}
    safe_pickle.save(STATE, path, described)
    assert safe_pickle.load(path).keys() == {"format", *STATE}
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"weights")])
    assert safe_pickle.describe(path) == described
    for end in range(0, whole.index(b"weights") - 100, 50):
        path.write_bytes(whole[:end])
        assert safe_pickle.describe(path) is None


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps({"format": 2, "description": 3}),
        pickle.dumps({"format": 2, "description": "[" * 9_000}),
        pickle.dumps({"format": 3, "description": "{}"}, protocol=4),
        pickle.dumps([os.getcwd]),
        b"\x80\x04\x8e" + b"\xff" * 8,
        b"I9\nx",
        b"",
    ],
)
def test_other_files_have_no_description(tmp_path, content):
    (tmp_path / "a.pkl").write_bytes(content)
    assert safe_pickle.describe(tmp_path / "a.pkl") is None


def test_damaged_files_are_refused_in_a_sentence(tmp_path):
    path = tmp_path / "a.pkl"
    safe_pickle.save(STATE, path)
    whole = path.read_bytes()
    for end in range(0, len(whole), len(whole) // 50):
        path.write_bytes(whole[:end])
        with pytest.raises(UserError, match="a.pkl: is not a checkpoint"):
            safe_pickle.load(path)
    pickled = pickle.dumps({"weights": []})
    path.write_bytes(pickled + hashlib.sha256(pickled).digest())
    with pytest.raises(UserError, match="format"):
        safe_pickle.load(path)
    with pytest.raises(UserError, match="cannot be read"):
        safe_pickle.load(tmp_path / "missing.pkl")


def test_a_failed_write_keeps_the_former_file(tmp_path, monkeypatch):
    path = tmp_path / "a.pkl"
    safe_pickle.save(STATE, path)
    before = path.read_bytes()

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="no space left.*untouched"):
        safe_pickle.save(STATE, path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a.pkl"]
