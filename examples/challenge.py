#!/usr/bin/env python3
"""Omniglot's one-shot challenge: the errors of all weights that may take part in it.

These are the weights of the background split, whose training saw the 30 background alphabets
alone. There are two columns. The first is of the 20 runs as published: 400 trials of 20-way 1-shot
classification within an evaluation alphabet, the support by one drawer and the queries by another
one. The second is of random runs of the same form, of all 20 evaluation alphabets; there are many,
so that their interval is narrow. Transductive rows look at all queries of a run together, which
the challenge does not allow.

example:
  python make_data.py --split background --out data/background
  python examples/challenge.py --runs all_runs.zip

all_runs.zip is in the folder python/one-shot-classification of the repository brendenlake/omniglot.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from maml.classifier import measure
from maml.config import METRIC
from maml.data import challenge
from maml.data.arrays import Index, read_arrays
from maml.evaluation.options import TestOptions
from maml.system.errors import UserError
from maml.system.processes import Processes
from maml.training.checkpoint import Checkpoint, read

COPIES = {"distortions_test": 8}
KINDS = {  # what an answer comes from beside the weights
    "": {},
    ", eight distorted copies": COPIES,
    ", eight distorted copies, refined (transductive)": {**COPIES, "refine": 3},
}
PUBLISHED = {  # error, %, on the 20 runs (Lake, Salakhutdinov & Tenenbaum 2015 and 2019)
    "Bayesian Program Learning, published": 3.3,
    "people, published": 4.5,
    "Recursive Cortical Network, published": 7.3,
    "Koch's Siamese network, published": 8.0,
    "Prototypical Networks, published": 13.7,
}


def of_weights(
    trained: Checkpoint,
    changes: dict[str, int],
    runs: list[challenge.Run],
    arrays: dict[str, np.ndarray],
    index: Index,
    tasks: int,
) -> tuple[float, str, str]:
    """Return the error on the runs, and it and that on random runs as text."""
    options = TestOptions(way=20, shot=1, query=1, **changes)
    fixed = measure.one_shot_challenge(trained, options, runs)
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
    ).reports
    return (
        fixed["error"],
        text(fixed["error"], fixed["interval"]),
        text(1 - random["accuracy"], random["interval"]),
    )


def text(error: float, interval: float | None) -> str:
    """Return an error rate and its interval in %."""
    return f"{100 * error:.2f}" + ("" if interval is None else f" ± {100 * interval:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", required=True, metavar="PATH", help="all_runs.zip, or its folder")
    parser.add_argument("--data", default="data/background", help="(default: %(default)s)")
    parser.add_argument("--checkpoints", default="checkpoints", help="(default: %(default)s)")
    parser.add_argument(
        "--tasks", type=int, default=10_000, help="random runs (default: %(default)s)"
    )
    arguments = parser.parse_args()
    arrays, index = read_arrays(arguments.data)
    if index.split != "background":
        raise UserError(
            f"{arguments.data}: is of the {index.split} split; the challenge wants "
            "make_data.py --split background"
        )
    files = sorted(Path(arguments.checkpoints).glob("*.pkl"))
    taking_part = [trained for trained in map(read, files) if trained.data.split == "background"]
    rows = [(error / 100, name, f"{error:.1f}", "") for name, error in PUBLISHED.items()]
    for trained in taking_part:
        runs = challenge.read(arguments.runs, trained.data.image_size)
        for kind, changes in KINDS.items():
            if "refine" in changes and trained.config.algorithm != "protonet":
                continue
            if trained.config.algorithm not in METRIC and changes:
                continue
            error, *columns = of_weights(trained, changes, runs, arrays, index, arguments.tasks)
            rows.append((error, f"`{trained.path.stem}`{kind}", *columns))
            print(f"{trained.path.stem}{kind}: {columns[0]}", file=sys.stderr, flush=True)
    print(f"| weights | error on the 20 runs, % | error on {arguments.tasks:,} random runs, % |")
    print("| --- | --- | --- |")
    for _, *cells in sorted(rows, key=lambda row: row[0]):
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
