#!/usr/bin/env python3
"""Omniglot's one-shot challenge: the errors of all weights that may take part in it.

These are the weights of the background splits, whose training saw the 30 background alphabets
alone. There are two columns. The first is of the 20 runs as published: 400 trials of 20-way 1-shot
classification within an evaluation alphabet, the support by one drawer and the queries by another
one. The second is of random runs of the same form, of all 20 evaluation alphabets; there are many,
so that their interval is narrow. Transductive rows look at all queries of a run together, which
the challenge does not allow. What was measured before is read from the JSON files beside the
weights. Weights of a network of your own are measured if you name its file by --network.

example:
  python make_data.py --split background --out data/background
  python make_data.py --split background --image-size 42 --out data/background42
  python examples/challenge.py --runs all_runs.zip

all_runs.zip is in the folder python/one-shot-classification of the repository brendenlake/omniglot.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from maml.classifier.choose import has_own_network
from maml.networks.file import read_builder
from maml.reports import one_shot
from maml.system.errors import UserError
from maml.training.checkpoint import read


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", required=True, metavar="PATH", help="all_runs.zip, or its folder")
    parser.add_argument(
        "--data",
        nargs="+",
        default=["data/background", "data/background42"],
        metavar="DIR",
        help="folders of arrays, one for each size of images (default: %(default)s)",
    )
    parser.add_argument(
        "--checkpoints",
        nargs="+",
        default=["checkpoints", "examples"],
        metavar="DIR",
        help="folders of weights (default: %(default)s)",
    )
    parser.add_argument(
        "--network",
        metavar="FILE.py:FUNCTION",
        help="the file of the network of those weights that have one of your own",
    )
    parser.add_argument(
        "--tasks", type=int, default=10_000, help="random runs (default: %(default)s)"
    )
    arguments = parser.parse_args()
    found = {}
    builder = read_builder(arguments.network) if arguments.network else None
    for path in sorted(file for d in arguments.checkpoints for file in Path(d).glob("*.pkl")):
        trained = read(path)
        if one_shot.takes_part(trained):
            print(f"{path.stem} ...", file=sys.stderr, flush=True)
            own = builder if has_own_network(trained) else None
            found[path.stem] = one_shot.measure_challenge(
                trained, arguments.runs, arguments.data, arguments.tasks, own
            )
    print(one_shot.format_challenge(found))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
