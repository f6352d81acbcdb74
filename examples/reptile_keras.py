#!/usr/bin/env python3
"""Keras's Reptile example: Omniglot's background alphabets against its evaluation alphabets.

The settings are those of configs/reptile_keras.yaml. In every meta-iteration, Reptile learns one
task of training characters, and then adapts to two new tasks, one of training and one of test
characters, each with five classes of five images; the accuracy is that of one more image of each
class. Every 100 meta-iterations it is printed. In the end there are two figures: the accuracies,
smoothed, and five test images with what was predicted for them.

Deviations from the Keras example, with reasons:
 1. A prediction is the class with the highest score of an image. The example's tf.argmax, which
    names no axis, finds the image with the highest score of a class, and so assumes that there is
    one image of each class.
 2. A pass over the mini-batches of a task has the order of the one before; Keras's is a new one.
 3. Images were scaled to 28 x 28 pixels by make_data.py's filter, not by TensorFlow's.

example:
  python make_data.py --split background --out data/background
  python examples/reptile_keras.py
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
import paddle
from matplotlib.figure import Figure

from maml.config import Config, make, read_yaml
from maml.data.arrays import read_arrays
from maml.data.streams import Stream, generator
from maml.data.tasks import TaskBatch, TaskSampler
from maml.evaluation.accuracy import measure
from maml.reports.plots import smooth
from maml.system.errors import UserError
from maml.training.build import build_learner
from maml.training.loop import learning_rate, training_sampler

CONFIG = ROOT / "configs" / "reptile_keras.yaml"
PARTS = ("train", "test")
LAST, WINDOW = 200, 101  # meta-iterations of the final mean, and of the smoothing


def learn(config: Config, images: dict[str, np.ndarray]):
    """Return the learner, and accuracies before and after adapting, [meta-iterations, part, 2]."""
    learner = build_learner(config, images["train"].shape[-1])
    tasks = training_sampler(config, images["train"], [])
    new_tasks = [evaluation_sampler(config, images[part]) for part in PARTS]
    accuracies = []
    for iteration in range(config.meta_iterations):
        learner.optimizer.set_lr(learning_rate(config, iteration))
        learner.meta_step(tasks.sample(config.meta_batch_size))
        results = [measure([learner], sampler.sample(1))[0] for sampler in new_tasks]
        accuracies.append([result.vector[[0, -1]] for result in results])
        if iteration % 100 == 0:
            train, test = (result.mean for result in results)
            print(f"batch {iteration}: train={train:f} test={test:f}", flush=True)
    return learner, np.array(accuracies)


def evaluation_sampler(config: Config, images: np.ndarray) -> TaskSampler:
    """Tasks drawn with replacement, as in training."""
    rng = generator(config.seed, Stream.TEST)
    return TaskSampler(images, *config.test_task, rng, replacement=True)


def curves(accuracies: np.ndarray) -> Figure:
    """Accuracies [meta-iterations, part], smoothed."""
    figure = Figure(layout="constrained")
    axes = figure.subplots()
    for name, values in zip(PARTS, accuracies.T):
        axes.plot(smooth(values, WINDOW), label=name)
    axes.set(xlabel="meta-iteration", ylabel="accuracy")
    axes.grid()
    axes.legend()
    return figure


def row_of_images(task: TaskBatch, predicted: Sequence[int]) -> Figure:
    """The queries of a task in the order of their labels, with their predictions."""
    figure = Figure(figsize=(2.4 * len(predicted), 2.6), layout="constrained")
    labels = task.query_y[0]
    for axes, n in zip(figure.subplots(1, len(predicted)), labels.argsort()):
        axes.imshow(1 - task.query_x[0, n, 0], cmap="gray")
        axes.set_title(f"Label : {labels[n]}, Prediction : {predicted[n]}")
        axes.axis("off")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="folder of the arrays (default: the configuration's)")
    parser.add_argument("--meta_iterations", type=int, help="(default: the configuration's)")
    parser.add_argument(
        "--figures", type=Path, default=Path("figures"), help="(default: %(default)s)"
    )
    arguments = parser.parse_args()
    stated = {k: v for k in ("data", "meta_iterations") if (v := getattr(arguments, k))}
    config = dataclasses.replace(make(read_yaml(CONFIG), str(CONFIG)), **stated)
    arrays, _ = read_arrays(config.data)
    images = {"train": np.concatenate([arrays["train"], arrays["val"]]), "test": arrays["test"]}

    learner, accuracies = learn(config, images)
    last = accuracies[-LAST:].mean(axis=0)
    for when, (train, test) in zip(("before", "after"), last.T):
        print(
            f"mean of the last {len(accuracies[-LAST:])}, {when} adapting: "
            f"train={train:f} test={test:f}"
        )

    task = evaluation_sampler(config, images["test"]).sample(1)
    *_, adapted = learner.adapt(*map(paddle.to_tensor, task[:2]))
    predicted = learner.predict(adapted, paddle.to_tensor(task.query_x))[0].argmax(axis=-1)
    arguments.figures.mkdir(parents=True, exist_ok=True)
    curves(accuracies[:, :, 1]).savefig(arguments.figures / "reptile_keras.png")
    row_of_images(task, predicted.tolist()).savefig(arguments.figures / "reptile_keras_images.png")
    print(f"figures: {arguments.figures}/reptile_keras.png and reptile_keras_images.png")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
