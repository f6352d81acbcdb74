"""How accurate each method is where the classes of a support have unequal numbers of images.

The same random tasks of test characters are asked about for all weights and all numbers of images,
so that differences are of the numbers alone. Run it in the folder of make_data.py's arrays:

    python benchmarks/unequal.py --tasks 100
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import maml
from maml.data.arrays import read_arrays
from maml.data.streams import Stream, generator

WEIGHTS = ("protonet_60w1s", "matching_20w1s", "siamese_pairs", "siamese_triplets", "maml_5w1s")
WEIGHTS += ("reptile_5w1s",)
COUNTS = ((1, 1, 1, 1, 1), (15, 1, 1, 1, 1), (5, 3, 2, 1, 1), (3, 1, 1, 1, 1))
QUERIES = 5  # of each class


def accuracies(model: maml.FewShotClassifier, images: np.ndarray, tasks: int) -> np.ndarray:
    """The accuracy of each task with each of COUNTS, [COUNTS, tasks]."""
    rng = generator(0, Stream.TEST)
    found = []
    for _ in range(tasks):
        classes = rng.choice(len(images), len(COUNTS[0]), replace=False)
        drawn = np.stack([images[k, rng.permutation(images.shape[1])] for k in classes])
        queries = drawn[:, -QUERIES:].reshape(-1, *images.shape[2:])
        of_queries = np.repeat(classes, QUERIES)
        each = []
        for counts in COUNTS:
            x = np.concatenate([drawn[k, :n] for k, n in enumerate(counts)])
            each.append(model.fit(x, np.repeat(classes, counts)).score(queries, of_queries))
        found.append(each)
    return np.array(found).T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--data", default=".")
    parser.add_argument("weights", nargs="*", default=WEIGHTS)
    arguments = parser.parse_args()
    arrays, _ = read_arrays(arguments.data)
    print("| weights |", " | ".join(map(str, COUNTS)), "|")
    print("| --- |", " | ".join(["---"] * len(COUNTS)), "|")
    for name in arguments.weights:
        mean = 100 * accuracies(maml.load(name), arrays["test"], arguments.tasks).mean(axis=1)
        print(f"| `{name}` |", " | ".join(f"{each:.1f}%" for each in mean), "|", flush=True)


if __name__ == "__main__":
    main()
