"""What is measured of each checkpoint, and the JSON file beside it that keeps the results.

A result is bound to its weights by their SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from maml.classifier.judged import INDEX_FILE
from maml.config import METRIC, MODES, Config
from maml.data.splits import BACKGROUND
from maml.system import files
from maml.system.errors import UserError
from maml.training.checkpoint import Checkpoint, read
from maml.training.leakage import find_split

Task = tuple[int, int]
"""way and shot"""
Report = dict[str, Any]
"""the JSON beside a checkpoint"""
Result = dict[str, Any]
"""what evaluate.py says of one measurement, and its kind"""

PROJECT = Path(__file__).resolve().parent.parent.parent
TASKS: list[Task] = [(5, 1), (5, 5), (20, 1), (20, 5)]
TEST_TASKS = 10_000  # for each measurement
STAGES = {"maml_pooled_20w1s", "maml_1100_5w1s", "fomaml_20w1s"}
"""weights whose successors have rows for the same tasks"""
KINDS = {  # what predictions come from beside the checkpoint, as flags of evaluate.py
    "": [],
    "fine-tuned": ["--finetune", "20"],
    "refined": ["--refine", "3", "--distortions_test", "8"],
    "distorted support": ["--distortions_test", "8"],
    "five inner steps": ["--inner_steps_test", "5"],
    "two runs averaged": [],
    "within an alphabet": ["--within-alphabet"],
}
AVERAGED = {
    "maml_plus_plus_tempered_20w1s": ["maml_plus_plus_protonet_20w1s"],
    "maml_plus_plus_tempered_20w5s": ["maml_plus_plus_protonet_20w5s"],
}
"""weights, and the other runs of the same method that their predictions are averaged with"""


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
        tempered = " tempered" if config.temperature != 1 else ""
        return "protonet" + tempered + (" wide" if config.filters > Config.filters else "")
    if config.algorithm == "maml" and config.first_order:
        return "fomaml"
    if config.per_step_norm or config.multi_step_loss:
        return "maml++ pooled" if config.network == "pooled" and config.start else "maml++"
    if config.algorithm == "maml" and config.network == "pooled" and config.start:
        return "maml pooled"
    if config.algorithm == "maml" and config.temperature != 1:
        return "maml tempered"
    return config.algorithm


def list_wanted(config: Config, split: str) -> list[Measurement]:
    """Return what is measured of a checkpoint that was trained by `config` on this split.

    A classifier serves the number of classes that it was trained for, or fewer, and its own number
    of shots. Reptile's training does not know the shots, so its 20-way weights serve
    any number. Metric methods, and weights that were trained on validation characters too, are
    measured with the batch statistics of their papers only.
    """
    if split in BACKGROUND:
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
    improved = served if split == "random" else []  # the table of other splits has no such rows
    extras = [(task, kind) for task in improved for kind in list_extras(config, *task)]
    return plain + [Measurement(*task, "transductive", kind) for task, kind in extras]


def list_extras(config: Config, way: int, shot: int) -> list[str]:
    """Return the kinds of predictions that beat the plain ones on validation characters.

    They help with five classes (benchmarks/experiments.md). To keep the table short, the weights
    that do better here have them alone: those of 20 classes, of first-order MAML those of five.
    """
    best = config.way == 5 if config.first_order else config.way > 5
    if way > 5 or not best:
        return []
    if shot == 1:
        return ["distorted support"]
    return ["five inner steps"] if config.algorithm == "maml" and not config.first_order else []


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

    A result of the same weights on that number of tasks, or more, is not measured again. Results
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
    others = [path.with_name(f"{other}.pkl") for other in AVERAGED.get(path.stem, [])]
    if others:
        plain = [one for one in wanted if one.bn == trained.config.bn_mode and not one.kind]
        wanted += [one._replace(kind="two runs averaged") for one in plain]
    members = {other.stem: hashlib.sha256(other.read_bytes()).hexdigest() for other in others}
    results = {one: r for r in known["results"] if (one := measurement_of(r)) in wanted}
    report = {
        "method": name_method(trained.config),
        "sha256": known["sha256"],
        "train_on_val": trained.config.train_on_val,
        "start": Path(trained.config.start).stem,
        "trained_seconds": round(trained.seconds),
        "core_seconds": round(trained.core_seconds),
        "tasks_seen": trained.iteration * trained.config.meta_batch_size,
        "trained_on": trained.machine or known.get("trained_on", ""),
        "epoch": trained.iteration,
        "validation": trained.accuracy,
        "seed": trained.config.seed,
    }

    further = {"challenge": known["challenge"]} if "challenge" in known else {}

    def write() -> None:
        write_report(report_path, {**report, "results": list(results.values()), **further})

    def is_measured(one: Measurement) -> bool:
        queries = count_queries(trained.config, one.bn)
        found = results.get(one)
        if found is None or found["tasks"] < tasks or found["query"] != queries:
            return False
        return one.kind != "two runs averaged" or found["members"] == members

    missing = [one for one in wanted if one.bn in modes and not is_measured(one)]
    if not missing:
        return write()
    data = find_split(trained, folders)
    for group in group_by_call(trained.config, missing):
        for result in evaluate(trained, data, group, tasks, others):
            one = measurement_of(result)
            results[one] = {**result, "members": members} if "averaged" in result else result
            what = f"{one.way}-way {one.shot}-shot {one.bn} {one.kind}"
            print(f"{path.name}: {what} {format_accuracy(result)}", flush=True)
        write()


def write_report(path: Path, report: Report) -> None:
    """Write a report beside its checkpoint, whole or not at all."""
    text = json.dumps(report, indent=1, ensure_ascii=False) + "\n"
    files.write({path: lambda file: file.write(text.encode())})


def read_known(path: Path, sha256: str) -> Report:
    """Return the report at `path`, or one without results where it is of other weights."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return known if known.get("sha256") == sha256 else {"sha256": sha256, "results": []}


def evaluate(
    trained: Checkpoint,
    data: str,
    group: Sequence[Measurement],
    tasks: int,
    others: Sequence[Path] = (),
) -> list[Result]:
    """Call evaluate.py for a group of `group_by_call`, and return a result for each member.

    Where the group is of averaged predictions, `others` are the other checkpoints.
    """
    one = group[0]
    checkpoints = [trained.path, *(others if one.kind == "two runs averaged" else [])]
    flags = {
        "--data": data,
        "--way": one.way,
        "--shot": one.shot,
        "--query": count_queries(trained.config, one.bn),
        "--bn": "both" if len(group) > 1 else one.bn,
        "--tasks": tasks,
    }
    stated = [str(part) for flag in flags.items() for part in flag]
    stated += ["--checkpoint", *map(str, checkpoints)]
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
        if path.name == INDEX_FILE:
            continue
        report = json.loads(path.read_text(encoding="utf-8"))
        report["results"] = [r for r in report["results"] if r["data"] == "omniglot"]
        yield path.stem, report


def format_accuracy(result: Result) -> str:
    """Return "98.76 ± 0.12"."""
    return f"{100 * result['accuracy']:.2f} ± {100 * result['interval']:.2f}"
