import dataclasses

import numpy as np
import pytest
from helpers import run_main

from maml.config import make, read_yaml
from maml.data.arrays import read_arrays

example = pytest.importorskip("examples.reptile_keras", reason="examples/ is beside tests/")
pytestmark = pytest.mark.slow


def test_the_example_prints_and_draws_what_keras_does(data, tmp_path):
    """After one meta-iteration, whose accuracies are both lines' and those of the library."""
    arguments = ["--data", data, "--meta_iterations", 1, "--figures", tmp_path]
    said = run_main(example, *arguments).stdout.splitlines()
    config = make(read_yaml(example.CONFIG), "configuration")
    arrays, _ = read_arrays(data)
    images = {"train": np.concatenate([arrays["train"], arrays["val"]]), "test": arrays["test"]}
    _, (((train_before, train), (test_before, test)),) = example.learn(
        dataclasses.replace(config, meta_iterations=1), images
    )
    assert said[0] == f"batch 0: train={train:f} test={test:f}"
    last = "mean of the last 1, {} adapting: train={:f} test={:f}"
    assert said[1] == last.format("before", train_before, test_before)
    assert said[2] == last.format("after", train, test)
    assert {path.name for path in tmp_path.iterdir()} == {
        "reptile_keras.png",
        "reptile_keras_images.png",
    }


def test_the_row_of_images_stands_in_the_order_of_the_labels(data):
    config = make(read_yaml(example.CONFIG), "configuration")
    task = example.evaluation_sampler(config, read_arrays(data)[0]["test"]).sample(1)
    figure = example.row_of_images(task, [7 + y for y in task.query_y[0]])
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [f"Label : {y}, Prediction : {7 + y}" for y in range(5)]


def test_the_curves_are_of_both_parts_and_their_means(data):
    figure = example.curves(np.array([[0.2, 0.4], [0.6, 0.4], [0.4, 0.4]]))
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[0].lines}
    assert lines["test"] == pytest.approx(0.4) and 0.3 < lines["train"][1] < 0.5
