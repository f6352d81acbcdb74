"""The tables of results in both READMEs: made from JSON files beside the checkpoints, never by
hand.

`python -m maml.table` measures what is not yet measured of every checkpoint, writes it beside it,
and rewrites the tables.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from maml.config import METRIC, MODES, Config
from maml.data.arrays import read_index
from maml.system import errors, files
from maml.system.progress import duration
from maml.training.checkpoint import Checkpoint, read

BEGINS = [
    f"<!-- {what}: made by make table -->"
    for what in ("results", "results with more", "results on other splits")
]
END = "<!-- end of results -->"
READMES = {  # what the columns are called
    "README.md": {
        "method": "method",
        "bn": "statistics",
        "within an alphabet": "within an alphabet",
        "weights": "weights, time, processor",
    },
    "README_zh.md": {
        "method": "方法",
        "bn": "统计量",
        "within an alphabet": "同一字母表内",
        "weights": "权重，训练时长，处理器",
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
PUBLISHED = {  # %, of the papers, whose protocols README tells
    "maml": [
        {
            "bn": "transductive",
            (5, 1): "98.7 ± 0.4",
            (5, 5): "99.9 ± 0.1",
            (20, 1): "95.8 ± 0.3",
            (20, 5): "98.9 ± 0.2",
        }
    ],
    "fomaml": [
        {
            "bn": "transductive",
            (5, 1): "98.3 ± 0.5",
            (5, 5): "99.2 ± 0.2",
            (20, 1): "89.4 ± 0.5",
            (20, 5): "97.9 ± 0.1",
        }
    ],
    "reptile": [
        {
            "bn": "transductive",
            (5, 1): "97.68 ± 0.04",
            (5, 5): "99.48 ± 0.06",
            (20, 1): "89.43 ± 0.14",
            (20, 5): "97.12 ± 0.32",
        },
        {
            "bn": "inductive",
            (5, 1): "95.39 ± 0.09",
            (5, 5): "98.90 ± 0.10",
            (20, 1): "88.14 ± 0.15",
            (20, 5): "96.65 ± 0.33",
        },
    ],
    "protonet": [
        {
            "bn": "inductive",
            (5, 1): "98.8",
            (5, 5): "99.7",
            (20, 1): "96.0",
            (20, 5): "98.9",
            "within an alphabet": "86.3",
        }
    ],
    "matching": [{(5, 1): "98.1", (5, 5): "98.9", (20, 1): "93.8", (20, 5): "98.5"}],
    # Matching Networks' baseline, and Koch's own network
    "siamese pairs": [{(5, 1): "96.7", (20, 1): "88.0", "within an alphabet": "92.0"}],
}
STAGES = {
    "maml_pooled_20w1s"
}  # checkpoints whose successor, by the same method on the same tasks, is in the table
TEST_TASKS = 10_000  # for each figure
MORE = {"maml pooled", "protonet wide"}  # methods with an encoder to start from, or a larger one
TASKS = [(5, 1), (5, 5), (20, 1), (20, 5)]
KINDS = {
    "": [],
    "fine-tuned": ["--finetune", "20"],
    "refined": ["--refine", "3", "--distortions_test", "8"],
    "distorted support": ["--distortions_test", "8"],
    "five inner steps": ["--inner_steps_test", "5"],
    "within an alphabet": ["--within-alphabet"],
}  # what the predictions come from beside the checkpoint: flags of evaluate.py


class Measurement(NamedTuple):
    """What is measured of a checkpoint."""

    way: int
    shot: int
    bn: str
    kind: str
    """a key of KINDS"""


def method(config: Config) -> str:
    """A key of NAMES."""
    if config.algorithm == "siamese":
        return f"siamese {config.objective}"
    if config.algorithm == "maml":
        return (
            "fomaml"
            if config.first_order
            else "maml pooled"
            if config.network == "pooled" and config.start
            else "maml"
        )
    if config.algorithm == "protonet":
        return "protonet wide" if config.filters > Config.filters else "protonet"
    return config.algorithm


def wanted(config: Config, split: str) -> list[Measurement]:
    """The figures of a checkpoint that was trained by `config` on this split.

    A classifier serves as many classes as it was trained for, or fewer; and its own number of
    shots, but for Reptile's, whose training does not know it: that of 20 classes serves any. Metric
    methods, and classifiers that were trained on validation characters too, have the statistics of
    batch normalisation of their papers alone.
    """
    if split == "background":
        return [Measurement(20, 1, config.bn_mode, "within an alphabet")]
    if config.algorithm == "siamese":
        return [
            Measurement(way, 1, config.bn_mode, kind)
            for kind in ("", "fine-tuned")
            for way in (5, 20)
        ]
    if config.algorithm in METRIC:
        kinds = ["", "refined"] if config.algorithm == "protonet" and split == "random" else [""]
        return [Measurement(*task, config.bn_mode, kind) for kind in kinds for task in TASKS]
    any_shot = config.algorithm == "reptile" and config.way > 5
    served = [
        task for task in TASKS if task[0] <= config.way and (any_shot or task[1] == config.shot)
    ]
    modes = [config.bn_mode] if config.train_on_val else MODES
    return [
        *(Measurement(*task, bn, "") for task in served for bn in modes),
        *(
            Measurement(*task, "transductive", kind)
            for task in served
            for kind in helpful(config, *task)
        ),
    ]


def helpful(config: Config, way: int, shot: int) -> list[str]:
    """The kinds of predictions that are better than the plain ones on validation characters, at
    five classes (benchmarks/experiments.md).

    Of first-order MAML and of weights of five classes, which those of 20 excel in this, they are
    left out to keep the table short.
    """
    if way > 5 or config.way == 5 or config.first_order:
        return []
    return (
        ["distorted support"]
        if shot == 1
        else ["five inner steps"]
        if config.algorithm == "maml"
        else []
    )


def queries_per_class(config: Config, bn: str) -> int:
    """In tests: of inductive Reptile 1, as in its paper, for each goes through the network with all
    of the support.
    """
    return 1 if config.algorithm == "reptile" and bn == "inductive" else 15


def together(config: Config, figures: list[Measurement]) -> list[list[Measurement]]:
    """Groups of what one call of evaluate.py measures: both modes of batch normalisation, for which
    the weights adapt once.
    """
    groups: dict[tuple, list[Measurement]] = {}
    for figure in figures:
        groups.setdefault(
            (figure._replace(bn=""), queries_per_class(config, figure.bn)), []
        ).append(figure)
    return list(groups.values())


def measure(path: Path, folders: list[str], tasks: int, modes: list[str]) -> None:
    """Measure a checkpoint on test characters, but for what was measured of the same weights on as
    many tasks, and write it beside it.

    What was measured of other weights is kept until there is a figure of these.
    """
    model, report_path = read(path), path.with_suffix(".json")
    split, digest = model.data.split, hashlib.sha256(path.read_bytes()).hexdigest()
    known = json.loads(report_path.read_text(encoding="utf-8")) if report_path.exists() else {}
    known = known if known.get("sha256") == digest else {"results": []}  # of the same weights
    report = {
        "method": method(model.config),
        "sha256": digest,
        "train_on_val": model.config.train_on_val,
        "trained_seconds": round(model.seconds),
        "trained_on": model.machine or known.get("trained_on", ""),
        "epoch": model.iteration,
        "validation": model.accuracy,
        "seed": model.config.seed,
    }
    figures = wanted(model.config, split) if path.stem not in STAGES else []
    results = {
        figure: result for result in known["results"] if (figure := figure_of(result)) in figures
    }

    def write() -> None:
        text = (
            json.dumps({**report, "results": list(results.values())}, indent=1, ensure_ascii=False)
            + "\n"
        )
        files.write({report_path: lambda file: file.write(text.encode())})

    missing = [
        f
        for f in figures
        if f.bn in modes
        and not (
            f in results
            and results[f]["tasks"] >= tasks
            and results[f]["query"] == queries_per_class(model.config, f.bn)
        )
    ]
    if not missing:
        return write()
    data = next((folder for folder in folders if read_index(folder).split == split), None)
    if data is None:
        raise errors.UserError(
            f"{path}: was trained on the {split} split, which is not in {', '.join(folders)}; name"
            " its arrays by --data"
        )
    for group in together(model.config, missing):
        for result in evaluated(model, data, group, tasks):
            figure = figure_of(result)
            results[figure] = result
            print(
                f"{path.name}: {figure.way}-way {figure.shot}-shot {figure.bn} {figure.kind}"
                f" {percent(result)}",
                flush=True,
            )
        write()


def evaluated(
    model: Checkpoint, data: str, group: list[Measurement], tasks: int
) -> list[dict[str, Any]]:
    """What evaluate.py says of a checkpoint, for each figure of a group of `together`."""
    figure = group[0]
    command = [
        sys.executable,
        "evaluate.py",
        "--checkpoint",
        str(model.path),
        "--data",
        data,
        "--way",
        str(figure.way),
        "--shot",
        str(figure.shot),
        "--query",
        str(queries_per_class(model.config, figure.bn)),
        "--bn",
        "both" if len(group) > 1 else figure.bn,
        "--tasks",
        str(tasks),
        "--last_step",
        "--json",
        *KINDS[figure.kind],
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise errors.UserError(f"{model.path}: evaluate.py failed: {done.stderr.strip()}")
    return [{"kind": figure.kind, **json.loads(line)} for line in done.stdout.splitlines()]


def figure_of(result: dict[str, Any]) -> Measurement:
    """What this result is of."""
    return Measurement(*(result[key] for key in Measurement._fields))


def percent(result: dict[str, Any]) -> str:
    """98.76 ± 0.12"""
    return f"{100 * result['accuracy']:.2f} ± {100 * result['interval']:.2f}"


def reports(
    folder: Path,
) -> Iterator[tuple[str, dict[str, Any], dict[Measurement, dict[str, Any]]]]:
    """Name, contents and results of each JSON file in `folder`; what was measured on anything but
    Omniglot is left out.
    """
    for path in sorted(folder.glob("*.json")):
        report = json.loads(path.read_text(encoding="utf-8"))
        yield (
            path.stem,
            report,
            {
                figure_of(result): result
                for result in report["results"]
                if result["data"] == "omniglot"
            },
        )


def has_more(report: dict[str, Any], result: dict[str, Any]) -> bool:
    """Whether this has more than its paper's method: an encoder to start from, a larger one,
    validation characters to train on, or another kind of predictions.
    """
    return (
        report["method"] in MORE
        or report["train_on_val"]
        or result["kind"] not in ("", "fine-tuned")
    )


def rows(
    folder: Path,
    columns: Sequence[tuple[int, int] | str],
    chosen: Callable[[dict[str, Any], dict[str, Any]], bool],
    published: bool,
) -> list[dict[Any, str]]:
    """A table of the results that are `chosen` by report and result: for each row "method", "bn",
    "weights" and the cells of `columns`, tasks and kinds of predictions; `published`: with the
    papers' figures behind each method's own.
    """
    found: dict[tuple, dict[Any, str]] = {}
    for name, report, results in reports(folder):
        own: dict[tuple, dict[Any, str]] = {}
        for figure, result in results.items():
            if not chosen(report, result):
                continue
            column, kind = (
                (figure.kind, "")
                if figure.kind in columns
                else ((figure.way, figure.shot), figure.kind)
            )
            bn = (
                "transductive" if "refine" in result else figure.bn
            )  # what queries refined is transductive as well
            place = (
                list(NAMES).index(report["method"]),
                report["train_on_val"],
                list(KINDS).index(kind),
                MODES.index(bn),
            )
            row = own.setdefault(
                place, {"method": label(report, kind), "bn": bn, "weights": weights(name, report)}
            )
            row[column] = percent(result) + (
                "" if result["tasks"] == TEST_TASKS else f" ({result['tasks']:,} tasks)"
            )
        for (
            place,
            row,
        ) in own.items():  # beside another checkpoint's of other tasks, where there is one
            free = next(
                n
                for n in itertools.count()
                if not set(columns) & row.keys() & found.get((*place, n), {}).keys()
            )
            there = found.get((*place, free))
            found[(*place, free)] = (
                {**there, **row, "weights": f"{there['weights']}, {row['weights']}"}
                if there
                else row
            )
    for index, name in enumerate(NAMES):
        if published and any(place[0] == index for place in found):
            for n, figures in enumerate(PUBLISHED.get(name, [])):
                found[index, False, len(KINDS), n] = {
                    "method": f"{NAMES[name]}, published",
                    **figures,
                }
    return [found[place] for place in sorted(found)]


def label(report: dict[str, Any], kind: str) -> str:
    """The method's name, whether the weights are of more characters than those of the other rows,
    and the kind of predictions.
    """
    return ", ".join(
        [
            NAMES[report["method"]],
            *["trained on validation characters too"] * report["train_on_val"],
            *[kind] * bool(kind),
        ]
    )


def weights(name: str, report: dict[str, Any]) -> str:
    """A link to a checkpoint, how long it was trained, and on which processor:
    "[a](checkpoints/a.pkl) 1:29:34 AMD EPYC".
    """
    processor = (
        report.get("trained_on", "")
        .partition(",")[0]
        .replace("(R)", "")
        .replace("(TM)", "")
        .removesuffix(" Processor")
    )
    seconds = duration(report["trained_seconds"])
    return f"[{name}](checkpoints/{name}.pkl) {seconds} {processor}".rstrip()


def rewrite(readme: Path, folder: Path) -> str:
    """The text of `readme` with its tables made anew."""
    text = readme.read_text(encoding="utf-8")
    called = {
        **{(way, shot): f"{way}-way {shot}-shot" for way, shot in TASKS},
        **READMES[readme.name],
    }
    tables = [
        (
            TASKS,
            True,
            lambda report, result: result["split"] == "random" and not has_more(report, result),
        ),
        (
            TASKS,
            False,
            lambda report, result: result["split"] == "random" and has_more(report, result),
        ),
        ([*TASKS, "within an alphabet"], True, lambda report, result: result["split"] != "random"),
    ]
    for begin, (columns, published, chosen) in zip(BEGINS, tables):
        keys = ["method", "bn", *columns, "weights"]
        cells = [
            [called[key] for key in keys],
            ["---"] * len(keys),
            *(
                [row.get(key, "") for key in keys]
                for row in rows(folder, columns, chosen, published)
            ),
        ]
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(END)
        text = (
            before
            + begin
            + "\n"
            + "\n".join(f"| {' | '.join(line)} |" for line in cells)
            + "\n"
            + END
            + after
        )
    return text
