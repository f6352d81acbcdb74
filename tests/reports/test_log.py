"""What a run leaves in VisualDL and in its history: what matters, and never too much."""

import numpy as np
import pytest

from maml.config import METHODS, Config
from maml.evaluation.accuracy import Result
from maml.reports import log, plots
from maml.training import loop

LONG = 10_000
A_DAY = 24 * 3600 * 1000  # meta-iterations of a millisecond
RESULT = Result(*(np.zeros((1, 11), np.float32),) * 3)


class Writer:
    """Counts what is written to it."""

    def __init__(self, **options):
        self.points, self.latest, self.pictures = {}, {}, 0

    def add_scalar(self, tag, value, step):
        self.points[tag] = self.points.get(tag, 0) + 1
        self.latest[tag] = step

    def add_image(self, tag, pixels, step):
        self.pictures += 1


@pytest.fixture
def long(monkeypatch):
    """The log of a long run, with a line every ten steps and small limits, without the run."""
    monkeypatch.setattr(log, "MOST_POINTS", 20)
    monkeypatch.setattr(log, "MOST_PICTURES", 5)
    monkeypatch.setattr(plots, "episode", lambda *arguments, **options: None)
    monkeypatch.setattr(plots, "pixels", lambda figure: None)
    monkeypatch.setattr(log.ConsoleLog, "__init__", lambda self: None)
    monkeypatch.setattr(log.ConsoleLog, "say", lambda self, text: None)
    long = log.ConsoleLog()
    long.config = Config(meta_iterations=LONG, print_every=10, val_every=30)
    long.writer, long.first, long.began = Writer(), 0, 0.0
    long.progress = type("Progress", (), {"step": lambda self: None})()
    long.every = log.intervals(long.config)
    return long


def test_a_long_run_leaves_a_log_of_bounded_size(long):
    for iteration in range(1, LONG + 1):
        long.step(iteration, {"loss": 1.0})
        if iteration % 10 == 0:
            long.train(iteration, None, RESULT)
        if iteration % 30 == 0 or iteration == LONG:
            long.validation(iteration, RESULT)
    points = long.writer.points
    assert len(points) == 49  # of steps, and two of each part, with 11 steps each below them
    assert all(10 < count <= 21 for count in points.values())
    assert long.writer.pictures == 5
    assert long.writer.latest["validation/accuracy"] == LONG  # the last one is never left out


@pytest.mark.parametrize("every, total", [(10, 10_000), (100, 10_000), (7, 50), (1000, 10)])
def test_a_usual_run_keeps_all_points(every, total):
    assert log.spread(every, total, log.MOST_PICTURES * 10) == every


@pytest.mark.parametrize("every, total", [(10, A_DAY), (3, 1_000_003), (1, 20_001)])
def test_points_of_a_long_run_are_spread_evenly(every, total):
    apart = log.spread(every, total, 20_000)
    assert apart % every == 0 and 10_000 <= total // apart <= 20_000


def test_history_is_bounded_and_its_latest_measurements_are_all_there(monkeypatch):
    history, most = [], 40
    monkeypatch.setattr(loop, "MOST_MEASUREMENTS", most)
    for epoch in range(1, 5 * most):
        history.append({"epoch": epoch, "part": "train", "accuracies": [0.5]})
        if epoch % 4 == 0:
            history.append({"epoch": epoch, "part": "validation", "accuracies": [0.5]})
        history = loop.bounded(history)
        assert len(history) <= 4 * most
    latest = [h["epoch"] for h in history if h["part"] == "train"][-most:]
    assert latest == list(range(4 * most, 5 * most))
    validations = [h["epoch"] for h in history if h["part"] == "validation"]
    assert validations == list(range(4, 5 * most, 4))  # not too many
    epochs = [h["epoch"] for h in history]
    assert epochs == sorted(epochs) and epochs[0] < most


@pytest.mark.parametrize("algorithm", METHODS)
def test_hyperparameters_are_few_and_those_that_the_method_uses(algorithm):
    from maml.config import FIELDS

    names = log.HYPERPARAMETERS + log.OF_METHOD[algorithm]
    assert len(names) + 1 <= 13 and len(set(names)) == len(names)
    assert all(algorithm in FIELDS[name].metadata["only_for"] for name in names)
