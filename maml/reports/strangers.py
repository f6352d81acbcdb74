"""The table of strangers: how well each method tells what is none of the classes."""

from __future__ import annotations

from pathlib import Path

from maml.classifier.judged import TASKS, Judged, Strangers, read_records
from maml.reports.results import read_reports

MARKER = "none of these"
HEADERS = {
    "en": (
        "method",
        "task",
        "area under the curve",
        "strangers refused, %",
        "members lost, %",
        "calibration error, %",
        "members",
        "weights",
    ),
    "zh": (
        "方法",
        "任务",
        "曲线下面积",
        "拒绝的陌生图，%",
        "误拒的成员，%",
        "校准误差，%",
        "成员数",
        "权重",
    ),
}
METHODS = {
    "protonet": "Prototypical Networks",
    "matching": "Matching Networks",
    "siamese": "Siamese",
    "maml": "MAML",
    "reptile": "Reptile",
}


def format_strangers(folder: Path, language: str, root: str) -> str:
    """Return the table as Markdown; `root` is the way from the document to the project's folder."""
    method_of = {name: report["method"].split()[0] for name, report in read_reports(folder)}
    best: dict[tuple, tuple[Judged, str, Strangers]] = {}
    for name, record in read_records(folder).items():
        judged = {j[:2]: j for j in record.judged}
        method = method_of.get(name, "").replace("fomaml", "maml")
        for told in record.strangers:
            place, found = (method, told[:2]), judged[told[:2]]
            if place not in best or found.accuracy > best[place][0].accuracy:
                best[place] = found, name, told
    lines = [HEADERS[language], ("---",) * len(HEADERS[language])]
    for method, title in METHODS.items():
        for task in TASKS:
            if (method, task) in best:
                _, name, told = best[method, task]
                lines.append(_row(title, name, told, root))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _row(title: str, name: str, told: Strangers, root: str) -> tuple[str, ...]:
    return (
        title,
        f"{told.way}-way {told.shot}-shot",
        f"{told.area:.4f}",
        f"{100 * told.refused:.1f}",
        f"{100 * told.lost:.1f}",
        f"{100 * told.error:.2f} ({100 * told.error_before:.2f})",
        f"{told.tasks * told.way:,}",
        f"[{name}]({root}checkpoints/{name}.pkl)",
    )
