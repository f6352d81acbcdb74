"""The training loop as a library: in any thread, with any log, bit for bit, and how it ends."""

import dataclasses
import os
import signal
import threading
import time

import numpy as np
import paddle
import pytest
from helpers import TINY, same

import maml
from maml.config import Config
from maml.data.arrays import read_arrays
from maml.evaluation import accuracy
from maml.networks.file import read_builder
from maml.system import safe_pickle
from maml.system.errors import UserError
from maml.training.build import learner_for
from maml.training.checkpoint import read, read_run
from maml.training.loop import Trainer, learning_rate

NUMBERS = (signal.SIGINT, signal.SIGTERM)
BUT = ("seconds", "core_seconds", "name")


class Heard:
    """A log that remembers what it hears."""

    def __init__(self, at_step=lambda iteration: None):
        self.steps, self.trained, self.validated, self.at_step = [], [], [], at_step

    def step(self, iteration, metrics):
        self.steps.append((iteration, metrics))
        self.at_step(iteration)

    def train(self, iteration, tasks, result):
        self.trained.append((iteration, tasks, result))

    def validation(self, iteration, result):
        self.validated.append((iteration, result))


DROPPING = """
from paddle import nn


def build(way, image_size, channels):
    side = image_size // 4
    return nn.Sequential(
        nn.AvgPool2D(4), nn.Flatten(), nn.Dropout(0.5), nn.ACTIVATION(), nn.Linear(side**2, way)
    )
"""


@pytest.fixture
def own(data, tmp_path):
    """Makes a trainer of a network of one's own with this activation, which drops values."""
    path = tmp_path / "mine.py"

    def make(activation="ReLU", **changes):
        path.write_text(DROPPING.replace("ACTIVATION", activation))
        places = {"logdir": str(tmp_path / "log"), "checkpoints": str(tmp_path / "checkpoints")}
        small = {key: value for key, value in TINY.items() if key != "filters"}
        settings = {**small, "data": str(data), "name": "a", **places, **changes}
        config = Config(**settings, network=f"{path}:build")
        arrays, index = read_arrays(data)
        learner = learner_for(config, index, builder=read_builder(config.network))
        return Trainer(config, learner, arrays, index)

    return make


def test_masks_of_dropout_are_the_same_in_a_run_that_is_resumed(own):
    whole = own(name="whole")
    whole.train()
    part = own(meta_iterations=3)
    part.train()
    paddle.rand([5])  # whatever else the program draws
    rest = own()
    rest.resume()
    rest.train()
    assert same(rest.state().weights, whole.state().weights)


def test_a_run_does_not_go_on_with_another_network(own):
    own(meta_iterations=3).train()
    with pytest.raises(UserError, match="with other contents of the network's file; restore them"):
        own("Tanh").resume()


def handlers():
    return [signal.getsignal(number) for number in NUMBERS]


def test_signal_handlers_are_there_while_it_trains_and_put_back_afterwards(trainer):
    def mine(number, frame):
        raise AssertionError("the user's own handler was called")

    before = [signal.signal(number, mine) for number in NUMBERS]
    try:
        log = Heard(lambda iteration: during.append(handlers()))
        during = []
        assert trainer().train(log)
        assert handlers() == [mine, mine] and len(during) == TINY["meta_iterations"]
        assert all(mine not in each for each in during)
    finally:
        for number, handler in zip(NUMBERS, before):
            signal.signal(number, handler)


def test_signal_handlers_are_put_back_after_an_error(trainer):
    before = handlers()
    with pytest.raises(UserError, match="lower inner_lr or outer_lr"):
        trainer(inner_lr=1e30).train()
    assert handlers() == before


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_ends_the_run_after_the_step_under_way_and_keeps_its_state(trainer, number):
    log = Heard(lambda iteration: iteration == 3 and os.kill(os.getpid(), number))
    run = trainer(save_every=1000)
    assert not run.train(log) and run.iteration == 3 == len(log.steps)
    assert read_run(run.resume_path).iteration == 3
    run.resume()
    assert run.train() and run.iteration == TINY["meta_iterations"]


def test_a_signal_ends_a_validation_which_is_then_made_anew(trainer, monkeypatch):
    changes = dict(val_every=4, val_tasks=24, print_every=100, save_every=1000)
    whole = trainer(name="whole", **changes)
    whole.train()
    run, rounds = trainer(**changes), []

    def interrupting(classifiers, tasks, every_step=True):
        rounds.append(len(tasks.query_x))
        if len(rounds) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return measure(classifiers, tasks, every_step)

    measure = accuracy.measure
    monkeypatch.setattr(accuracy, "measure", interrupting)
    assert not run.train() and rounds == [8, 8] and run.history == []
    assert run.iteration == 4 == read_run(run.resume_path).iteration
    rest, log = trainer(**changes), Heard()
    rest.resume()
    assert rest.validation_due and rest.train(log)
    assert [iteration for iteration, _ in log.validated] == [4, 8]
    assert same(rest.state().state(), whole.state().state(), BUT)


def test_a_run_that_is_killed_in_a_validation_has_saved_before_it(trainer, monkeypatch):
    run = trainer(val_every=4, save_every=4)
    monkeypatch.setattr(run, "validate", lambda *_: pytest.fail("killed", pytrace=False))
    with pytest.raises(pytest.fail.Exception):
        run.train()
    rest = trainer(val_every=4, save_every=4)
    rest.resume()
    assert rest.iteration == 4 and rest.validation_due and rest.train()


def test_it_trains_in_any_thread(trainer):
    """Where Python takes no handlers. The end is that of the main thread, to the bit."""
    before, ended = handlers(), []
    run = trainer()
    thread = threading.Thread(target=lambda: ended.append(run.train()))
    thread.start()
    while thread.is_alive():
        assert handlers() == before
        time.sleep(0.01)
    thread.join()
    assert ended == [True] and handlers() == before
    other = trainer(name="b")
    other.train()
    assert same(run.state().state(), other.state().state(), BUT)


def test_the_log_hears_of_all_there_is(trainer):
    run, log = trainer(), Heard()
    assert run.train(log)
    assert [iteration for iteration, _ in log.steps] == list(range(1, 9))
    for _, metrics in log.steps:
        assert {"loss", "gradient norm", "learning rate", "seconds a step"} <= metrics.keys()
    assert [iteration for iteration, *_ in log.trained] == [4, 8]
    for _, tasks, result in log.trained:
        assert tasks.support_x.shape == (2, 5, 1, 28, 28) and result.accuracies.shape == (5, 3)
    assert [iteration for iteration, _ in log.validated] == [4, 8]
    assert all(result.accuracies.shape == (5, 3) for _, result in log.validated)
    history = [(h["epoch"], h["part"]) for h in run.history]
    assert history == [(4, "train"), (4, "validation"), (8, "train"), (8, "validation")]


def test_the_best_weights_are_those_of_the_best_validation(trainer):
    run = trainer(val_every=1, print_every=100)
    kept = {}

    class Keep(Heard):
        def validation(self, iteration, result):
            kept[iteration] = [p.numpy() for p in run.learner.meta_parameters]

    run.train(Keep())
    best = read(run.best_path)
    accuracies = {h["epoch"]: h["accuracies"][-1] for h in run.history}
    assert best.accuracy == max(accuracies.values())
    first = next(i for i, accuracy in accuracies.items() if accuracy == best.accuracy)
    assert best.iteration == best.best["epoch"] == first
    assert same(best.weights, kept[first])


def test_of_equal_validations_the_first_is_the_best(trainer):
    run = trainer(val_every=1, print_every=100, outer_lr=0.0)
    run.train()
    assert len({h["accuracies"][-1] for h in run.history}) == 1 < len(run.history)
    assert run.best["epoch"] == read(run.best_path).iteration == 1


def test_a_checkpoint_is_what_was_written(trainer):
    run = trainer()
    run.train()
    read_again, state = read(run.best_path), safe_pickle.load(run.best_path)
    assert same(read_again.state(), {k: v for k, v in state.items() if k != "format"})
    # folders of the machine and how it computes are left out
    assert not {"data", "logdir", "checkpoints", "workers", "gpu"} & state["config"].keys()
    assert read_again.config == dataclasses.replace(
        run.config,
        data=".",
        logdir="log",
        checkpoints="checkpoints/own",
        print_every=100,
        save_every=500,
    )
    assert isinstance(read_again, maml.Checkpoint)


PLUS_PLUS = {
    "per_step_norm": True,
    "learned_rates": True,
    "multi_step_loss": 7,  # they end after the run below goes on
    "first_order_until": 6,
    "inner_steps": 2,
}


@pytest.mark.parametrize("changes", [{}, PLUS_PLUS], ids=["plain", "plus_plus"])
def test_a_run_is_resumed_to_the_bit(trainer, changes):
    whole = trainer(name="whole", **changes)
    whole.train()
    part = trainer(save_every=1, **changes)
    part.train(Heard(lambda iteration: iteration == 5 and os.kill(os.getpid(), signal.SIGINT)))
    rest = trainer(save_every=1, **changes)
    rest.resume()
    assert rest.iteration == 5 and rest.train()
    assert same(rest.state().state(), whole.state().state(), BUT)


def test_a_run_does_not_go_on_with_other_data(trainer, raw, tmp_path, data):
    run = trainer()
    run.train()
    arrays, index = read_arrays(data)
    other = dataclasses.replace(index, sha256={**index.sha256, "val": "other"})
    again = Trainer(run.config, run.learner, arrays, other)
    with pytest.raises(UserError, match="was trained on other arrays than those in .*--data"):
        again.resume()


def test_more_classes_in_training_than_the_classifier_has_are_refused(trainer):
    with pytest.raises(UserError, match="train_way is 6, but the classifier of maml is for way 5"):
        trainer(train_way=6)
    trainer(train_way=4).train()


@pytest.mark.parametrize(
    "schedule, expected",
    [
        ("constant", [1, 1, 1, 1]),
        ("linear", [1, 0.75, 0.5, 0.25]),
        ("cosine", [1, (1 + np.sqrt(0.5)) / 2, 0.5, (1 - np.sqrt(0.5)) / 2]),
        ("halving", [1, 1, 0.5, 0.5]),
    ],
)
def test_schedules(schedule, expected):
    halving = {"halve_every": 2} if schedule == "halving" else {}
    config = Config(outer_lr=1.0, schedule=schedule, meta_iterations=4, **halving)
    assert [learning_rate(config, i) for i in range(4)] == pytest.approx(expected)


def test_a_learning_rate_may_end_above_0():
    config = Config(schedule="cosine", outer_lr_end=1e-5, meta_iterations=100)
    rates = [learning_rate(config, i) for i in (0, 50, 100)]
    assert rates == pytest.approx([1e-3, 0.505e-3, 1e-5])


def test_the_optimizer_follows_the_schedule(trainer):
    log = Heard()
    trainer(schedule="linear", outer_lr=0.008).train(log)
    rates = [metrics["learning rate"] for _, metrics in log.steps]
    assert rates == pytest.approx([0.001 * left for left in range(8, 0, -1)])


def test_a_finished_run_goes_on_as_if_it_had_been_longer_from_the_start(trainer):
    """To the bit, though it measures at other times."""
    whole = trainer(name="whole", meta_iterations=8)
    whole.train()
    trainer(meta_iterations=4).train()
    longer = trainer(meta_iterations=8, val_every=3, print_every=1, save_every=1)
    longer.resume()
    assert longer.iteration == 4 and not longer.finished and longer.train()
    for part in ("weights", "optimizer", "tasks", "iteration"):
        assert same(getattr(longer.state(), part), getattr(whole.state(), part))


@pytest.mark.parametrize(
    "begin, expected",
    [(0, [0.5, 0.375, 0.25, 0.125]), (4, [1, 0.75, 0.5, 0.25])],
    ids=["stretched", "restarted"],
)
def test_a_schedule_is_stretched_or_restarted_where_a_run_goes_on(trainer, begin, expected):
    fall = {"schedule": "linear", "outer_lr": 0.001}
    trainer(**fall, meta_iterations=4).train()
    log = Heard()
    longer = trainer(**fall, meta_iterations=8, schedule_from=begin)
    longer.resume()
    assert longer.train(log)
    rates = [metrics["learning rate"] for _, metrics in log.steps]
    assert rates == pytest.approx([0.001 * share for share in expected])


def test_halvings_are_counted_from_where_the_schedule_begins():
    config = Config(
        outer_lr=1.0, schedule="halving", halve_every=2, meta_iterations=8, schedule_from=3
    )
    rates = [learning_rate(config, i) for i in range(8)]
    assert rates == [1, 1, 1, 1, 1, 0.5, 0.5, 0.25]


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"outer_lr": 0.5}, "was started with outer_lr 0.001, not 0.5; .* by --start .*a.pkl"),
        ({"val_tasks": 6}, "was started with val_tasks 5, not 6"),
        ({"meta_iterations": 7}, "is at meta-iteration 8 already, .* cannot be 7; name a larger"),
    ],
)
def test_what_would_change_the_past_is_refused(trainer, changes, sentence):
    trainer().train()
    with pytest.raises(UserError, match=sentence):
        trainer(**changes).resume()
