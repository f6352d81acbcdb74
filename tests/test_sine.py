import re

import numpy as np
import paddle
import pytest
from helpers import run_main
from PIL import Image

sine = pytest.importorskip("examples.sine", reason="examples/ is beside tests/")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pretrained():
    learner = sine.make("pretrained")
    learner.optimizer.set_lr(0.01)
    sine.train(learner, 50)
    return sine.errors(learner)[-1]


@pytest.mark.parametrize("algorithm, steps", [("maml", 350), ("reptile", 240)])
def test_learns_to_adapt_to_a_wave(pretrained, algorithm, steps):
    learner = sine.make(algorithm)
    if algorithm == "maml":
        learner.optimizer.set_lr(0.01)  # ten times the paper's rate, which needs 1,200 steps
    else:
        learner.inner_lr = 0.02
    sine.train(learner, steps, tasks=10)
    before, *_, after = sine.errors(learner)
    assert after < 0.6 * before and after < 0.6 * pretrained


def test_the_example_runs_and_draws(tmp_path):
    """It prints the errors of both networks, to two places, as they come out here."""
    picture = tmp_path / "a" / "sine.png"
    out = run_main(sine, "--steps", 2, "--figure", picture).stdout
    assert np.asarray(Image.open(picture)).std() > 10 and f"figure: {picture}" in out
    line = r"^(\w+) +before adapting ([\d.]+), after (\d+) update steps ([\d.]+)$"
    found = re.findall(line, out, re.MULTILINE)
    assert [(name, steps) for name, _, steps, _ in found] == [("pretrained", "1"), ("maml", "1")]
    for name, before, _, after in found:
        learner = sine.make(name)
        sine.train(learner, 2)
        assert [float(before), float(after)] == pytest.approx(sine.errors(learner), abs=0.006)


def test_the_figure_shows_the_wave_its_points_and_each_prediction():
    learners = {name: sine.make(name) for name in ("maml", "pretrained")}
    for learner, axes in zip(learners.values(), sine.draw(learners).axes):
        wave, points, *predicted = axes.lines
        x, y = (a.ravel() for a in points.get_data())
        assert y == pytest.approx(np.interp(x, *wave.get_data()), abs=0.01)
        (support_x, support_y), line = (a[None, :, None] for a in (x, y)), wave.get_xdata()
        states = list(learner.adapt(*map(paddle.to_tensor, (support_x, support_y))))
        for steps, shown in zip((0, 1, 10), predicted, strict=True):
            expected = learner.predict(states[steps], paddle.to_tensor(line[None, :, None]))
            assert np.allclose(shown.get_ydata().ravel(), expected.numpy().ravel(), atol=1e-4)
