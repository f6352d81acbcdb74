"""What is measured of each checkpoint, and that nothing is measured twice."""

import dataclasses
import json
import shutil

import pytest
from helpers import command

from maml.config import Config
from maml.reports import results, table
from maml.reports.results import Measurement
from maml.system import device
from maml.system.errors import UserError
from maml.training import checkpoint

AVERAGED = table.Table(results.TASKS, lambda report, result: "averaged" in result, False)


def figures(split="random", **settings):
    return {(f.way, f.shot, f.kind): f.bn for f in results.list_wanted(Config(**settings), split)}


def test_what_is_measured_of_each_method():
    assert set(figures()) == {(5, 1, "")} and len(results.list_wanted(Config(), "random")) == 2
    assert set(figures(way=20)) == {(5, 1, ""), (20, 1, ""), (5, 1, "distorted support")}
    assert set(figures(way=20, shot=5)) == {(5, 5, ""), (20, 5, ""), (5, 5, "five inner steps")}
    for shot in (1, 5):
        assert set(figures(way=20, shot=shot, first_order=True)) == {
            (5, shot, ""),
            (20, shot, ""),
        }
    assert set(figures(first_order=True)) == {(5, 1, ""), (5, 1, "distorted support")}
    assert set(figures(shot=5, first_order=True)) == {(5, 5, "")}
    assert results.list_wanted(Config(train_on_val=True), "random") == [
        Measurement(5, 1, "transductive", "")
    ]
    assert set(figures(algorithm="reptile", way=20)) == {
        *((way, shot, "") for way in (5, 20) for shot in (1, 5)),
        (5, 1, "distorted support"),
    }
    assert figures(algorithm="matching") == {
        (way, shot, ""): "inductive" for way in (5, 20) for shot in (1, 5)
    }
    assert set(figures(algorithm="protonet")) == {
        (way, shot, kind) for way in (5, 20) for shot in (1, 5) for kind in ("", "refined")
    }
    assert set(figures(algorithm="siamese", train_shot=1, train_query=1)) == {
        (way, 1, k) for way in (5, 20) for k in ("", "fine-tuned")
    }
    assert figures("background", algorithm="protonet") == {
        (20, 1, "within an alphabet"): "inductive"
    }
    assert {kind for *_, kind in figures("vinyals", algorithm="protonet")} == {""}
    assert set(figures("maml", way=20)) == {(5, 1, ""), (20, 1, "")}


def test_both_modes_are_measured_in_one_go_where_they_have_as_many_queries():
    for config, together in (
        (Config(way=20, shot=5), [["transductive", "inductive"]] * 2 + [["transductive"]]),
        (Config(algorithm="reptile"), [["transductive"], ["inductive"]]),
        (Config(algorithm="matching"), [["inductive"]] * 4),
    ):
        groups = results.group_by_call(config, results.list_wanted(config, "random"))
        assert [[figure.bn for figure in group] for group in groups] == together


@pytest.mark.slow
def test_a_group_is_measured_in_one_go_from_any_folder(data, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = checkpoint.read(run[0] / "checkpoints" / "maml_5w1s.pkl")
    figures = [Measurement(5, 1, bn, "distorted support") for bn in results.MODES]
    both = results.evaluate(model, str(data), figures, 3)
    assert [results.measurement_of(result) for result in both] == figures
    assert [(result["query"], result["tasks"], result["distortions_test"]) for result in both] == [
        (15, 3, 8)
    ] * 2


@pytest.mark.slow
def test_predictions_of_two_runs_are_averaged(data, run, tmp_path, monkeypatch):
    """They are measured again where the other run's weights are others."""
    own, other = tmp_path / "own.pkl", tmp_path / "other.pkl"
    for path in (own, other):
        shutil.copy(run[0] / "checkpoints" / "maml_5w1s.pkl", path)
    plain = Measurement(5, 1, "transductive", "")
    monkeypatch.setattr(results, "list_wanted", lambda *_: [plain])
    monkeypatch.setattr(results, "AVERAGED", {"own": ["other"]})
    measured = []
    monkeypatch.setattr(results, "format_accuracy", lambda result: measured.append(result) or "")

    def measure():
        measured.clear()
        results.measure(own, [str(data)], 3, results.MODES)
        return [result["kind"] for result in measured]

    assert measure() == ["", "two runs averaged"] and measure() == []
    single, averaged = json.loads(own.with_suffix(".json").read_text())["results"]
    assert averaged["accuracy"] == single["accuracy"]  # of the same weights
    assert len(averaged["averaged"]) == 2 and list(averaged["members"]) == ["other"]
    results.measure(other, [str(data)], 3, results.MODES)
    for path in tmp_path.glob("*.json"):  # tables are of Omniglot alone
        report = json.loads(path.read_text())
        report["results"] = [{**result, "data": "omniglot"} for result in report["results"]]
        results.write_report(path, report)
    [row] = (row for row in table.build_rows(tmp_path, AVERAGED) if "averaged" in row["method"])
    assert row["weights, cost"].startswith("[own](checkpoints/own.pkl), [other](checkpoints/other")
    trained = checkpoint.read(other)
    dataclasses.replace(trained, seconds=trained.seconds + 1).save()
    assert measure() == ["two runs averaged"]


def test_only_pooled_maml_that_starts_from_other_weights_is_named_so():
    assert (
        results.name_method(Config(network="pooled", start="checkpoints/protonet_60w1s.pkl"))
        == "maml pooled"
    )
    assert (
        results.name_method(Config(network="pooled")) == "maml"
        and results.name_method(Config(first_order=True)) == "fomaml"
        and results.name_method(Config(temperature=0.2)) == "maml tempered"
        and results.name_method(Config(per_step_norm=True)) == "maml++"
        and results.name_method(Config(per_step_norm=True, network="pooled", start="a"))
        == "maml++ pooled"
    )


def test_prototypical_networks_of_more_filters_have_rows_of_their_own():
    assert [
        results.name_method(Config(algorithm="protonet", filters=filters)) for filters in (64, 128)
    ] == ["protonet", "protonet wide"]
    warm = {
        filters: Config(algorithm="protonet", filters=filters, temperature=8)
        for filters in (64, 128)
    }
    assert results.name_method(warm[64]) == "protonet tempered"
    assert results.name_method(warm[128]) == "protonet tempered wide"
    assert {results.name_method(config) for config in warm.values()} <= set(table.NAMES)
    assert set(figures(algorithm="protonet", filters=128)) == set(figures(algorithm="protonet"))


@pytest.fixture(scope="module")
def weights(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("table")
    command(
        "train",
        "--algorithm",
        "siamese",
        "--data",
        data,
        "--logdir",
        out / "log",
        "--checkpoints",
        out,
        "--name",
        "s",
        "--epochs",
        1,
        "--val_tasks",
        2,
        "--task_num",
        1,
        "--train_shot",
        1,
        "--train_query",
        1,
        "--k_query",
        2,
        "--workers",
        1,
        "--train_on_val",
    )
    return out / "s.pkl"


@pytest.mark.slow
def test_figures_are_measured_once_for_the_same_weights(data, weights, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(
        results,
        "list_wanted",
        lambda *_: [Measurement(5, 1, "inductive", kind) for kind in ("", "fine-tuned")],
    )
    evaluated = results.evaluate

    def quickly(model, data, group, tasks, others):
        [figure] = group
        asked.append((figure, tasks))
        [result] = (
            evaluated(model, data, group, tasks, others)
            if len(asked) in (1, 2)
            else [first[figure.kind]]
        )
        first.setdefault(figure.kind, result)
        return [{**result, "tasks": tasks}]

    first = {}
    monkeypatch.setattr(results, "evaluate", quickly)
    for tasks in (4, 4, 6, 5):
        results.measure(weights, [str(data)], tasks, results.MODES)
    assert [tasks for _, tasks in asked] == [4, 4, 6, 6]
    report = json.loads(weights.with_suffix(".json").read_text())
    assert report["train_on_val"] is True and report["trained_on"] == device.machine()
    assert [(r["kind"], r["tasks"], "finetune" in r) for r in report["results"]] == [
        ("", 6, False),
        ("fine-tuned", 6, True),
    ]
    weights.with_suffix(".json").write_text(json.dumps({**report, "sha256": "another file's"}))
    results.measure(weights, [str(data)], 2, ["inductive"])
    assert [tasks for _, tasks in asked[4:]] == [2, 2]
    results.measure(
        weights, ["nowhere"], 9, ["transductive"]
    )  # of which nothing is wanted, so that no data are looked for
    results.measure(weights, ["nowhere"], 2, results.MODES)
    assert len(asked) == 6
    monkeypatch.setattr(results, "list_wanted", lambda *_: [Measurement(5, 1, "inductive", "")])
    results.measure(weights, ["nowhere"], 2, results.MODES)
    assert [r["kind"] for r in json.loads(weights.with_suffix(".json").read_text())["results"]] == [
        ""
    ]
    weights.with_suffix(".json").write_text(
        other := json.dumps({**report, "sha256": "another file's"})
    )
    with pytest.raises(UserError):
        results.measure(weights, [], 2, results.MODES)
    assert (
        weights.with_suffix(".json").read_text() == other
    )  # which is of use until there is another


def test_nothing_is_asked_of_data_where_nothing_is_missing(weights, monkeypatch):
    monkeypatch.setattr(results, "STAGES", {"s"})
    weights.with_suffix(".json").unlink(missing_ok=True)
    results.measure(weights, ["nowhere"], 2, results.MODES)
    assert json.loads(weights.with_suffix(".json").read_text())["results"] == []


def test_weights_are_measured_on_their_own_split_only(raw, data, weights, tmp_path):
    command("data", "--raw", raw, "--out", tmp_path, "--split", "background")
    with pytest.raises(UserError, match="trained on the random split"):
        results.measure(weights, [str(tmp_path)], 2, results.MODES)
    command("data", "--raw", raw, "--out", tmp_path / "small", "--image-size", 20)
    with pytest.raises(UserError, match="random split of stand-in, 28 x 28 pixels, grey, which"):
        results.measure(weights, [str(tmp_path / "small")], 2, results.MODES)
