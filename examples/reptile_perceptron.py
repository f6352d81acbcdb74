#!/usr/bin/env python3
"""Reptile with a perceptron: how accuracy on new tasks rises with gradient steps.

The network has 64-64 units. Serial Reptile takes the tasks one after the other: a copy of the
weights takes steps of SGD at 0.01 on a task, and the copy's weights are taken over. In the batched
form, five copies start from the same weights, and their mean is taken over. Both see the same
number of tasks. For comparison, the example also prints the accuracies from random weights. The
settings are those of configs/reptile_perceptron.yaml, the arrays those of make_data.py.

example:
  python examples/reptile_perceptron.py
"""

import argparse
import dataclasses
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np

from maml.config import Config, make, read_yaml
from maml.data.arrays import read_arrays
from maml.data.streams import Stream, generator
from maml.data.tasks import TaskSampler
from maml.evaluation.accuracy import evaluate
from maml.system.errors import UserError
from maml.training.build import build_learner
from maml.training.loop import training_sampler

CONFIG = ROOT / "configs" / "reptile_perceptron.yaml"
BATCHED, SHOWN, NEW_TASKS = 5, (0, 1, 2, 5, 10, 20), 200


def learn(config: Config, images: np.ndarray, tasks: int):
    """Return the learner after `tasks` training tasks."""
    learner = build_learner(config, images.shape[-1])
    sampler = training_sampler(config, images, [])
    for _ in range(tasks // config.meta_batch_size):
        learner.meta_step(sampler.sample(config.meta_batch_size))
    return learner


def accuracies(config: Config, learner, images: np.ndarray) -> np.ndarray:
    """Return the mean accuracy on new tasks after each gradient step, [steps + 1]."""
    sampler = TaskSampler(images, *config.test_task, generator(config.seed, Stream.TEST))
    return evaluate(learner, sampler, NEW_TASKS).vector


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default=".", help="folder of the arrays (default: %(default)s)")
    parser.add_argument(
        "--tasks", type=int, default=10_000, help="training tasks (default: %(default)s)"
    )
    arguments = parser.parse_args()
    serial = make(read_yaml(CONFIG), str(CONFIG))
    batched = dataclasses.replace(serial, meta_batch_size=BATCHED)
    arrays, _ = read_arrays(arguments.data)
    print("gradient steps" + "".join(f"{step:8}" for step in SHOWN))
    for name, config, tasks in (
        ("random weights", serial, 0),
        ("serial", serial, arguments.tasks),
        ("batched", batched, arguments.tasks),
    ):
        learner = learn(config, arrays["train"], tasks)
        found = 100 * accuracies(config, learner, arrays["test"])[list(SHOWN)]
        print(f"{name:14}" + "".join(f"{accuracy:7.2f}%" for accuracy in found), flush=True)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
