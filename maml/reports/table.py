"""The tables of results: they are made from JSON files beside the checkpoints, never by hand.

`python -m maml table` measures what is not yet measured of every checkpoint, writes it beside the
checkpoint, and then writes the tables into README, docs/results.md and their Chinese twins.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from maml.config import GRADIENT, METRIC, MODES, Config
from maml.data.arrays import read_index
from maml.system import files
from maml.system.errors import UserError
from maml.system.progress import duration
from maml.training.checkpoint import Checkpoint, read

Task = tuple[int, int]
"""way and shot"""
Column = Task | str
"""a task, a key of KINDS, or "method", "bn", "weights", "training" """
Row = dict[Column, str]
Report = dict[str, Any]
"""the JSON beside a checkpoint"""
Result = dict[str, Any]
"""what evaluate.py says of one measurement, and its kind"""

PROJECT = Path(__file__).resolve().parent.parent.parent
DOCUMENTS = ("README.md", "README_zh.md", "docs/results.md", "docs/results_zh.md")
TASKS: list[Task] = [(5, 1), (5, 5), (20, 1), (20, 5)]
TEST_TASKS = 10_000  # for each measurement
WORDS = {  # what the columns are called, in each language
    "en": {
        "method": "method",
        "bn": "statistics",
        "within an alphabet": "within an alphabet",
        "weights": "weights",
        "training": "training on one core",
        "weights, time": "weights, time, processor",
    },
    "zh": {
        "method": "方法",
        "bn": "统计量",
        "within an alphabet": "同一字母表内",
        "weights": "权重",
        "training": "单核训练时长",
        "weights, time": "权重，训练时长，处理器",
    },
}
NAMES = {
    "maml": "MAML",
    "maml pooled": "MAML, max-pooled, from a prototypical encoder",
    "fomaml": "FOMAML",
    "reptile": "Reptile",
    "protonet": "Prototypical Networks",
    "protonet wide": "Prototypical Networks, wide",
    "matching": "Matching Networks",
    "siamese pairs": "Siamese, pairs",
    "siamese triplets": "Siamese, triplets",
}
MORE = {"maml pooled", "protonet wide"}  # methods with an encoder to start from, or a larger one
STAGES = {"maml_pooled_20w1s"}  # its successor, by the same method on the same tasks, has a row
KINDS = {  # what predictions come from beside the checkpoint, as flags of evaluate.py
    "": [],
    "fine-tuned": ["--finetune", "20"],
    "refined": ["--refine", "3", "--distortions_test", "8"],
    "distorted support": ["--distortions_test", "8"],
    "five inner steps": ["--inner_steps_test", "5"],
    "within an alphabet": ["--within-alphabet"],
}


def of_paper(bn: str, *accuracies: str, within_alphabet: str = "") -> Row:
    """Return a paper's figures as a row: those of TASKS, then that within an alphabet."""
    found: Row = {"bn": bn, **dict(zip(TASKS, accuracies)), "within an alphabet": within_alphabet}
    return {column: text for column, text in found.items() if text}


PUBLISHED: dict[str, list[Row]] = {  # %, by the papers; docs/results.md names their protocols
    "maml": [of_paper("transductive", "98.7 ± 0.4", "99.9 ± 0.1", "95.8 ± 0.3", "98.9 ± 0.2")],
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


class Measurement(NamedTuple):
    """What is measured of a checkpoint."""

    way: int
    shot: int
    bn: str
    kind: str
    """a key of KINDS"""


def name_method(config: Config) -> str:
    """Return the key of NAMES for a configuration."""
    if config.algorithm == "siamese":
        return f"siamese {config.objective}"
    if config.algorithm == "protonet":
        return "protonet wide" if config.filters > Config.filters else "protonet"
    if config.algorithm == "maml" and config.first_order:
        return "fomaml"
    if config.algorithm == "maml" and config.network == "pooled" and config.start:
        return "maml pooled"
    return config.algorithm


def list_wanted(config: Config, split: str) -> list[Measurement]:
    """Return what is measured of a checkpoint that was trained by `config` on this split.

    A classifier serves as many classes as it was trained for, or fewer, and the number of shots
    that it was trained for. Reptile's training does not know the shots, so its 20-way weights serve
    any number. Metric methods, and weights that were trained on validation characters too, are
    measured with the batch statistics of their papers only.
    """
    if split == "background":
        return [Measurement(20, 1, config.bn_mode, "within an alphabet")]
    if config.algorithm in METRIC:
        kinds, tasks = [""], TASKS
        if config.algorithm == "siamese":
            kinds, tasks = ["", "fine-tuned"], [(5, 1), (20, 1)]
        elif config.algorithm == "protonet" and split == "random":
            kinds = ["", "refined"]
        return [Measurement(*task, config.bn_mode, kind) for kind in kinds for task in tasks]
    any_shot = config.algorithm == "reptile" and config.way > 5
    served = [
        task for task in TASKS if task[0] <= config.way and (any_shot or task[1] == config.shot)
    ]
    modes = [config.bn_mode] if config.train_on_val else MODES
    plain = [Measurement(*task, bn, "") for task in served for bn in modes]
    extras = [(task, kind) for task in served for kind in list_extras(config, *task)]
    return plain + [Measurement(*task, "transductive", kind) for task, kind in extras]


def list_extras(config: Config, way: int, shot: int) -> list[str]:
    """Return the kinds of predictions that beat the plain ones on validation characters.

    They help with five classes (benchmarks/experiments.md). First-order MAML and weights of five
    classes are left out to keep the table short: weights of 20 classes do better here.
    """
    if way > 5 or config.way == 5 or config.first_order:
        return []
    if shot == 1:
        return ["distorted support"]
    return ["five inner steps"] if config.algorithm == "maml" else []


def count_queries(config: Config, bn: str) -> int:
    """Return the queries of each class in tests.

    Inductive Reptile has one, as in its paper: each query passes through the network together with
    the whole support.
    """
    return 1 if config.algorithm == "reptile" and bn == "inductive" else 15


def group_by_call(config: Config, wanted: list[Measurement]) -> list[list[Measurement]]:
    """Group what one call of evaluate.py measures: the weights adapt once for both modes."""
    groups: dict[tuple, list[Measurement]] = {}
    for one in wanted:
        key = one._replace(bn=""), count_queries(config, one.bn)
        groups.setdefault(key, []).append(one)
    return list(groups.values())


def measure(path: Path, folders: Sequence[str], tasks: int, modes: Sequence[str]) -> None:
    """Measure a checkpoint on test characters and write the results beside it.

    A result of the same weights on as many tasks, or more, is kept and not measured again. Results
    of other weights stay in the file until there is one of these.

    Args:
        path (Path): the checkpoint.
        folders (Sequence[str]): folders with arrays, one for each split.
        tasks (int): test tasks for each measurement.
        modes (Sequence[str]): the modes of batch normalisation to measure.

    Raises:
        UserError: if no folder holds the split that the checkpoint was trained on.
    """
    trained, report_path = read(path), path.with_suffix(".json")
    known = read_known(report_path, hashlib.sha256(path.read_bytes()).hexdigest())
    wanted = list_wanted(trained.config, trained.data.split) if path.stem not in STAGES else []
    results = {one: r for r in known["results"] if (one := measurement_of(r)) in wanted}
    report = {
        "method": name_method(trained.config),
        "sha256": known["sha256"],
        "train_on_val": trained.config.train_on_val,
        "start": Path(trained.config.start).stem,
        "trained_seconds": round(trained.seconds),
        "trained_on": trained.machine or known.get("trained_on", ""),
        "epoch": trained.iteration,
        "validation": trained.accuracy,
        "seed": trained.config.seed,
    }

    def write() -> None:
        whole = {**report, "results": list(results.values())}
        text = json.dumps(whole, indent=1, ensure_ascii=False) + "\n"
        files.write({report_path: lambda file: file.write(text.encode())})

    def is_measured(one: Measurement) -> bool:
        queries = count_queries(trained.config, one.bn)
        found = results.get(one)
        return found is not None and found["tasks"] >= tasks and found["query"] == queries

    missing = [one for one in wanted if one.bn in modes and not is_measured(one)]
    if not missing:
        return write()
    data = find_split(trained, folders)
    for group in group_by_call(trained.config, missing):
        for result in evaluate(trained, data, group, tasks):
            one = measurement_of(result)
            results[one] = result
            what = f"{one.way}-way {one.shot}-shot {one.bn} {one.kind}"
            print(f"{path.name}: {what} {format_accuracy(result)}", flush=True)
        write()


def read_known(path: Path, sha256: str) -> Report:
    """Return the report at `path`, or one without results where it is of other weights."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return known if known.get("sha256") == sha256 else {"sha256": sha256, "results": []}


def find_split(trained: Checkpoint, folders: Sequence[str]) -> str:
    """Return the folder whose arrays are of the split that the checkpoint was trained on."""
    split = trained.data.split
    for folder in folders:
        if read_index(folder).split == split:
            return folder
    raise UserError(
        f"{trained.path}: was trained on the {split} split, which is not in {', '.join(folders)}; "
        "name its arrays by --data"
    )


def evaluate(
    trained: Checkpoint, data: str, group: Sequence[Measurement], tasks: int
) -> list[Result]:
    """Call evaluate.py for a group of `group_by_call`, and return a result for each of it."""
    one = group[0]
    flags = {
        "--checkpoint": trained.path,
        "--data": data,
        "--way": one.way,
        "--shot": one.shot,
        "--query": count_queries(trained.config, one.bn),
        "--bn": "both" if len(group) > 1 else one.bn,
        "--tasks": tasks,
    }
    stated = [str(part) for flag in flags.items() for part in flag]
    command = [sys.executable, "-m", "maml", "evaluate", *stated, "--last_step", "--json"]
    # the package is found from any folder, installed or not
    path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [*command, *KINDS[one.kind]],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    if done.returncode:
        raise UserError(f"{trained.path}: evaluate.py failed: {done.stderr.strip()}")
    return [{"kind": one.kind, **json.loads(line)} for line in done.stdout.splitlines()]


def measurement_of(result: Result) -> Measurement:
    """Return what a result is a measurement of."""
    return Measurement(*(result[key] for key in Measurement._fields))


def read_reports(folder: Path) -> Iterator[tuple[str, Report]]:
    """Yield the name and contents of each JSON file in `folder`, with results on Omniglot only."""
    for path in sorted(folder.glob("*.json")):
        report = json.loads(path.read_text(encoding="utf-8"))
        report["results"] = [r for r in report["results"] if r["data"] == "omniglot"]
        yield path.stem, report


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
    """Return the rows of a table: cells of its columns, "method", "bn" and "weights, time".

    The tasks of a method share a row, unless other weights have a result for the same task. `root`
    is the way from the document to the project's folder, for links.
    """
    found: dict[tuple, Row] = {}
    for name, report in read_reports(folder):
        for place, row in rows_of_checkpoint(name, report, table, root).items():
            for turn in itertools.count():
                there = found.get((*place, turn), {})
                if not set(table.columns) & row.keys() & there.keys():
                    break
            texts = [r["weights, time"] for r in (there, row) if r]
            found[(*place, turn)] = {**there, **row, "weights, time": ", ".join(texts)}
    for index, name in enumerate(NAMES):
        if table.with_published and any(place[0] == index for place in found):
            for turn, figures in enumerate(PUBLISHED.get(name, [])):
                row = {"method": f"{NAMES[name]}, published", **figures}
                found[index, False, len(KINDS), turn] = row
    return [found[place] for place in sorted(found)]


def rows_of_checkpoint(name: str, report: Report, table: Table, root: str) -> dict[tuple, Row]:
    """Return the rows that one checkpoint fills, by their place in the table."""
    found: dict[tuple, Row] = {}
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
        link = format_weights(name, report, root)
        start: Row = {"method": format_label(report, kind), "bn": bn, "weights, time": link}
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
        bn = MODES[0] if method in (*GRADIENT, "fomaml") else MODES[1]
        best: dict[Task, tuple[float, str]] = {}
        for name, report in reports.items():
            for result in report["results"] if report["method"] == method else []:
                plain = is_plain(report, result) and (result["kind"], result["bn"]) == ("", bn)
                task = result["way"], result["shot"]
                if plain and result["accuracy"] > best.get(task, (0.0, ""))[0]:
                    best[task] = result["accuracy"], name
        if not best:
            continue
        papers: Row = PUBLISHED.get(method, [{}])[0]
        row: Row = {"method": NAMES[method], "bn": bn}
        for task, (accuracy, _) in best.items():
            paper = papers.get(task, "").partition(" ±")[0]
            in_brackets = f"\u00a0({paper})" if paper else ""  # without a line break before it
            row[task] = f"{100 * accuracy:.2f}{in_brackets}"
        used = sorted({name for _, name in best.values()})
        row["weights"] = ", ".join(format_link(name, root) for name in used)
        row["training"] = format_training(used, reports)
        found.append(row)
    return found


def format_training(names: Sequence[str], reports: dict[str, Report]) -> str:
    """Return the hours of training of these weights and all that they started from, with the
    processors: "3.3 h, AMD EPYC".
    """
    every: list[str] = []
    waiting = list(names)
    while waiting:
        name = waiting.pop(0)
        if name in reports and name not in every:
            every.append(name)
            waiting.append(reports[name].get("start", ""))
    hours = sum(reports[name]["trained_seconds"] for name in every) / 3600
    processors = dict.fromkeys(format_processor(reports[name]) for name in every)
    return ", ".join([f"{hours:.1f} h", *filter(None, processors)])


def format_accuracy(result: Result) -> str:
    """Return "98.76 ± 0.12"."""
    return f"{100 * result['accuracy']:.2f} ± {100 * result['interval']:.2f}"


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


def format_weights(name: str, report: Report, root: str) -> str:
    """Return a link to a checkpoint, its training time and its processor:
    "[a](checkpoints/a.pkl) 1:29:34 AMD EPYC".
    """
    seconds = duration(report["trained_seconds"])
    return f"{format_link(name, root)} {seconds} {format_processor(report)}".rstrip()


def format_table(rows: Sequence[Row], columns: Sequence[Column], language: str) -> str:
    """Return rows as Markdown."""
    words = WORDS[language]

    def header(column: Column) -> str:
        return words[column] if isinstance(column, str) else "{}-way {}-shot".format(*column)

    lines = [[header(column) for column in columns], ["---"] * len(columns)]
    lines += [[row.get(column, "") for column in columns] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markers(name: str) -> tuple[str, str]:
    """Return the lines between which a generated part of a document stands."""
    return f"<!-- {name}: made by make table -->", f"<!-- end of {name.partition(' ')[0]} -->"


def replace_part(text: str, name: str, made: str) -> str:
    """Return a document's text with what stands between the markers of `name` replaced."""
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
        columns: list[Column] = ["method", "bn", *table.columns, "weights, time"]
        made = format_table(build_rows(folder, table, root), columns, language)
        text = replace_part(text, name, made)
    columns = ["method", "bn", *TASKS, "weights", "training"]
    return replace_part(
        text, SHORT, format_table(build_short_rows(folder, root), columns, language)
    )
