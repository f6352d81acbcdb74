"""The tables of results in both READMEs: made from JSON files beside the checkpoints, never by hand.

`python -m maml.table` measures what is not yet measured of every checkpoint, writes it beside it, and rewrites the tables.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from maml import errors, files, omniglot, trained
from maml.config import ANY_WAY, MODES, Config
from maml.progress import duration
from maml.runtime import machine

BEGINS = [f"<!-- {what}: made by make table -->" for what in ("results", "results with more", "results on other splits")]
END = "<!-- end of results -->"
COLUMNS = ["5-way 1-shot", "5-way 5-shot", "20-way 1-shot", "20-way 5-shot"]
READMES = {  # the tables' headers
    "README.md": (["method", "task", "published", "ours, transductive", "ours, inductive", "tasks", "split", "seed", "trained for",
                   "weights"],
                  ["method", "statistics", *COLUMNS, "weights, trained for"],
                  ["method", "statistics", *COLUMNS, "within an alphabet", "weights, trained for"]),
    "README_zh.md": (["方法", "任务", "论文", "本项目，直推", "本项目，归纳", "任务数", "划分", "种子", "训练时长", "权重"],
                     ["方法", "统计量", *COLUMNS, "权重，训练时长"],
                     ["方法", "统计量", *COLUMNS, "同一字母表内", "权重，训练时长"])}
NAMES = {"maml": "MAML", "maml pooled": "MAML, max-pooled, from a prototypical encoder", "fomaml": "FOMAML", "reptile": "Reptile",
         "protonet": "Prototypical Networks", "protonet wide": "Prototypical Networks, wide",
         "matching": "Matching Networks", "siamese pairs": "Siamese, pairs", "siamese triplets": "Siamese, triplets"}
PUBLISHED = {  # %, of the papers, whose protocols README tells
    "maml": {(5, 1): "98.7 ± 0.4", (5, 5): "99.9 ± 0.1", (20, 1): "95.8 ± 0.3", (20, 5): "98.9 ± 0.2"},
    "maml pooled": {},
    "fomaml": {(5, 1): "98.3 ± 0.5", (5, 5): "99.2 ± 0.2", (20, 1): "89.4 ± 0.5", (20, 5): "97.9 ± 0.1"},
    "reptile": {(5, 1): "97.68 ± 0.04", (5, 5): "99.48 ± 0.06", (20, 1): "89.43 ± 0.14", (20, 5): "97.12 ± 0.32"},
    "protonet": {(5, 1): "98.8", (5, 5): "99.7", (20, 1): "96.0", (20, 5): "98.9", "within an alphabet": "86.3"},
    "protonet wide": {},
    "matching": {(5, 1): "98.1", (5, 5): "98.9", (20, 1): "93.8", (20, 5): "98.5"},
    "siamese pairs": {(5, 1): "96.7", (20, 1): "88.0"},  # Matching Networks' baseline
    "siamese triplets": {},
}
TEST_TASKS = 10_000  # for each figure
MORE = {"maml pooled", "protonet wide"}  # methods with an encoder to start from, or a larger one
TASKS = [(5, 1), (5, 5), (20, 1), (20, 5)]
KINDS = {"": [], "fine-tuned": ["--finetune", "20"], "refined": ["--refine", "3", "--distortions_test", "8"],
         "distorted support": ["--distortions_test", "8"], "five inner steps": ["--glob_update_step_test", "5"],
         "within an alphabet": ["--within-alphabet"]}  # what the predictions come from beside the checkpoint: flags of evaluate.py


class Figure(NamedTuple):
    """What is measured of a checkpoint."""

    n_way: int
    k_spt: int
    bn: str
    kind: str
    """a key of KINDS"""


def method(config: Config) -> str:
    """A key of NAMES."""
    if config.algorithm == "siamese":
        return f"siamese {config.objective}"
    if config.algorithm == "maml":
        return "fomaml" if config.first_order else "maml pooled" if config.network == "pooled" and config.start else "maml"
    if config.algorithm == "protonet":
        return "protonet wide" if config.filters > Config.filters else "protonet"
    return config.algorithm


def wanted(config: Config, split: str, goes_on: Sequence[Config] = ()) -> list[Figure]:
    """The figures of a checkpoint that was trained by `config` on this split, and from which runs by `goes_on` started.

    A classifier serves as many classes as it was trained for, or fewer; and its own number of shots, but for Reptile of 20 classes, whose
    training does not know it. Metric methods have the statistics of batch normalisation that their papers have. What goes on by the same
    method on the same tasks and characters stands in the checkpoint's place.
    """
    if any((method(c), c.test_task, c.train_on_val) == (method(config), config.test_task, config.train_on_val) for c in goes_on):
        return []
    if split == "background":
        return [Figure(20, 1, config.bn_mode, "within an alphabet")]
    if config.algorithm == "siamese":
        return [Figure(way, 1, config.bn_mode, kind) for kind in ("", "fine-tuned") for way in (5, 20)]
    if config.algorithm in ANY_WAY:
        kinds = ["", "refined"] if config.algorithm == "protonet" and split == "random" else [""]
        return [Figure(*task, config.bn_mode, kind) for kind in kinds for task in TASKS]
    any_shot = config.algorithm == "reptile" and config.n_way > 5
    served = [task for task in TASKS if task[0] <= config.n_way and (any_shot or task[1] == config.k_spt)]
    return [*(Figure(*task, bn, "") for task in served for bn in MODES),
            *(Figure(*task, "transductive", kind) for task in served for kind in helpful(config, *task))]


def helpful(config: Config, n_way: int, k_spt: int) -> list[str]:
    """The kinds of predictions that are better than the plain ones on validation characters (benchmarks/experiments.md)."""
    if n_way > 5:
        return []
    return ["distorted support"] if k_spt == 1 else ["five inner steps"] if config.algorithm == "maml" and not config.first_order else []


def queries(config: Config, bn: str) -> int:
    """A class, in tests: of inductive Reptile 1, as in its paper, for each goes through the network with all of the support."""
    return 1 if config.algorithm == "reptile" and bn == "inductive" else 15


def together(config: Config, figures: list[Figure]) -> list[list[Figure]]:
    """Groups of what one call of evaluate.py measures: both modes of batch normalisation, for which the weights adapt once."""
    groups: dict[tuple, list[Figure]] = {}
    for figure in figures:
        groups.setdefault((figure._replace(bn=""), queries(config, figure.bn)), []).append(figure)
    return list(groups.values())


def measure(path: Path, folders: list[str], tasks: int, modes: list[str]) -> None:
    """Measure a checkpoint on test characters, but for what was measured of the same weights on as many tasks, and write it beside it."""
    model, report_path = trained.read(path), path.with_suffix(".json")
    split = model.state["data"]["split"]
    data = next((folder for folder in folders if omniglot.read_index(folder).split == split), None)
    if data is None:
        raise errors.UserError(f"{path}: was trained on the {split} split, which is not in {', '.join(folders)}; name its arrays by --data")
    report = {"method": method(model.config), "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
              "train_on_val": model.config.train_on_val, "trained_seconds": round(model.state["seconds"]), "epoch": model.state["epoch"],
              "validation": model.state["best"]["accuracy"], "seed": model.config.seed, "measured_on": machine()}
    configs = [trained.read(other).config for other in path.parent.glob("*.pkl")]
    figures, results = wanted(model.config, split, [c for c in configs if Path(c.start).name == path.name]), {}
    known = json.loads(report_path.read_text(encoding="utf-8")) if report_path.exists() else {"sha256": "", "results": []}
    if known["sha256"] == report["sha256"]:
        results = {figure: result for result in known["results"] if (figure := figure_of(result)) in figures}
    def write() -> None:
        text = json.dumps({**report, "results": list(results.values())}, indent=1, ensure_ascii=False) + "\n"
        files.write({report_path: lambda file: file.write(text.encode())})

    if len(results) < len(known["results"]):
        write()
    missing = [f for f in figures if f.bn in modes and (f not in results or results[f]["tasks"] < tasks)]
    for group in together(model.config, missing):
        for figure, result in zip(group, evaluated(model, data, group, tasks)):
            results[figure] = result
            print(f"{path.name}: {figure.n_way}-way {figure.k_spt}-shot {figure.bn} {figure.kind} {percent(result)}", flush=True)
        write()


def evaluated(model: trained.Trained, data: str, group: list[Figure], tasks: int) -> list[dict[str, Any]]:
    """What evaluate.py says of a checkpoint, for each figure of a group of `together`."""
    figure = group[0]
    command = [sys.executable, "evaluate.py", "--checkpoint", str(model.path), "--data", data, "--n_way", str(figure.n_way),
               "--k_spt", str(figure.k_spt), "--k_query", str(queries(model.config, figure.bn)),
               "--bn", "both" if len(group) > 1 else figure.bn, "--tasks", str(tasks), "--last_step", "--json", *KINDS[figure.kind]]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise errors.UserError(f"{model.path}: evaluate.py failed: {done.stderr.strip()}")
    return [{"kind": figure.kind, **json.loads(line)} for line in done.stdout.splitlines()]


def figure_of(result: dict[str, Any]) -> Figure:
    """What this result is of."""
    return Figure(*(result[key] for key in Figure._fields))


def percent(result: dict[str, Any]) -> str:
    """98.76 ± 0.12"""
    return f"{100 * result['accuracy']:.2f} ± {100 * result['interval']:.2f}"


def reports(folder: Path) -> Iterator[tuple[str, dict[str, Any], dict[Figure, dict[str, Any]]]]:
    """Name, contents and results of each JSON file in `folder`; what was measured on anything but Omniglot is left out."""
    for path in sorted(folder.glob("*.json")):
        report = json.loads(path.read_text(encoding="utf-8"))
        yield path.stem, report, {figure_of(result): result for result in report["results"] if result["data"] == "omniglot"}


def rows(folder: Path) -> list[list[str]]:
    """The cells of the table of the papers' methods, on the random split: a line for each task of each checkpoint."""
    found = []
    for name, report, results in reports(folder):
        by_row: dict[tuple[int, int, str], dict[str, Any]] = {}
        for (way, shot, bn, kind), result in results.items():
            if result["split"] == "random" and not has_more(report, result):
                by_row.setdefault((way, shot, kind), {})[bn] = result
        for (way, shot, kind), modes in by_row.items():
            shown = [modes[bn] for bn in MODES if bn in modes]
            found.append((list(NAMES).index(report["method"]), list(KINDS).index(kind), TASKS.index((way, shot)), name,
                          [label(report, kind), f"{way}-way {shot}-shot", "" if kind else PUBLISHED[report["method"]].get((way, shot), ""),
                           *(percent(modes[bn]) if bn in modes else "" for bn in MODES),
                           " / ".join(dict.fromkeys(f"{result['tasks']:,}" for result in shown)), "random", str(report["seed"]),
                           duration(report["trained_seconds"]), weights(name)]))
    return [cells for *_, cells in sorted(found)]


def has_more(report: dict[str, Any], result: dict[str, Any]) -> bool:
    """Whether this has more than its paper's method: an encoder to start from, a larger one, validation characters to train on, or another
    kind of predictions."""
    return report["method"] in MORE or report["train_on_val"] or result["kind"] not in ("", "fine-tuned")


def grid(folder: Path, columns: Sequence[tuple[int, int] | str], chosen: Callable[[dict[str, Any], dict[str, Any]], bool],
         published: bool = False) -> list[list[str]]:
    """The cells of a table with a column for each task, and for the kinds of predictions among `columns`, of the results that are `chosen`
    by report and result; `published`: with the papers' figures behind each method's first lines."""
    found: dict[tuple, dict[Any, Any]] = {}
    for name, report, results in reports(folder):
        for figure, result in results.items():
            if not chosen(report, result):
                continue
            column, kind = (figure.kind, "") if figure.kind in columns else ((figure.n_way, figure.k_spt), figure.kind)
            bn = "transductive" if "refine" in result else figure.bn  # what queries refined is transductive as well
            key = list(NAMES).index(report["method"]), report["train_on_val"], list(KINDS).index(kind), MODES.index(bn)
            taken = sum(column in line for place, line in found.items() if place[:-1] == key)  # by other weights, in lines of their own
            line = found.setdefault((*key, taken), {"method": label(report, kind), "bn": bn})
            line[column] = percent(result) + (f" ({result['tasks']:,} tasks)" if result["tasks"] < TEST_TASKS else "")
            line.setdefault("weights", {})[name] = f"{weights(name)} {duration(report['trained_seconds'])}"
    for line in found.values():
        line["weights"] = ", ".join(line["weights"].values())
    for method, name in enumerate(NAMES):
        if published and PUBLISHED[name] and any(place[0] == method for place in found):
            found[method, False, len(KINDS)] = {"method": f"{NAMES[name]}, published", **PUBLISHED[name]}
    return [[found[place].get(column, "") for column in ["method", "bn", *columns, "weights"]] for place in sorted(found)]


def label(report: dict[str, Any], kind: str) -> str:
    """The method's name, whether the weights are of more characters than those of the other rows, and the kind of predictions."""
    return ", ".join([NAMES[report["method"]], *["trained on validation characters too"] * report["train_on_val"], *[kind] * bool(kind)])


def weights(name: str) -> str:
    """A link to a checkpoint."""
    return f"[{name}](checkpoints/{name}.pkl)"


def rewrite(readme: Path, folder: Path) -> str:
    """The text of `readme` with its tables made anew."""
    text = readme.read_text(encoding="utf-8")
    within = "within an alphabet"
    tables = [rows(folder), grid(folder, TASKS, lambda report, result: result["split"] == "random" and has_more(report, result)),
              grid(folder, [*TASKS, within], lambda report, result: result["split"] != "random", published=True)]
    for begin, columns, cells in zip(BEGINS, READMES[readme.name], tables):
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(END)
        lines = [columns, ["---"] * len(columns), *cells]
        text = before + begin + "\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n" + END + after
    return text


def main() -> None:
    parser = errors.Parser(__doc__, "example:\n  python -m maml.table --tasks 10000 --data . data/vinyals", prog="python -m maml.table")
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"), metavar="DIR", help="(default: %(default)s)")
    parser.add_argument("--data", nargs="+", default=["."], metavar="DIR",
                        help="folders with make_data.py's arrays, one for each split (default: the current one)")
    parser.add_argument("--tasks", type=int, default=TEST_TASKS, metavar="INT", help="test tasks for each figure (default: %(default)s)")
    parser.add_argument("--bn", nargs="+", choices=MODES, default=MODES, help="modes of batch normalisation (default: both)")
    parser.add_argument("--only-write", action="store_true", help="measure nothing, write the tables from the stored results")
    parser.add_argument("names", nargs="*", help="checkpoints to measure (default: all)")
    arguments = parser.parse_args()
    if not arguments.only_write:
        for path in [arguments.checkpoints / f"{name}.pkl" for name in arguments.names] or sorted(arguments.checkpoints.glob("*.pkl")):
            measure(path, arguments.data, arguments.tasks, arguments.bn)
    for name in READMES:
        Path(name).write_text(rewrite(Path(name), arguments.checkpoints), encoding="utf-8")


if __name__ == "__main__":
    errors.run(main)
