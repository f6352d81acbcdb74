#!/usr/bin/env python3
"""Regression of sine waves by MAML or Reptile (Finn et al. 2017, section 5.1).

A learner learns a wave from ten of its points. The wave is y = A sin(x - phase), with A in
0.1 .. 5, phase in 0 .. pi and x in -5 .. 5. The example prints the mean squared error on 50 other
points, before and after the learner adapts to the ten points. For comparison, it also prints the
errors of the same network after training on all waves at once, which can only learn their mean.

example:
  python examples/sine.py --algorithm maml
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import paddle

from maml.algorithms.maml import MAML
from maml.algorithms.reptile import Reptile
from maml.data.tasks import TaskBatch
from maml.networks.dense import Perceptron

SHOTS, QUERIES = 10, 50


def waves(tasks: int, rng: np.random.Generator) -> TaskBatch:
    """Return random waves as tasks: x and y of the support [T, 10, 1] and the query [T, 50, 1]."""
    amplitude = rng.uniform(0.1, 5, (tasks, 1, 1))
    phase = rng.uniform(0, np.pi, (tasks, 1, 1))
    x = rng.uniform(-5, 5, (tasks, SHOTS + QUERIES, 1))
    y = amplitude * np.sin(x - phase)
    x, y = x.astype("float32"), y.astype("float32")
    return TaskBatch(x[:, :SHOTS], y[:, :SHOTS], x[:, SHOTS:], y[:, SHOTS:])


def squared_error(output: paddle.Tensor, y: paddle.Tensor) -> paddle.Tensor:
    """Return the mean squared error of each task, [T], of outputs and targets [T, N, 1]."""
    return ((output - y) ** 2).mean(axis=[1, 2])


def make(algorithm: str, seed: int = 0):
    """Return a learner whose network is a perceptron with 40-40 units.

    The algorithm "pretrained" is MAML without an inner loop in training: it fits all tasks at once.
    """
    network = Perceptron(1, np.random.default_rng(seed), inputs=1, hidden=(40, 40))
    if algorithm == "reptile":
        return Reptile(
            network,
            inner_lr=0.01,
            epsilon=1.0,
            inner_steps=10,
            inner_batch=10,
            steps_test=20,
            batch_test=10,
            inner_optimizer="sgd",
            loss=squared_error,
        )
    steps = 0 if algorithm == "pretrained" else 1
    return MAML(network, alpha=0.01, beta=0.001, steps=steps, steps_test=1, loss=squared_error)


def train(learner, steps: int, seed: int = 1, tasks: int = 25) -> None:
    """Train a learner on `steps` meta-batches of `tasks` waves."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        learner.meta_step(waves(tasks, rng))


def errors(learner, tasks: int = 200, seed: int = 2) -> list[float]:
    """Return the mean squared errors on new waves, before and after each update step."""
    batch = waves(tasks, np.random.default_rng(seed))
    support_x, support_y, query_x, query_y = map(paddle.to_tensor, batch)
    return [
        squared_error(learner.predict(adapted, query_x), query_y).mean().item()
        for adapted in learner.adapt(support_x, support_y)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--algorithm", choices=["maml", "reptile"], default="maml", help="(default: %(default)s)"
    )
    parser.add_argument(
        "--steps", type=int, default=5000, help="meta-batches of 25 waves (default: %(default)s)"
    )
    arguments = parser.parse_args()
    for algorithm in ("pretrained", arguments.algorithm):
        learner = make(algorithm)
        train(learner, arguments.steps)
        before, *_, after = mean_errors = errors(learner)
        updates = len(mean_errors) - 1
        print(
            f"{algorithm:10}  before adapting {before:.2f}, after {updates} update steps"
            f" {after:.2f}"
        )


if __name__ == "__main__":
    main()
