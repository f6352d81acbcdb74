#!/usr/bin/env python3
"""Regression of sine waves by MAML or Reptile (Finn et al. 2017, section 5.1).

A learner learns a wave from ten of its points. The wave is y = A sin(x - phase), with A in
0.1 .. 5, phase in 0 .. pi and x in -5 .. 5. The example prints the mean squared error on 50 other
points, before and after the learner adapts to the ten points. For comparison, it also prints the
errors of the same network after training on all waves at once, which can only learn their mean.
It also draws the paper's figure 2: a wave, ten points of it, and what the two networks predict.

example:
  python examples/sine.py --algorithm maml
"""

import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

warnings.filterwarnings("ignore", "No ccache found")  # of PaddlePaddle's import

import numpy as np
import paddle
from matplotlib.figure import Figure

from maml.algorithms.maml import MAML
from maml.algorithms.reptile import Reptile
from maml.data.tasks import TaskBatch
from maml.networks.dense import Perceptron
from maml.system import device, files
from maml.system import errors as problems
from maml.system.progress import watched

SHOTS, QUERIES = 10, 50
SHOWN = {0: (":", "#009E73"), 1: ("--", "#0072B2"), 10: ("-", "#D55E00")}
"""update steps in the figure, with the style and the colour of their lines"""


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


def train(learner, steps: int, seed: int = 1, tasks: int = 25, label: str = "training") -> None:
    """Train a learner on `steps` meta-batches of `tasks` waves, behind a bar."""
    rng = np.random.default_rng(seed)
    for _ in watched(range(steps), steps, "meta-batches", label):
        learner.meta_step(waves(tasks, rng))


def errors(learner, tasks: int = 200, seed: int = 2) -> list[float]:
    """Return the mean squared errors on new waves, before and after each update step."""
    batch = waves(tasks, np.random.default_rng(seed))
    support_x, support_y, query_x, query_y = map(paddle.to_tensor, batch)
    return [
        squared_error(learner.predict(adapted, query_x), query_y).mean().item()
        for adapted in learner.adapt(support_x, support_y)
    ]


def draw(learners: dict, seed: int = 3) -> Figure:
    """Draw one wave as each learner predicts it, before and after 1 and 10 update steps."""
    rng = np.random.default_rng(seed)
    amplitude, phase = rng.uniform(2, 5), rng.uniform(0, np.pi)
    line = np.linspace(-5, 5, 200, dtype="float32").reshape(1, -1, 1)
    x = rng.uniform(-5, 5, (1, SHOTS, 1)).astype("float32")
    y = amplitude * np.sin(x - phase).astype("float32")
    figure = Figure(figsize=(5 * len(learners) + 1.5, 3.5), layout="constrained")
    plots = figure.subplots(1, len(learners), sharey=True, squeeze=False)[0]
    for axes, (name, learner) in zip(plots, learners.items()):
        learner.steps_test = max(SHOWN)
        states = list(learner.adapt(paddle.to_tensor(x), paddle.to_tensor(y)))
        axes.plot(line[0], amplitude * np.sin(line[0] - phase), color="0.6", label="the wave")
        axes.plot(x[0], y[0], "^", color="#CC79A7", label="its ten points")
        for steps, (style, colour) in SHOWN.items():
            predicted = learner.predict(states[steps], paddle.to_tensor(line)).numpy()
            label = f"after {steps} steps" if steps > 1 else ["before", "after 1 step"][steps]
            axes.plot(line[0], predicted[0], style, color=colour, label=label)
        axes.set(title=f"{name}, {SHOTS} points", xlabel="x")
    figure.legend(*plots[0].get_legend_handles_labels(), loc="outside right")
    return figure


def main() -> None:
    parser = problems.Parser(__doc__, "")
    parser.add_argument(
        "--algorithm", choices=["maml", "reptile"], default="maml", help="(default: %(default)s)"
    )
    parser.add_argument(
        "--steps", type=int, default=5000, help="meta-batches of 25 waves (default: %(default)s)"
    )
    parser.add_argument(
        "--figure",
        type=Path,
        default=Path("figures/sine.png"),
        metavar="FILE",
        help="where the figure goes (default: %(default)s)",
    )
    arguments = parser.parse_args()
    device.use_device(False)
    learners = {name: make(name) for name in (arguments.algorithm, "pretrained")}
    for algorithm, learner in reversed(learners.items()):
        train(learner, arguments.steps, label=algorithm)
        before, *_, after = mean_errors = errors(learner)
        updates = len(mean_errors) - 1
        print(
            f"{algorithm:10}  before adapting {before:.2f}, after {updates} update steps"
            f" {after:.2f}",
            flush=True,
        )
    figure = draw(learners)
    files.write({arguments.figure: lambda file: figure.savefig(file, format="png", dpi=120)})
    print(f"figure: {arguments.figure}")


if __name__ == "__main__":
    problems.run(main)
