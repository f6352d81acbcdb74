"""Measure what is not yet measured of each checkpoint, write it beside the checkpoint, judge all
checkpoints on the same validation tasks, and write the generated tables of README and docs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from maml.config import MODES
from maml.reports import cost, plots, results, settings, table
from maml.system import device, errors, files
from maml.system.progress import watched

QUERIES = 5000

EXAMPLE = """examples:
  python -m maml table maml_5w1s --data . data/maml data/background data/background42 data/vinyals
  python -m maml table --only-write
  python -m maml table --only-write --figure docs/cost.png
  python -m maml table --only-judge --checkpoints checkpoints/own
      lets your own runs refuse what is none of their classes, see docs/classifier.md
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Read the flags, measure, and write the documents."""
    parser = errors.Parser(__doc__ or "", EXAMPLE)
    parser.add_argument(
        "--checkpoints",
        type=Path,
        default=Path("checkpoints"),
        metavar="DIR",
        help="folder with the weights (default: %(default)s)",
    )
    parser.add_argument(
        "--data",
        nargs="+",
        default=["."],
        metavar="DIR",
        help="folders with make_data.py's arrays, one for each split (default: the current folder)",
    )
    parser.add_argument(
        "--tasks",
        type=int,
        default=results.TEST_TASKS,
        metavar="INT",
        help="test tasks for each measurement (default: %(default)s)",
    )
    parser.add_argument(
        "--bn",
        nargs="+",
        choices=MODES,
        default=MODES,
        help="modes of batch normalisation to measure (default: both)",
    )
    parser.add_argument(
        "--queries",
        type=int,
        default=QUERIES,
        metavar="INT",
        help="queries on which checkpoints are judged, for each task (default: %(default)s)",
    )
    parts = parser.add_mutually_exclusive_group()
    parts.add_argument(
        "--only-write",
        action="store_true",
        help="measure nothing; write the tables from the stored results",
    )
    parts.add_argument(
        "--only-judge",
        action="store_true",
        help="judge the checkpoints, for the index beside them, and write no tables",
    )
    parser.add_argument(
        "--figure",
        type=Path,
        metavar="FILE",
        help="draw accuracy against core-hours, from the checkpoints' histories, to FILE",
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="checkpoints to measure (default: all)"
    )
    arguments = parser.parse_args(argv)
    folder = arguments.checkpoints
    if not folder.is_dir():
        raise errors.UserError(f"{folder}: no such folder; name the weights by --checkpoints")
    device.use_device(False)
    named = [folder / f"{name}.pkl" for name in arguments.names]
    paths = named or sorted(folder.glob("*.pkl"))
    if not (arguments.only_write or arguments.only_judge):
        for path in paths:
            results.measure(path, arguments.data, arguments.tasks, arguments.bn)
    if not arguments.only_write:
        from maml.classifier.judge import judge  # PaddlePaddle takes seconds to import

        judge(paths, arguments.data, arguments.queries, progress)
    if not arguments.only_judge:
        write(results.PROJECT, folder)
    if arguments.figure:
        title = "{}-way {}-shot: what accuracy costs".format(*cost.TASK)
        figure = plots.accuracy_against_hours(cost.read_curves(folder), title)
        files.write({arguments.figure: plots.as_png(figure)})


def progress(items: Sequence, what: str) -> Iterator:
    """Show how far judging has come."""
    return watched(items, len(items), "batches", what)


def write(project: Path, folder: Path) -> None:
    """Write the generated parts of all documents in the project's folder."""
    for name in table.DOCUMENTS:
        path = project / name
        if not path.is_file():
            raise errors.UserError(f"{path}: is missing; the tables are written in a clone only")
        path.write_text(table.rewrite(path, folder), encoding="utf-8")
    path = project / settings.DOCUMENT
    text = path.read_text(encoding="utf-8")
    made = table.replace_part(text, settings.MARKER, settings.format_settings())
    path.write_text(made, encoding="utf-8")
