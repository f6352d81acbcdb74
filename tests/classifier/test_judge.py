"""The index of weights: judging, what it says of weights, and which it chooses."""

import json
import shutil

import numpy as np
import pytest
from helpers import command, train

from maml.classifier import choose, judge, judged, strangers
from maml.classifier.judged import Judged, Record, read_records, write_records
from maml.data.arrays import read_arrays
from maml.system.errors import UserError
from maml.training.checkpoint import read
from maml.training.restore import restore

TASKS = ((2, 1), (3, 2))
QUANTILES = [float(q) for q in range(11)]


def of(way, shot, accuracy, tasks=10):
    return Judged(way, shot, tasks, accuracy, 1.0, QUANTILES)


@pytest.fixture(scope="module")
def trained(data, run, tmp_path_factory):
    """Weights of two methods, of a moment's training, in one folder."""
    folder = tmp_path_factory.mktemp("weights")
    flags = ["--algorithm", "protonet", "--meta_iterations", 1]
    train(data, folder, *flags, "--name", "proto", "--train_on_val", "--val_tasks", 1)
    train(data, folder, *flags, "--name", "protonet", "--train_query", 2, "--val_tasks", 1)
    shutil.copy(run[0] / "checkpoints" / "maml_5w1s.pkl", folder / "checkpoints")
    return folder / "checkpoints"


@pytest.fixture
def weights(trained, tmp_path, monkeypatch):
    """A copy of them, and tasks that the small corpus has characters for."""
    monkeypatch.setattr(judge, "TASKS", TASKS)
    return shutil.copytree(trained, tmp_path / "weights")


def test_all_are_judged_on_the_same_tasks_and_told_from_strangers(data, weights):
    paths = sorted(weights.glob("*.pkl"))
    said = []
    judge.judge(paths, [str(data)], 20, lambda items, what: said.append(what) or items)
    records = read_records(weights)
    assert sorted(records) == ["maml_5w1s", "protonet"]  # nothing is new to the third
    assert len(said) == 2 * 2 * 2
    for record in records.values():
        assert [(j.way, j.shot, j.tasks) for j in record.judged] == [(2, 1, 10), (3, 2, 7)]
        assert [(s.way, s.shot, s.tasks) for s in record.strangers] == [(2, 1, 10), (3, 2, 7)]
        for j in record.judged:
            assert 0 < j.accuracy <= 1 and j.quantiles == sorted(j.quantiles)
    before = (weights / "index.json").read_bytes()
    judge.judge(paths, [str(data)], 20, lambda items, what: said.append(what) or items)
    assert len(said) == 8 and (weights / "index.json").read_bytes() == before
    shutil.copy(weights / "maml_5w1s.pkl", weights / "protonet.pkl")
    assert judged.judged_of(weights / "protonet.pkl") == []  # the record is of other weights
    assert len(judged.judged_of(weights / "maml_5w1s.pkl")) == 2


def test_members_and_strangers_are_of_different_characters(data, weights):
    """With every character a single grey value, nearness knows who is who."""
    arrays, _ = read_arrays(data)
    images = np.zeros_like(arrays["val"])
    for k, image in enumerate(images):
        image[..., k : k + 8, 8:20] = 255
    learner = restore(read(weights / "protonet.pkl"), 3, bn="inductive")
    answers = strangers.ask(learner, images, 3, 2, 9)
    assert answers.scores.shape == (9, 3, 3) and answers.members.shape == (9, 3)
    assert (np.sort(answers.y) == np.arange(3)).all()
    assert (answers.scores.argmax(axis=2) == answers.y).all()
    assert np.allclose(answers.members, 0, atol=1e-3) and answers.strangers.max() < -1e-3
    again = strangers.ask(learner, images, 3, 2, 9)
    assert all((a == b).all() for a, b in zip(answers, again))


def test_distorted_copies_of_a_support_are_of_their_classes(data, weights):
    """Weights of MAML that adapt to copies too are judged as others are."""
    images = read_arrays(data)[0]["val"]
    trained = read(weights / "maml_5w1s.pkl")
    plain, copies = (
        strangers.ask(restore(trained, 3, bn="inductive", distortions_test=n), images, 3, 2, 9)
        for n in (0, 2)
    )
    assert copies.members.shape == plain.members.shape
    assert np.corrcoef(copies.members.ravel(), plain.members.ravel())[0, 1] > 0.5


def test_the_shares_of_strangers_by_hand():
    scores = np.array([[[2.0, 0], [0, 2]], [[2, 0], [2, 0]]])
    answers = strangers.Answers(
        scores,
        np.array([[0, 1], [0, 1]]),
        members=np.array([[0.2, 3], [5, 9]]),
        strangers=np.array([[0.1, 0.3], [4, 0]]),
    )
    # the threshold of 5% is 4, the fifth quantile of the index
    told = judge.strangers(answers, of(2, 1, 0.9)._replace(temperature=2.0))
    assert (told.refused, told.lost) == (0.75, 0.5)
    assert told.area == 13 / 16
    assert told.error == pytest.approx(abs(1 / (1 + np.exp(-1)) - 3 / 4), abs=1e-6)
    assert told.error_before == pytest.approx(abs(1 / (1 + np.exp(-2)) - 3 / 4), abs=1e-6)
    found = judge.judged(answers, 1)
    assert (found.way, found.shot, found.tasks, found.accuracy) == (2, 1, 2, 0.75)
    assert found.temperature == pytest.approx(2 / np.log(3), rel=1e-3)


def test_the_nearest_task_is_that_of_the_nearest_ratios():
    every = [of(way, shot, 0.5) for way, shot in judged.TASKS]

    def place(way, shot):
        return judged.nearest(every, way, shot)[:2]

    assert place(5, 1) == (5, 1) and place(2, 2) == (5, 1) and place(9, 3) == (5, 5)
    assert place(11, 2) == (20, 1) and place(50, 2.3) == (20, 5)
    assert judged.nearest([], 5, 1) is None


def record(path, *found):
    """Write that weights were judged."""
    record = judged.record_of(path)
    write_records(
        path.parent, {**read_records(path.parent), path.stem: record._replace(judged=[*found])}
    )


def test_the_best_on_the_same_tasks_is_chosen_and_its_accuracy_said(weights):
    """Though another one was validated on exactly this task; and the method is free."""
    record(weights / "maml_5w1s.pkl", of(5, 1, 0.9), of(5, 5, 0.99))
    record(weights / "protonet.pkl", of(5, 1, 0.95), of(5, 5, 0.98))
    choice = choose.find([weights], 5, 1)
    assert choice.chosen.path.stem == "protonet"
    assert choice.reason() == (
        "the best on validation characters among 3 that serve this task; expected accuracy 95.0%, "
        "as in 5-way 1-shot tasks"
    )
    assert choose.find([weights], 5, 4).chosen.path.stem == "maml_5w1s"  # it serves 4 shots too
    assert choose.find([weights], 5, 1, "maml").chosen.path.stem == "maml_5w1s"
    own = shutil.copytree(weights, weights / "own") / "proto.pkl"
    own.touch()
    assert choose.find([weights], 5, 1).chosen.path.parent.name == "own"


def test_a_lucky_accuracy_on_few_tasks_is_not_the_best(weights):
    """Of 400 queries 99.5% are right, of 20,000 99.0%: the second is surely above 98.8%."""
    few, many = of(20, 5, 0.995, tasks=20), of(20, 5, 0.99, tasks=1000)
    assert abs(few.at_least - 0.98195) < 1e-5 and abs(many.at_least - 0.98852) < 1e-5
    record(weights / "maml_5w1s.pkl", few._replace(way=5, tasks=80))
    record(weights / "protonet.pkl", many._replace(way=5, tasks=4000))
    assert choose.find([weights], 5, 5).chosen.path.stem == "protonet"


def test_what_was_not_judged_comes_later(weights):
    record(weights / "maml_5w1s.pkl", of(5, 1, 0.3))
    choice = choose.find([weights], 5, 1)
    assert choice.chosen.path.stem == "maml_5w1s"
    assert [t.path.stem for t in choice.candidates][1:] == ["protonet", "proto"]


def test_a_spoilt_index_is_told(weights):
    for text in ("{", "[]", '{"a": {}}', '{"a": {"sha256": "", "judged": [{}], "strangers": []}}'):
        (weights / "index.json").write_text(text)
        with pytest.raises(UserError, match="index.json: is no index of weights; remove it"):
            choose.find([weights], 5, 1)


def test_an_index_is_read_as_it_was_written(tmp_path):
    told = judged.Strangers(5, 1, 10, 0.9, 0.8, 0.05, 0.01, 0.02)
    records = {"b": Record("1", [of(5, 1, 0.9)], [told]), "a": Record("2", [], [])}
    write_records(tmp_path, records)
    assert read_records(tmp_path) == records
    assert list(json.loads((tmp_path / "index.json").read_text())) == ["a", "b"]


def test_the_command_judges_own_runs_and_writes_no_table(data, weights):
    said = command(
        "table", "--only-judge", "--queries", 4, "--data", data, "--checkpoints", weights
    )
    assert sorted(read_records(weights)) == ["maml_5w1s", "protonet"] and said.stdout == ""


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere: no such folder of weights; --checkpoints names"):
        choose.find([tmp_path / "nowhere"], 5, 1)
