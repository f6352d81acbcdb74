"""Omniglot's one-shot challenge: what is measured of weights that may take part, and the table.

Weights take part if their training saw background alphabets alone. Two errors are measured. The
first is on the 20 runs as published: 400 trials of 20-way 1-shot classification within an
evaluation alphabet, the support by one drawer and the queries by another one. The second is on
random runs of the same form, of all 20 evaluation alphabets, which are many.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maml.config import METRIC
from maml.data import challenge
from maml.data.arrays import read_arrays
from maml.data.splits import BACKGROUND
from maml.evaluation.options import TestOptions
from maml.reports.results import read_known, read_reports, write_report
from maml.system.processes import Processes
from maml.training.checkpoint import Checkpoint
from maml.training.leakage import find_split

if TYPE_CHECKING:
    from maml.networks.file import Builder

MARKER = "one-shot challenge"
COPIES = {"distortions_test": 8}
KINDS: dict[str, dict[str, Any]] = {  # what an answer comes from beside the weights
    "": {},
    "distorted copies": COPIES,
    "more copies": {"distortions_test": 24},
    "refined": {**COPIES, "refine": 3},
}
WORDS = {
    "en": {
        "header": "| weights | error on the 20 runs, % | error on 10,000 random runs, % |",
        "": "",
        "distorted copies": ", eight distorted copies",
        "more copies": ", 24 distorted copies",
        "refined": ", eight distorted copies, refined (transductive)",
    },
    "zh": {
        "header": "| 权重 | 20 次固定测试的错误率，% | 10,000 次随机测试的错误率，% |",
        "": "",
        "distorted copies": "，每张图像加八份变形副本",
        "more copies": "，每张图像加 24 份变形副本",
        "refined": "，每张图像加八份变形副本，精化（直推）",
    },
}
PUBLISHED = (  # error, %, on the 20 runs (Lake, Salakhutdinov & Tenenbaum 2015 and 2019)
    (3.3, {"en": "Bayesian Program Learning, published", "zh": "贝叶斯程序学习（BPL），论文"}),
    (4.5, {"en": "people, published", "zh": "人类，论文"}),
    (7.3, {"en": "Recursive Cortical Network, published", "zh": "递归皮层网络（RCN），论文"}),
    (8.0, {"en": "Koch's Siamese network, published", "zh": "Koch 的孪生网络，论文"}),
    (13.7, {"en": "Prototypical Networks, published", "zh": "原型网络，论文"}),
)

Outcome = dict[str, Any]
"""kind, error, interval, runs (the error of each), random_error, random_interval, tasks"""


def takes_part(trained: Checkpoint) -> bool:
    """Return whether weights were trained on background alphabets alone."""
    return trained.data.source == "omniglot" and trained.data.split in BACKGROUND


def measure_challenge(
    trained: Checkpoint,
    runs: str | Path,
    folders: Sequence[str],
    tasks: int,
    builder: Builder | None = None,
) -> list[Outcome]:
    """Measure weights on the runs and on random runs, in each way that suits their method.

    What the JSON file beside the weights has of them is not measured again; where there is such a
    file, or the network is the user's own, it keeps what is new.

    Args:
        trained (Checkpoint): the weights.
        runs (str | Path): all_runs.zip, or its folder.
        folders (Sequence[str]): folders with arrays of background splits, one for each size.
        tasks (int): the number of random runs.
        builder (Builder | None): the network's file, where it is of the user's own.

    Raises:
        UserError: if no folder has these weights' split in images of their size.
    """
    path = trained.path.with_suffix(".json")
    report = read_known(path, hashlib.sha256(trained.path.read_bytes()).hexdigest())
    known = {o["kind"]: o for o in report.get("challenge", []) if o["tasks"] >= tasks}
    metric, refines = trained.config.algorithm in METRIC, trained.config.algorithm == "protonet"
    kinds = [k for k, c in KINDS.items() if (metric or not c) and (refines or "refine" not in c)]
    if missing := [kind for kind in kinds if kind not in known]:
        found = _measure(trained, missing, runs, find_split(trained, folders), tasks, builder)
        known.update({outcome["kind"]: outcome for outcome in found})
        if builder or (path.exists() and "method" in report):
            write_report(path, {**report, "challenge": [known[kind] for kind in kinds]})
    return [known[kind] for kind in kinds]


def _measure(
    trained: Checkpoint,
    kinds: Sequence[str],
    runs: str | Path,
    folder: str,
    tasks: int,
    builder: Builder | None,
) -> list[Outcome]:
    from maml.classifier import measure  # PaddlePaddle takes seconds to import

    fixed = challenge.read(runs, trained.data.image_size)
    arrays, index = read_arrays(folder)
    found = []
    for kind in kinds:
        options = TestOptions(way=challenge.way(runs), shot=1, query=1, **KINDS[kind])
        once = measure.one_shot_challenge([trained], options, fixed, builder)
        (random,) = measure.random_tasks(
            [trained],
            options,
            arrays,
            index,
            part="test",
            tasks=tasks,
            seed=0,
            within_alphabet=True,
            two_drawers=True,
            processes=Processes(),
            progress=iter,
            every_step=False,
            builder=builder,
        ).reports
        found.append(
            {
                "kind": kind,
                **{key: once[key] for key in ("error", "interval", "runs")},
                "random_error": round(1 - random["accuracy"], 6),
                "random_interval": random["interval"],
                "tasks": tasks,
            }
        )
    return found


def stored(*folders: Path) -> dict[str, list[Outcome]]:
    """Return what the JSON files in `folders` have of the challenge, by the name of the weights."""
    reports = [pair for folder in folders for pair in read_reports(folder)]
    return {name: r["challenge"] for name, r in reports if "challenge" in r}


def format_challenge(found: dict[str, list[Outcome]], language: str = "en") -> str:
    """Return the table as Markdown, the lowest error on the 20 runs first."""
    words = WORDS[language]
    rows = [(error / 100, names[language], f"{error:.1f}", "") for error, names in PUBLISHED]
    for name, outcomes in found.items():
        for o in outcomes:
            fixed = _percent(o["error"], o["interval"])
            random = _percent(o["random_error"], o["random_interval"])
            rows.append((o["error"], f"`{name}`{words[o['kind']]}", fixed, random))
    rows.sort(key=lambda row: row[0])
    lines = [words["header"], "| --- | --- | --- |"]
    return "\n".join(lines + [f"| {' | '.join(cells)} |" for _, *cells in rows])


def _percent(error: float, interval: float | None) -> str:
    return f"{100 * error:.2f}" + ("" if interval is None else f" ± {100 * interval:.2f}")
