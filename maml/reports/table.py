"""The tables of results: they are made from JSON files beside the checkpoints, never by hand.

`python -m maml table` measures what is not yet measured of every checkpoint, writes it beside the
checkpoint, and then writes the tables into README, docs/results.md and their Chinese twins.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from maml.config import GRADIENT, MODES
from maml.reports import one_shot, strangers
from maml.reports.results import (
    KINDS,
    TASKS,
    TEST_TASKS,
    Report,
    Result,
    Task,
    format_accuracy,
    measurement_of,
    read_reports,
)

Column = Task | str
"""a task, a key of KINDS, or "method", "bn", "weights", "training" """
Row = dict[Column, str]

DOCUMENTS = ("README.md", "README_zh.md", "docs/results.md", "docs/results_zh.md")
WORDS = {  # what the columns are called, in each language
    "en": {
        "method": "method",
        "bn": "statistics",
        "within an alphabet": "within an alphabet",
        "weights": "weights",
        "training": "training, core-hours",
        "weights, cost": "weights: tasks seen, core-hours, processor",
    },
    "zh": {
        "method": "方法",
        "bn": "统计量",
        "within an alphabet": "同一字母表内",
        "weights": "权重",
        "training": "训练（核时）",
        "weights, cost": "权重：训练任务数，核时，处理器",
    },
}
NAMES = {
    "maml": "MAML",
    "maml tempered": "MAML, at a temperature",
    "maml pooled": "MAML, max-pooled, from a prototypical encoder",
    "maml++": "MAML++",
    "maml++ pooled": "MAML++, max-pooled, from a prototypical encoder",
    "fomaml": "FOMAML",
    "reptile": "Reptile",
    "protonet": "Prototypical Networks",
    "protonet tempered": "Prototypical Networks, at a temperature",
    "protonet wide": "Prototypical Networks, wide",
    "protonet tempered wide": "Prototypical Networks, wide, at a temperature",
    "matching": "Matching Networks",
    "siamese pairs": "Siamese, pairs",
    "siamese triplets": "Siamese, triplets",
}
MORE = {"maml pooled", "maml++ pooled", "protonet wide", "protonet tempered wide"}
"""methods with an encoder to start from, or a larger one"""


def of_paper(bn: str, *accuracies: str, within_alphabet: str = "") -> Row:
    """Return a paper's figures as a row: those of TASKS, then that within an alphabet."""
    found: Row = {"bn": bn, **dict(zip(TASKS, accuracies)), "within an alphabet": within_alphabet}
    return {column: text for column, text in found.items() if text}


PUBLISHED: dict[str, list[Row]] = {  # %, by the papers; docs/results.md names their protocols
    "maml": [of_paper("transductive", "98.7 ± 0.4", "99.9 ± 0.1", "95.8 ± 0.3", "98.9 ± 0.2")],
    "maml++": [of_paper("transductive", "99.47", "99.93", "97.65", "99.33")],
    "fomaml": [of_paper("transductive", "98.3 ± 0.5", "99.2 ± 0.2", "89.4 ± 0.5", "97.9 ± 0.1")],
    "reptile": [
        of_paper("transductive", "97.68 ± 0.04", "99.48 ± 0.06", "89.43 ± 0.14", "97.12 ± 0.32"),
        of_paper("inductive", "95.39 ± 0.09", "98.90 ± 0.10", "88.14 ± 0.15", "96.65 ± 0.33"),
    ],
    "protonet": [of_paper("inductive", "98.8", "99.7", "96.0", "98.9", within_alphabet="86.3")],
    "matching": [of_paper("", "98.1", "98.9", "93.8", "98.5")],
    # the baseline in the Matching Networks paper and, within an alphabet, Koch's own network
    "siamese pairs": [of_paper("", "96.7", "", "88.0", within_alphabet="92.0")],
}


def has_more(report: Report, result: Result) -> bool:
    """Return whether a result used more than its paper's method has.

    That is an encoder to start from, a larger encoder, validation characters to train on, or
    another kind of predictions.
    """
    other_kind = result["kind"] not in ("", "fine-tuned")
    return report["method"] in MORE or report["train_on_val"] or other_kind


def is_plain(report: Report, result: Result) -> bool:
    """Return whether a result is of the paper's method on the random split."""
    return result["split"] == "random" and not has_more(report, result)


class Table(NamedTuple):
    """A table of results."""

    columns: Sequence[Column]
    """tasks, and kinds of predictions"""
    is_chosen: Callable[[Report, Result], bool]
    with_published: bool


TABLES = {
    "results": Table(TASKS, is_plain, True),
    "results with more": Table(
        TASKS,
        lambda report, result: result["split"] == "random" and has_more(report, result),
        False,
    ),
    "results on other splits": Table(
        [*TASKS, "within an alphabet"], lambda report, result: result["split"] != "random", True
    ),
}
SHORT = "results in short"


def build_rows(folder: Path, table: Table, root: str = "") -> list[Row]:
    """Return the rows of a table: cells of its columns, "method", "bn" and "weights, cost".

    The tasks of a method share a row, unless other weights have a result for the same task. `root`
    is the way from the document to the project's folder, for links.
    """
    found: dict[tuple, Row] = {}
    reports = dict(read_reports(folder))
    for name in reports:
        for place, row in rows_of_checkpoint(name, reports, table, root).items():
            for turn in itertools.count():
                key = (*place, turn)
                there = found.get(key, {})
                if not set(table.columns) & row.keys() & there.keys():
                    break
            texts = [r["weights, cost"] for r in (there, row) if r]
            found[key] = {**there, **row, "weights, cost": "<br>".join(texts)}
    for index, name in enumerate(NAMES):
        if table.with_published and any(place[0] == index for place in found):
            for turn, figures in enumerate(PUBLISHED.get(name, [])):
                row = {"method": f"{NAMES[name]}, published", **figures}
                found[index, False, len(KINDS), turn] = row
    return [found[place] for place in sorted(found)]


def rows_of_checkpoint(
    name: str, reports: dict[str, Report], table: Table, root: str
) -> dict[tuple, Row]:
    """Return the rows that one checkpoint fills, by their place in the table."""
    found: dict[tuple, Row] = {}
    report = reports[name]
    for result in report["results"]:
        if not table.is_chosen(report, result):
            continue
        way, shot, bn, kind = measurement_of(result)
        column: Column = (way, shot)
        if kind in table.columns:
            column, kind = kind, ""
        if "refine" in result:  # what queries refined is transductive, whatever its statistics
            bn = "transductive"
        number = list(NAMES).index(report["method"])
        place = number, report["train_on_val"], list(KINDS).index(kind), MODES.index(bn)
        names = [name, *result.get("members", [])]
        cost = format_weights(names, reports, root)
        start: Row = {"method": format_label(report, kind), "bn": bn, "weights, cost": cost}
        few = "" if result["tasks"] == TEST_TASKS else f" ({result['tasks']:,} tasks)"
        found.setdefault(place, start)[column] = format_accuracy(result) + few
    return found


def build_short_rows(folder: Path, root: str = "") -> list[Row]:
    """Return a row for each paper's method: its best plain figures, the published ones in brackets.

    Figures are of the statistics in the method's paper. Training is that of all weights in the row
    and of those that they started from.
    """
    reports = dict(read_reports(folder))
    found = []
    for method in (name for name in NAMES if name not in MORE):
        bn = MODES[0] if method in (*GRADIENT, "maml tempered", "fomaml") else MODES[1]
        best: dict[Task, tuple[float, str]] = {}
        for name, report in reports.items():
            for result in report["results"] if report["method"] == method else []:
                plain = is_plain(report, result) and (result["kind"], result["bn"]) == ("", bn)
                task = result["way"], result["shot"]
                if plain and result["accuracy"] > best.get(task, (0.0, ""))[0]:
                    best[task] = result["accuracy"], name
        if not best:
            continue
        papers: Row = PUBLISHED.get(method.removesuffix(" tempered"), [{}])[0]
        row: Row = {"method": NAMES[method], "bn": bn}
        for task, (accuracy, _) in best.items():
            paper = papers.get(task, "").partition(" ±")[0]
            in_brackets = f"\u00a0({paper})" if paper else ""  # without a line break before it
            row[task] = f"{100 * accuracy:.2f}{in_brackets}"
        used = sorted({name for _, name in best.values()})
        row["weights"] = ", ".join(format_link(name, root) for name in used)
        row["training"] = format_training(chain(used, reports))
        found.append(row)
    return found


def chain(names: Sequence[str], reports: dict[str, Report]) -> list[Report]:
    """Return the reports of these weights and of all that they started from."""
    every: dict[str, Report] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop(0)
        if name in reports and name not in every:
            every[name] = reports[name]
            waiting.append(reports[name].get("start", ""))
    return list(every.values())


def format_training(every: Sequence[Report]) -> str:
    """Return the core-hours of a chain of weights, with the processors: "3.3 h, AMD EPYC"."""
    hours = sum(report["core_seconds"] for report in every) / 3600
    processors = dict.fromkeys(format_processor(report) for report in every)
    return ", ".join([f"{hours:.1f}\u00a0h", *filter(None, processors)])


def format_label(report: Report, kind: str) -> str:
    """Return the method's name, with what its weights or its predictions have beside it."""
    more = ["trained on validation characters too"] if report["train_on_val"] else []
    return ", ".join([NAMES[report["method"]], *more, *filter(None, [kind])])


def format_link(name: str, root: str) -> str:
    """Return a link to a checkpoint."""
    return f"[{name}]({root}checkpoints/{name}.pkl)"


def format_processor(report: Report) -> str:
    """Return the processor that a checkpoint was trained on, "AMD EPYC"."""
    name = report.get("trained_on", "").partition(",")[0]
    return name.replace("(R)", "").replace("(TM)", "").removesuffix(" Processor")


def format_weights(names: Sequence[str], reports: dict[str, Report], root: str) -> str:
    """Return links to checkpoints and their whole cost, with that of what they started from:
    "[a](checkpoints/a.pkl): 72,000, 1.5 h, AMD EPYC".
    """
    every = chain(names, reports)
    tasks = sum(report["tasks_seen"] for report in every)
    links = ", ".join(format_link(name, root) for name in names)
    return f"{links}: {tasks:,}, {format_training(every)}"


def format_table(rows: Sequence[Row], columns: Sequence[Column], language: str) -> str:
    """Return rows as Markdown."""
    words = WORDS[language]

    def header(column: Column) -> str:
        return words[column] if isinstance(column, str) else "{}-way {}-shot".format(*column)

    lines = [[header(column) for column in columns], ["---"] * len(columns)]
    lines += [[row.get(column, "") for column in columns] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markers(name: str) -> tuple[str, str]:
    """Return the lines before and after a generated part of a document."""
    return f"<!-- {name}: made by make table -->", f"<!-- end of {name.partition(' ')[0]} -->"


def replace_part(text: str, name: str, made: str) -> str:
    """Return a document's text with `made` between the markers of `name`."""
    begin, end = markers(name)
    before, found, rest = text.partition(begin)
    return f"{before}{begin}\n{made}\n{end}{rest.partition(end)[2]}" if found else text


def rewrite(path: Path, folder: Path) -> str:
    """Return the text of a document with each table of results that it has made anew.

    Args:
        path (Path): the document; its name ends in _zh if it is Chinese.
        folder (Path): the checkpoints and the JSON files beside them.
    """
    text = path.read_text(encoding="utf-8")
    language = "zh" if path.stem.endswith("_zh") else "en"
    root = "../" if path.parent.name == "docs" else ""
    for name, table in TABLES.items():
        columns: list[Column] = ["method", "bn", *table.columns, "weights, cost"]
        made = format_table(build_rows(folder, table, root), columns, language)
        text = replace_part(text, name, made)
    text = replace_part(text, strangers.MARKER, strangers.format_strangers(folder, language, root))
    examples = folder.parent / "examples"  # which have weights of networks of one's own
    made = one_shot.format_challenge(one_shot.stored(folder, examples), language)
    text = replace_part(text, one_shot.MARKER, made)
    columns = ["method", "bn", *TASKS, "weights", "training"]
    return replace_part(
        text, SHORT, format_table(build_short_rows(folder, root), columns, language)
    )
