#!/usr/bin/env python3
"""Regression of sine waves (Finn et al. 2017, section 5.1): learn a wave from ten of its points, by
MAML or Reptile.

A task is y = A sin(x - phase), A in 0.1 .. 5, phase in 0 .. pi, x in -5 .. 5. Printed is the mean
squared error on 50 other points before and after adapting, beside that of the same network trained
on all tasks at once, which can but learn their mean.

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
    """Support [T, 10, 1] and query [T, 50, 1], x and y each."""
    amplitude, phase = rng.uniform(0.1, 5, (tasks, 1, 1)), rng.uniform(0, np.pi, (tasks, 1, 1))
    x = rng.uniform(-5, 5, (tasks, SHOTS + QUERIES, 1))
    y = amplitude * np.sin(x - phase)
    x, y = x.astype("float32"), y.astype("float32")
    return TaskBatch(x[:, :SHOTS], y[:, :SHOTS], x[:, SHOTS:], y[:, SHOTS:])


def squared_error(output: paddle.Tensor, y: paddle.Tensor) -> paddle.Tensor:
    """[T, N, 1] each -> [T]"""
    return ((output - y) ** 2).mean(axis=[1, 2])


def make(algorithm: str, seed: int = 0):
    """A learner on a 40-40 perceptron; "pretrained" is MAML without an inner loop in training, so
    that it fits all tasks at once.
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
    """`steps` meta-batches of `tasks` waves."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        learner.meta_step(waves(tasks, rng))


def errors(learner, tasks: int = 200, seed: int = 2) -> list[float]:
    """Mean squared error on the queries of new waves before and after each update step."""
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
        found = errors(learner)
        print(
            f"{algorithm:10}  before adapting {found[0]:.2f}, after {len(found) - 1} update steps"
            f" {found[-1]:.2f}"
        )


if __name__ == "__main__":
    main()
