"""The tables of results: what is measured, that nothing is measured twice, and what stands in which cell."""

import json

import pytest
from conftest import script

from maml import table
from maml.config import Config
from maml.errors import UserError
from maml.table import Figure


def figures(split="random", **settings):
    return {(f.n_way, f.k_spt, f.kind): f.bn for f in table.wanted(Config(**settings), split)}


def test_what_is_measured_of_each_method():
    assert set(figures()) == {(5, 1, ""), (5, 1, "distorted support")} and len(table.wanted(Config(), "random")) == 3
    assert set(figures(n_way=20, k_spt=5)) == {(5, 5, ""), (20, 5, ""), (5, 5, "five inner steps")}
    assert set(figures(n_way=20, k_spt=5, first_order=True)) == {(5, 5, ""), (20, 5, "")}
    assert set(figures(algorithm="reptile", n_way=20)) == {*((way, shot, "") for way in (5, 20) for shot in (1, 5)),
                                                           (5, 1, "distorted support")}
    assert figures(algorithm="matching") == {(way, shot, ""): "inductive" for way in (5, 20) for shot in (1, 5)}
    assert set(figures(algorithm="protonet")) == {(way, shot, kind) for way in (5, 20) for shot in (1, 5) for kind in ("", "refined")}
    assert set(figures(algorithm="siamese", train_shot=1, train_query=1)) == {(way, 1, k) for way in (5, 20) for k in ("", "fine-tuned")}
    assert figures("background", algorithm="protonet") == {(20, 1, "within an alphabet"): "inductive"}
    assert {kind for *_, kind in figures("vinyals", algorithm="protonet")} == {""}


def test_weights_that_only_others_start_from_are_not_measured():
    first, more = Config(n_way=20), Config(n_way=20, train_on_val=True)
    assert table.wanted(first, "random", [first]) == []
    assert table.wanted(first, "random", [more, Config(n_way=5), Config(n_way=20, k_spt=5), Config(n_way=20, first_order=True)])


def test_both_modes_are_measured_in_one_go_where_they_have_as_many_queries():
    for config, together in ((Config(), [["transductive", "inductive"], ["transductive"]]),
                             (Config(algorithm="reptile"), [["transductive"], ["inductive"], ["transductive"]]),
                             (Config(algorithm="matching"), [["inductive"]] * 4)):
        groups = table.together(config, table.wanted(config, "random"))
        assert [[figure.bn for figure in group] for group in groups] == together
        assert all(len({figure._replace(bn="") for figure in group}) == 1 for group in groups)


def test_only_pooled_maml_that_starts_from_other_weights_is_named_so():
    assert table.method(Config(network="pooled", start="checkpoints/protonet_60w1s.pkl")) == "maml pooled"
    assert table.method(Config(network="pooled")) == "maml" and table.method(Config(first_order=True)) == "fomaml"


def test_prototypical_networks_of_more_filters_have_rows_of_their_own():
    assert [table.method(Config(algorithm="protonet", filters=filters)) for filters in (64, 128)] == ["protonet", "protonet wide"]
    assert set(figures(algorithm="protonet", filters=128)) == set(figures(algorithm="protonet"))


def write(folder, name, method, *results, seconds=3661, train_on_val=False):
    common = {"data": "omniglot", "split": "random", "tasks": 10000, "interval": 0.001}
    results = [{**common, **dict(zip(Figure._fields, figure)), "accuracy": accuracy, **more} for figure, accuracy, more in results]
    (folder / f"{name}.json").write_text(json.dumps({"method": method, "trained_seconds": seconds, "seed": 3,
                                                     "train_on_val": train_on_val, "results": results}))


def test_rows(tmp_path):
    write(tmp_path, "b", "protonet", (Figure(20, 1, "inductive", "refined"), 0.98, {"refine": 3}),
          (Figure(20, 1, "inductive", ""), 0.95, {}), (Figure(5, 1, "inductive", ""), 0.99, {"data": "stand-in"}))
    write(tmp_path, "a", "fomaml", (Figure(5, 1, "transductive", ""), 0.981, {}), (Figure(5, 1, "inductive", ""), 0.97, {"tasks": 1000}))
    assert table.rows(tmp_path) == [
        ["FOMAML", "5-way 1-shot", "98.3 ± 0.5", "98.10 ± 0.10", "97.00 ± 0.10", "10,000 / 1,000", "random", "3", "1:01:01",
         "[a](checkpoints/a.pkl)"],
        ["Prototypical Networks", "20-way 1-shot", "96.0", "", "95.00 ± 0.10", "10,000", "random", "3", "1:01:01",
         "[b](checkpoints/b.pkl)"]]


def with_more(folder):
    return table.grid(folder, [(5, 1), (20, 1)], table.has_more)


def test_what_the_papers_do_not_have_stands_apart(tmp_path):
    plain, tuned, distorted = (Figure(5, 1, "transductive", kind) for kind in ("", "fine-tuned", "distorted support"))
    write(tmp_path, "a", "maml", (plain, 0.98, {}), (distorted, 0.99, {}))
    write(tmp_path, "b", "maml", (plain, 0.97, {}), train_on_val=True)
    write(tmp_path, "c", "maml pooled", (plain, 0.98, {}))
    write(tmp_path, "d", "siamese pairs", (plain, 0.96, {}), (tuned, 0.95, {}))
    assert [cells[0] for cells in table.rows(tmp_path)] == ["MAML", "Siamese, pairs", "Siamese, pairs, fine-tuned"]
    assert [cells[0] for cells in with_more(tmp_path)] == [
        "MAML, distorted support", "MAML, trained on validation characters too", "MAML, max-pooled, from a prototypical encoder"]


def test_tasks_of_a_method_share_a_line_but_for_other_weights_of_the_same_task(tmp_path):
    write(tmp_path, "one", "maml pooled", (Figure(5, 1, "transductive", ""), 0.98, {}),
          (Figure(5, 1, "inductive", ""), 0.97, {"tasks": 1000}))
    write(tmp_path, "three", "maml pooled", (Figure(5, 1, "transductive", ""), 0.96, {}), seconds=62)
    write(tmp_path, "two", "maml pooled", (Figure(20, 1, "transductive", ""), 0.95, {}), seconds=61)
    write(tmp_path, "refined", "protonet", (Figure(5, 1, "inductive", "refined"), 0.99, {"refine": 3}))
    one, two, three, refined = (f"[{name}](checkpoints/{name}.pkl) {time}" for name, time in (
        ("one", "1:01:01"), ("two", "1:01"), ("three", "1:02"), ("refined", "1:01:01")))
    pooled = "MAML, max-pooled, from a prototypical encoder"
    assert with_more(tmp_path) == [
        [pooled, "transductive", "98.00 ± 0.10", "95.00 ± 0.10", f"{one}, {two}"],
        [pooled, "transductive", "96.00 ± 0.10", "", three],
        [pooled, "inductive", "97.00 ± 0.10 (1,000 tasks)", "", one],
        ["Prototypical Networks, refined", "transductive", "99.00 ± 0.10", "", refined]]


def test_published_figures_stand_behind_the_papers_method(tmp_path):
    write(tmp_path, "v", "matching", (Figure(5, 1, "inductive", ""), 0.98, {"split": "vinyals"}),
          (Figure(20, 5, "inductive", ""), 0.985, {"split": "vinyals"}))
    write(tmp_path, "w", "matching", (Figure(20, 1, "inductive", "within an alphabet"), 0.8, {"split": "background"}), seconds=60)
    write(tmp_path, "x", "matching", (Figure(20, 1, "inductive", ""), 0.9, {}))
    write(tmp_path, "y", "matching", (Figure(5, 1, "inductive", ""), 0.99, {"split": "vinyals"}), train_on_val=True)
    v, w, y = (f"[{name}](checkpoints/{name}.pkl) {time}" for name, time in (("v", "1:01:01"), ("w", "1:00"), ("y", "1:01:01")))
    assert table.grid(tmp_path, [(5, 1), (20, 5), "within an alphabet"], lambda _, result: result["split"] != "random", published=True) == [
        ["Matching Networks", "inductive", "98.00 ± 0.10", "98.50 ± 0.10", "80.00 ± 0.10", f"{v}, {w}"],
        ["Matching Networks, published", "", "98.1", "98.5", "", ""],
        ["Matching Networks, trained on validation characters too", "inductive", "99.00 ± 0.10", "", "", y]]


@pytest.fixture(scope="module")
def weights(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("table")
    script("train.py", "--algorithm", "siamese", "--data", data, "--logdir", out / "log", "--checkpoints", out, "--name", "s",
           "--epochs", 1, "--val_tasks", 2, "--task_num", 1, "--train_shot", 1, "--train_query", 1, "--k_query", 2, "--workers", 1,
           "--train_on_val")
    return out / "s.pkl"


def test_figures_are_measured_once_for_the_same_weights(data, weights, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(table, "wanted", lambda *_: [Figure(5, 1, "inductive", kind) for kind in ("", "fine-tuned")])
    evaluated = table.evaluated

    def quickly(model, data, group, tasks):
        [figure] = group
        asked.append((figure, tasks))
        [result] = evaluated(model, data, group, tasks) if len(asked) in (1, 2) else [first[figure.kind]]
        first.setdefault(figure.kind, result)
        return [{**result, "tasks": tasks}]

    first = {}
    monkeypatch.setattr(table, "evaluated", quickly)
    for tasks in (4, 4, 6, 5):
        table.measure(weights, [str(data)], tasks, table.MODES)
    assert [tasks for _, tasks in asked] == [4, 4, 6, 6]
    report = json.loads(weights.with_suffix(".json").read_text())
    assert report["train_on_val"] is True
    assert [(r["kind"], r["tasks"], "finetune" in r) for r in report["results"]] == [("", 6, False), ("fine-tuned", 6, True)]
    weights.with_suffix(".json").write_text(json.dumps({**report, "sha256": "another file's"}))
    table.measure(weights, [str(data)], 2, ["inductive"])
    assert [tasks for _, tasks in asked[4:]] == [2, 2]
    table.measure(weights, [str(data)], 9, ["transductive"])
    assert len(asked) == 6


def test_weights_are_measured_on_their_own_split_only(raw, data, weights, tmp_path):
    script("make_data.py", "--raw", raw, "--out", tmp_path, "--split", "background")
    with pytest.raises(UserError, match="trained on the random split"):
        table.measure(weights, [str(tmp_path)], 2, table.MODES)
