"""The table of results in both READMEs: made from JSON files beside the checkpoints, never by hand.

`python -m maml.table` measures every checkpoint, writes what it found beside it, and rewrites the tables.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from maml import errors, trained
from maml.config import ANY_WAY, Config
from maml.progress import duration
from maml.runtime import machine

BEGIN, END = "<!-- results: made by make table -->", "<!-- end of results -->"
READMES = {"README.md": ["method", "task", "published", "ours, transductive", "ours, inductive", "tasks", "split", "seed", "trained for",
                         "weights"],
           "README_zh.md": ["方法", "任务", "论文", "本项目，直推", "本项目，归纳", "任务数", "划分", "种子", "训练时长", "权重"]}
NAMES = {"maml": "MAML", "fomaml": "FOMAML", "reptile": "Reptile", "protonet": "Prototypical Networks", "matching": "Matching Networks",
         "siamese pairs": "Siamese, pairs", "siamese triplets": "Siamese, triplets"}
PUBLISHED = {  # %, of the papers, whose protocols README tells
    "maml": {(5, 1): "98.7 ± 0.4", (5, 5): "99.9 ± 0.1", (20, 1): "95.8 ± 0.3", (20, 5): "98.9 ± 0.2"},
    "fomaml": {(5, 1): "98.3 ± 0.5", (5, 5): "99.2 ± 0.2", (20, 1): "89.4 ± 0.5", (20, 5): "97.9 ± 0.1"},
    "reptile": {(5, 1): "97.68 ± 0.04", (5, 5): "99.48 ± 0.06", (20, 1): "89.43 ± 0.14", (20, 5): "97.12 ± 0.32"},
    "protonet": {(5, 1): "98.8", (5, 5): "99.7", (20, 1): "96.0", (20, 5): "98.9"},
    "matching": {(5, 1): "98.1", (5, 5): "98.9", (20, 1): "93.8", (20, 5): "98.5"},
    "siamese pairs": {(5, 1): "96.7", (20, 1): "88.0"},  # Matching Networks' baseline
    "siamese triplets": {},
}
MODES = ["transductive", "inductive"]
ANY_WAY_TASKS = [(5, 1), (5, 5), (20, 1), (20, 5)]
ONE_SHOT_TASKS = [(5, 1), (20, 1)]
FINETUNE = ["--finetune", "20"]
QUERIES = 15  # a class


def method(config: Config) -> str:
    """A key of NAMES."""
    if config.algorithm == "siamese":
        return f"siamese {config.objective}"
    return "fomaml" if config.algorithm == "maml" and config.first_order else config.algorithm


def tasks_of(config: Config) -> list[tuple[int, int]]:
    """Way and shot of the tasks that a checkpoint of `config` is measured on."""
    if config.algorithm == "siamese":
        return ONE_SHOT_TASKS
    return ANY_WAY_TASKS if config.algorithm in ANY_WAY else [(config.n_way, config.k_spt)]


def measure(path: Path, data: str, tasks: int, modes: list[str]) -> dict[str, Any]:
    """All results of a checkpoint on test characters, in these modes of batch normalisation, and where its weights come from."""
    model = trained.read(path)
    results = []
    for way, shot in tasks_of(model.config):
        for further in [[], FINETUNE] if model.config.algorithm == "siamese" else [[]]:
            for bn in modes:
                command = [sys.executable, "evaluate.py", "--checkpoint", str(path), "--data", data, "--n_way", str(way),
                           "--k_spt", str(shot), "--k_query", str(QUERIES), "--bn", bn, "--tasks", str(tasks), "--last_step", "--json"]
                done = subprocess.run([*command, *further], capture_output=True, text=True)
                if done.returncode:
                    raise errors.UserError(f"{path}: evaluate.py failed: {done.stderr.strip()}")
                results.append(json.loads(done.stdout))
                print(f"{path.name}: {way}-way {shot}-shot {bn} {' '.join([*further, percent(results[-1])])}", flush=True)
    return {"method": method(model.config), "trained_seconds": round(model.state["seconds"]), "epoch": model.state["epoch"],
            "validation": model.state["best"]["accuracy"], "seed": model.config.seed, "measured_on": machine(), "results": results}


def percent(result: dict[str, Any]) -> str:
    """98.76 ± 0.12"""
    return f"{100 * result['accuracy']:.2f} ± {100 * result['interval']:.2f}"


def rows(folder: Path) -> list[list[str]]:
    """The table's cells from the JSON files in `folder`."""
    found = []
    for path in sorted(folder.glob("*.json")):
        report = json.loads(path.read_text(encoding="utf-8"))
        by_task: dict[tuple[int, int, bool], dict[str, Any]] = {}
        for result in report["results"]:
            if result["data"] == "omniglot":  # what was measured on anything else never stands in this table
                by_task.setdefault((result["n_way"], result["k_spt"], "finetune" in result), {})[result["bn"]] = result
        for (way, shot, tuned), modes in by_task.items():
            one = next(iter(modes.values()))
            found.append((list(NAMES).index(report["method"]), tuned, way, shot,
                          [NAMES[report["method"]] + ", fine-tuned" * tuned, f"{way}-way {shot}-shot",
                           "" if tuned else PUBLISHED[report["method"]].get((way, shot), ""),
                           *(percent(modes[bn]) if bn in modes else "" for bn in MODES),
                           f"{one['tasks']:,}", one["split"], str(report["seed"]), duration(report["trained_seconds"]),
                           f"[{path.stem}](checkpoints/{path.stem}.pkl)"]))
    return [cells for *_, cells in sorted(found)]


def rewrite(readme: Path, header: list[str], folder: Path) -> str:
    """The text of `readme` with its table made anew."""
    text = readme.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    lines = [header, ["---"] * len(header), *rows(folder)]
    return before + BEGIN + "\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n" + END + after


def main() -> None:
    parser = errors.Parser(__doc__, "example:\n  python -m maml.table --tasks 10000", prog="python -m maml.table")
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"), metavar="DIR", help="(default: %(default)s)")
    parser.add_argument("--data", default=".", metavar="DIR", help="folder with make_data.py's arrays (default: the current one)")
    parser.add_argument("--tasks", type=int, default=10000, metavar="INT", help="test tasks for each figure (default: %(default)s)")
    parser.add_argument("--bn", nargs="+", choices=MODES, default=MODES, help="modes of batch normalisation (default: both)")
    parser.add_argument("--only-write", action="store_true", help="measure nothing, write the tables from the stored results")
    parser.add_argument("names", nargs="*", help="checkpoints to measure (default: all)")
    arguments = parser.parse_args()
    if not arguments.only_write:
        paths = [arguments.checkpoints / f"{name}.pkl" for name in arguments.names] or sorted(arguments.checkpoints.glob("*.pkl"))
        for path in paths:
            report = measure(path, arguments.data, arguments.tasks, arguments.bn)
            path.with_suffix(".json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for name, header in READMES.items():
        Path(name).write_text(rewrite(Path(name), header, arguments.checkpoints), encoding="utf-8")


if __name__ == "__main__":
    errors.run(main)
