"""The one-shot challenge: what is measured, what is kept beside the weights, and the table."""

import hashlib
import json

import pytest
from helpers import ROOT, command, train, write_runs

from maml.networks.file import read_builder
from maml.reports import one_shot, results
from maml.system.errors import UserError
from maml.training.checkpoint import read


@pytest.fixture(scope="module")
def weights(raw, tmp_path_factory):
    """Prototypical Networks of a small corpus, the folder of its arrays, and two runs."""
    folder = tmp_path_factory.mktemp("challenge")
    arrays = folder / "data"
    command("data", "--raw", raw, "--split", "background", "--out", arrays)
    flags = ["--algorithm", "protonet", "--way", 4, "--train_way", 10, "--meta_iterations", 1]
    train(arrays, folder, *flags, "--name", "p")
    write_runs(folder / "runs", raw, way=10)
    return read(folder / "checkpoints" / "p.pkl"), folder


@pytest.mark.slow
def test_what_was_measured_is_kept_beside_measured_weights(weights, monkeypatch):
    trained, folder = weights
    path = trained.path.with_suffix(".json")
    measured = (trained, folder / "runs", [str(folder / "data")], 4)
    plain, *others = one_shot.measure_challenge(*measured)
    assert [o["kind"] for o in (plain, *others)] == list(one_shot.KINDS)
    assert plain["runs"]["run01"] == 0 and 0 <= plain["random_error"] < 0.9
    assert plain["error"] == pytest.approx(sum(plain["runs"].values()) / 2)
    assert not path.exists()  # of weights that no table has
    sha256 = hashlib.sha256(trained.path.read_bytes()).hexdigest()
    report = {"method": "protonet", "sha256": sha256, "results": []}
    results.write_report(path, {**report, "challenge": [{**plain, "error": 0.5}]})
    found = one_shot.measure_challenge(*measured)
    assert found == [{**plain, "error": 0.5}, *others]
    assert json.loads(path.read_text())["challenge"] == found
    monkeypatch.setattr(one_shot, "_measure", None)
    assert one_shot.measure_challenge(*measured) == found
    assert one_shot.stored(folder / "none", trained.path.parent) == {"p": found}
    monkeypatch.setattr(results, "list_wanted", lambda *_: [])
    results.measure(trained.path, ["nowhere"], 9, results.MODES)
    assert json.loads(path.read_text())["challenge"] == found  # measuring other tasks keeps it


NETWORK = """
from paddle import nn


def build(way, image_size, channels):
    return nn.Sequential(nn.MaxPool2D(4), nn.Flatten(), nn.Linear(49, 8))
"""


@pytest.mark.slow
def test_weights_of_a_network_of_ones_own_take_part(weights, tmp_path):
    _, folder = weights
    (tmp_path / "mine.py").write_text(NETWORK)
    spec = f"{tmp_path}/mine.py:build"
    flags = ["--algorithm", "protonet", "--way", 4, "--meta_iterations", 1, "--name", "own"]
    # without filters, which such a network does not take
    places = ["--logdir", tmp_path, "--checkpoints", tmp_path, "--data", folder / "data"]
    command("train", *flags, *places, "--network", spec, "--val_tasks", 2, "--workers", 1)
    trained = read(tmp_path / "own.pkl")
    measured = (trained, folder / "runs", [str(folder / "data")], 4)
    with pytest.raises(UserError, match="name that file by --network"):
        one_shot.measure_challenge(*measured)
    found = one_shot.measure_challenge(*measured, read_builder(spec))
    assert one_shot.stored(tmp_path) == {"own": found}
    assert one_shot.measure_challenge(*measured) == found  # without the network's file


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.json")), ids=lambda p: p.stem)
def test_what_examples_have_measured_is_of_their_weights(path):
    weights = path.with_suffix(".pkl").read_bytes()
    assert json.loads(path.read_text())["sha256"] == hashlib.sha256(weights).hexdigest()


def test_images_of_another_size_are_not_taken(weights, raw):
    trained, folder = weights
    small = folder / "small"
    command("data", "--raw", raw, "--split", "background", "--image-size", 20, "--out", small)
    with pytest.raises(UserError, match="the background split of stand-in, 28 x 28 pixels"):
        one_shot.measure_challenge(trained, folder / "runs", [str(small)], 5)


def test_only_weights_of_background_alphabets_take_part(weights):
    assert not one_shot.takes_part(weights[0])  # of invented characters
    assert one_shot.takes_part(read("checkpoints/protonet_background.pkl"))
    assert not one_shot.takes_part(read("checkpoints/protonet_60w1s.pkl"))


@pytest.mark.parametrize("language", one_shot.WORDS)
def test_the_table_begins_with_the_lowest_error(language):
    numbers = {"interval": 0.01, "random_error": 0.12345, "random_interval": 0.002}
    outcome = {"kind": "distorted copies", "error": 0.05, **numbers}
    lines = one_shot.format_challenge({"a": [outcome]}, language).splitlines()
    assert [line.split(" | ")[1] for line in lines[2:]] == [
        "3.3",
        "4.5",
        "5.00 ± 1.00",
        "7.3",
        "8.0",
        "13.7",
    ]
    words = one_shot.WORDS[language]["distorted copies"]
    assert lines[4] == f"| `a`{words} | 5.00 ± 1.00 | 12.35 ± 0.20 |"
