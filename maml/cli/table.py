"""The tables of results in both READMEs: made from JSON files beside the checkpoints, never by
hand.

`python -m maml.table` measures what is not yet measured of every checkpoint, writes it beside it,
and rewrites the tables.
"""

from __future__ import annotations

from pathlib import Path

from maml.config import MODES
from maml.reports.table import READMES, TEST_TASKS, measure, rewrite
from maml.system import errors


def main() -> None:
    parser = errors.Parser(
        __doc__,
        "example, names first:\n  python -m maml.table maml_5w1s --data . data/background"
        " data/vinyals",
        prog="python -m maml.table",
    )
    parser.add_argument(
        "--checkpoints",
        type=Path,
        default=Path("checkpoints"),
        metavar="DIR",
        help="(default: %(default)s)",
    )
    parser.add_argument(
        "--data",
        nargs="+",
        default=["."],
        metavar="DIR",
        help="folders with make_data.py's arrays, one for each split (default: the current one)",
    )
    parser.add_argument(
        "--tasks",
        type=int,
        default=TEST_TASKS,
        metavar="INT",
        help="test tasks for each figure (default: %(default)s)",
    )
    parser.add_argument(
        "--bn",
        nargs="+",
        choices=MODES,
        default=MODES,
        help="modes of batch normalisation (default: both)",
    )
    parser.add_argument(
        "--only-write",
        action="store_true",
        help="measure nothing, write the tables from the stored results",
    )
    parser.add_argument("names", nargs="*", help="checkpoints to measure (default: all)")
    arguments = parser.parse_args()
    if not arguments.only_write:
        for path in [arguments.checkpoints / f"{name}.pkl" for name in arguments.names] or sorted(
            arguments.checkpoints.glob("*.pkl")
        ):
            measure(path, arguments.data, arguments.tasks, arguments.bn)
    for name in READMES:
        Path(name).write_text(rewrite(Path(name), arguments.checkpoints), encoding="utf-8")
