"""The tables of results: what stands in which cell, and which rows there are."""

import json

import pytest

from maml.cli import table as cli
from maml.reports import results, table
from maml.reports.results import Measurement
from maml.reports.table import Table
from maml.system import device
from maml.system.errors import UserError


def write(folder, name, method, *measured, seconds=3661, train_on_val=False, start=""):
    common = {"data": "omniglot", "split": "random", "tasks": 10000, "interval": 0.001}
    found = [
        {**common, **dict(zip(Measurement._fields, figure)), "accuracy": accuracy, **more}
        for figure, accuracy, more in measured
    ]
    (folder / f"{name}.json").write_text(
        json.dumps(
            {
                "method": method,
                "trained_seconds": seconds,
                "core_seconds": seconds,
                "tasks_seen": 72_000,
                "trained_on": "An(R) Example(TM) Processor, 2 cores",
                "seed": 3,
                "train_on_val": train_on_val,
                "start": start,
                "results": found,
            }
        )
    )


def of_papers(folder):
    columns = [(5, 1), (5, 5), (20, 1)]
    return table.build_rows(
        folder, Table(columns, lambda report, result: not table.has_more(report, result), True)
    )


def with_more(folder):
    return table.build_rows(folder, Table([(5, 1), (20, 1)], table.has_more, False))


def test_what_is_not_of_omniglot_or_has_more_than_the_paper_stands_apart(tmp_path):
    write(
        tmp_path,
        "a",
        "protonet",
        (Measurement(20, 1, "inductive", "refined"), 0.98, {"refine": 3}),
        (Measurement(20, 1, "inductive", ""), 0.95, {}),
        (Measurement(5, 1, "inductive", ""), 0.99, {"data": "stand-in"}),
    )
    weights, [published] = (
        "[a](checkpoints/a.pkl): 72,000, 1.0\u00a0h, An Example",
        table.PUBLISHED["protonet"],
    )
    assert of_papers(tmp_path) == [
        {
            "method": "Prototypical Networks",
            "bn": "inductive",
            (20, 1): "95.00 ± 0.10",
            "weights, cost": weights,
        },
        {"method": "Prototypical Networks, published", **published},
    ]
    assert with_more(tmp_path) == [
        {
            "method": "Prototypical Networks, refined",
            "bn": "transductive",
            (20, 1): "98.00 ± 0.10",
            "weights, cost": weights,
        }
    ]


def test_what_the_papers_do_not_have_stands_apart(tmp_path):
    plain, tuned, distorted = (
        Measurement(5, 1, "transductive", kind) for kind in ("", "fine-tuned", "distorted support")
    )
    write(tmp_path, "a", "maml", (plain, 0.98, {}), (distorted, 0.99, {}))
    write(tmp_path, "b", "maml", (plain, 0.97, {}), train_on_val=True)
    write(tmp_path, "c", "maml pooled", (plain, 0.98, {}))
    write(tmp_path, "d", "siamese triplets", (plain, 0.96, {}), (tuned, 0.95, {}))
    write(tmp_path, "e", "maml++ pooled", (plain, 0.98, {}))
    assert [row["method"] for row in of_papers(tmp_path)] == [
        "MAML",
        "MAML, published",
        "Siamese, triplets",
        "Siamese, triplets, fine-tuned",
    ]
    assert [row["method"] for row in with_more(tmp_path)] == [
        "MAML, distorted support",
        "MAML, trained on validation characters too",
        "MAML, max-pooled, from a prototypical encoder",
        "MAML++, max-pooled, from a prototypical encoder",
    ]


def test_tasks_of_a_method_share_a_row_but_for_other_weights_of_the_same_task(tmp_path):
    write(
        tmp_path,
        "one",
        "fomaml",
        (Measurement(5, 1, "transductive", ""), 0.98, {}),
        (Measurement(5, 1, "inductive", ""), 0.97, {"tasks": 1000}),
    )
    write(
        tmp_path,
        "three",
        "fomaml",
        (Measurement(5, 1, "transductive", ""), 0.96, {}),
        (Measurement(5, 5, "transductive", ""), 0.99, {}),
        seconds=3 * 3600,
    )
    write(
        tmp_path,
        "two",
        "fomaml",
        (Measurement(20, 1, "transductive", ""), 0.95, {}),
        seconds=2 * 3600,
    )
    hours = {"one": "1.0", "two": "2.0", "three": "3.0"}
    one, two, three = (
        f"[{name}](checkpoints/{name}.pkl): 72,000, {h}\u00a0h, An Example"
        for name, h in hours.items()
    )
    assert of_papers(tmp_path)[:-1] == [
        {
            "method": "FOMAML",
            "bn": "transductive",
            (5, 1): "98.00 ± 0.10",
            (20, 1): "95.00 ± 0.10",
            "weights, cost": f"{one}<br>{two}",
        },
        {
            "method": "FOMAML",
            "bn": "transductive",
            (5, 1): "96.00 ± 0.10",
            (5, 5): "99.00 ± 0.10",
            "weights, cost": three,
        },
        {
            "method": "FOMAML",
            "bn": "inductive",
            (5, 1): "97.00 ± 0.10 (1,000 tasks)",
            "weights, cost": one,
        },
    ]


def test_both_languages_show_each_task_and_the_tasks_within_an_alphabet(tmp_path):
    write(
        tmp_path,
        "v",
        "matching",
        (Measurement(5, 1, "inductive", ""), 0.98, {"split": "vinyals"}),
        (Measurement(20, 5, "inductive", ""), 0.985, {"split": "vinyals"}),
    )
    write(
        tmp_path,
        "w",
        "matching",
        (Measurement(20, 1, "inductive", "within an alphabet"), 0.8, {"split": "background"}),
        seconds=1800,
    )
    write(tmp_path, "x", "matching", (Measurement(20, 1, "inductive", ""), 0.9, {}))
    write(
        tmp_path,
        "y",
        "matching",
        (Measurement(5, 1, "inductive", ""), 0.99, {"split": "vinyals"}),
        train_on_val=True,
    )
    v, w, x, y = (
        f"[{name}](../checkpoints/{name}.pkl): 72,000, {hours}\u00a0h, An Example"
        for name, hours in {"v": "1.0", "w": "0.5", "x": "1.0", "y": "1.0"}.items()
    )
    headers = {
        "results.md": "| method | statistics | 5-way 1-shot | 5-way 5-shot | 20-way 1-shot | "
        "20-way 5-shot | ",
        "results_zh.md": "| 方法 | 统计量 | 5-way 1-shot | 5-way 5-shot | 20-way 1-shot | "
        "20-way 5-shot | ",
    }
    (tmp_path / "docs").mkdir()
    for name, header in headers.items():
        begins, [end, *_] = zip(*map(table.markers, table.TABLES))
        document = tmp_path / "docs" / name
        old = "a\n" + "\nb\n".join(f"{begin}\nold\n{end}" for begin in begins) + "\nc"
        document.write_text(old, encoding="utf-8")
        text = table.rewrite(document, tmp_path)
        assert text.startswith("a\n") and text.endswith(f"{end}\nc") and "old" not in text
        assert text.count("\nb\n") == 2 and text.count(header) == 3
        first, second, third = (
            text.partition(begin)[2].partition(end)[0].strip().splitlines() for begin in begins
        )
        published = "| Matching Networks, published |  | 98.1 | 98.9 | 93.8 | 98.5 |  |"
        assert first[2:] == [
            f"| Matching Networks | inductive |  |  | 90.00 ± 0.10 |  | {x} |",
            published,
        ]
        assert second[2:] == []
        assert third[2:] == [
            "| Matching Networks | inductive | 98.00 ± 0.10 |  |  | 98.50 ± 0.10 | "
            f"80.00 ± 0.10 | {v}<br>{w} |",
            f"{published}  |",
            "| Matching Networks, trained on validation characters too | inductive | "
            f"99.00 ± 0.10 |  |  |  |  | {y} |",
        ]


def test_a_document_without_markers_stays_as_it_is(tmp_path):
    (tmp_path / "README.md").write_text("no table", encoding="utf-8")
    assert table.rewrite(tmp_path / "README.md", tmp_path) == "no table"


def test_the_short_table_has_the_best_plain_figure_of_each_task(tmp_path):
    def plain(way, shot, bn="transductive"):
        return Measurement(way, shot, bn, "")

    write(tmp_path, "five", "maml", (plain(5, 1), 0.97, {}), seconds=3600)
    write(
        tmp_path,
        "twenty",
        "maml",
        (plain(5, 1), 0.98, {}),
        (plain(5, 1, "inductive"), 0.99, {}),
        (plain(20, 1), 0.94, {}),
        (plain(20, 1)._replace(kind="distorted support"), 0.96, {}),
        seconds=1800,
        start="five",
    )
    write(tmp_path, "more", "maml", (plain(20, 1), 0.97, {}), train_on_val=True)
    write(tmp_path, "pooled", "maml pooled", (plain(20, 1), 0.98, {}))
    write(tmp_path, "triplets", "siamese triplets", (plain(5, 1, "inductive"), 0.96, {}))
    assert table.build_short_rows(tmp_path) == [
        {
            "method": "MAML",
            "bn": "transductive",
            (5, 1): "98.00\u00a0(98.7)",
            (20, 1): "94.00\u00a0(95.8)",
            "weights": "[twenty](checkpoints/twenty.pkl)",
            "training": "1.5\u00a0h, An Example",  # with the weights that it started from
        },
        {
            "method": "Siamese, triplets",
            "bn": "inductive",
            (5, 1): "96.00",
            "weights": "[triplets](checkpoints/triplets.pkl)",
            "training": "1.0\u00a0h, An Example",
        },
    ]


def test_only_writing_leaves_up_to_date_documents_as_they_are(monkeypatch):
    written = {}
    monkeypatch.setattr(
        cli.Path, "write_text", lambda path, text, **_: written.update({path: text})
    )
    cli.main(["--only-write", "--checkpoints", str(results.PROJECT / "checkpoints")])
    assert {path.name for path in written} == {
        *("README.md", "README_zh.md", "results.md", "results_zh.md", "settings.md")
    }
    assert all(path.read_text(encoding="utf-8") == text for path, text in written.items())


def test_the_cost_of_weights_has_that_of_what_they_started_from(tmp_path):
    plain = Measurement(5, 1, "transductive", "")
    write(tmp_path, "first", "maml", seconds=3600)
    write(tmp_path, "second", "maml", seconds=1800, start="first")
    write(tmp_path, "third", "maml", (plain, 0.98, {}), seconds=1800, start="second")
    assert of_papers(tmp_path)[0]["weights, cost"].endswith(": 216,000, 2.0\u00a0h, An Example")


def test_a_missing_folder_of_weights_is_named(tmp_path):
    with pytest.raises(UserError, match="name the weights by --checkpoints"):
        cli.main(["--only-write", "--checkpoints", str(tmp_path / "none")])


def test_signals_end_it_without_a_trace_of_paddles(tmp_path, monkeypatch):
    prepared = []
    monkeypatch.setattr(device, "use_device", prepared.append)
    cli.main(["--only-judge", "--checkpoints", str(tmp_path)])
    assert prepared == [False]
