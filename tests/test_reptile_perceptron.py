import re

import numpy as np
import paddle
import pytest
from helpers import run_main

from maml.config import make, read_yaml
from maml.data.arrays import read_arrays

example = pytest.importorskip("examples.reptile_perceptron", reason="examples/ is beside tests/")
pytestmark = pytest.mark.slow


def test_serial_reptile_takes_the_copys_weights_over(data):
    """One task: phi becomes W, the last weights of the inner loop from the same phi."""
    config = make(read_yaml(example.CONFIG), "configuration")
    images = read_arrays(data)[0]["train"]
    before, after = (example.learn(config, images, tasks) for tasks in (0, 1))
    x, y = map(paddle.to_tensor, example.training_sampler(config, images, []).sample(1)[:2])
    *_, (w, _) = before.inner_loop(x, y, config.inner_steps, config.inner_batch)
    for phi, copy in zip(after.network.theta, w, strict=True):
        np.testing.assert_allclose(phi.numpy(), copy[0].numpy(), rtol=1e-4, atol=1e-6)


def test_the_example_prints_accuracies_by_gradient_steps(data, monkeypatch):
    monkeypatch.setattr(example, "NEW_TASKS", 20)
    said = run_main(example, "--data", data, "--tasks", 5).stdout
    header, *lines = said.splitlines()
    assert header.split() == ["gradient", "steps", *map(str, example.SHOWN)]
    found = [re.findall(r"([\d.]+)%", line) for line in lines]
    config = make(read_yaml(example.CONFIG), "configuration")
    arrays, _ = read_arrays(data)
    untrained = example.learn(config, arrays["train"], 0)
    expected = 100 * example.accuracies(config, untrained, arrays["test"])[list(example.SHOWN)]
    assert [float(a) for a in found[0]] == pytest.approx(expected, abs=0.006)
    assert len(found) == 3 and all(len(row) == len(example.SHOWN) for row in found)
