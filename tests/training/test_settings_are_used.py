"""No setting is ignored: whatever a method accepts changes what its run does; else it is refused in
a sentence that names the method and the setting.
"""

import pytest
from helpers import names_word

from maml import config
from maml.config import FIELDS, GRADIENT, METHODS, METRIC, Config
from maml.data.arrays import convert
from maml.system.errors import UserError
from maml.training import loop
from maml.training.build import build_learner
from maml.training.loop import Trainer

SIDE = 16  # of the images
SMALL = {
    "way": 3,
    "shot": 2,
    "query": 3,
    "train_shot": 1,
    "train_query": 1,
    "meta_batch_size": 2,
    "filters": 2,
    "inner_steps": 2,
    "inner_steps_test": 2,
    "val_tasks": 2,
    "meta_iterations": 2,
    "print_every": 2,
    "val_every": 2,
    "save_every": 2,
    "name": "run",
}
OTHER = {  # a value that is neither the default nor the value of `SMALL`, and what it goes with
    "first_order": (True, {}),
    "network": ("other", {}),  # what the method does not take by itself, as of bn
    "filters": (3, {}),
    "distance": ("dot", {}),
    "context_steps": (1, {}),
    "objective": ("triplets", {}),
    "negatives": ("random", {"objective": "triplets"}),
    "margin": (0.1, {"objective": "triplets"}),
    "every_support": (True, {"train_shot": 2}),
    "refine": (1, {}),
    "bn": ("other", {}),
    "way": (2, {}),
    "shot": (1, {}),
    "query": (2, {}),
    "train_way": (4, {}),
    "train_shot": (2, {}),
    "train_query": (2, {}),
    "meta_batch_size": (1, {}),
    "rotations": (False, {}),
    "replacement": (True, {}),
    "within_alphabets": (True, {}),
    "distortions": (2, {}),
    "distortions_test": (1, {}),
    "inner_steps": (1, {}),
    "inner_steps_test": (1, {}),
    "inner_lr": (0.3, {}),
    "inner_loss": ("sum", {}),
    "adapt": ("classifier.*", {}),
    "learned_rates": (True, {}),
    "per_step_norm": (True, {}),
    "inner_optimizer": ("adam", {}),
    "inner_batch": (1, {}),
    "inner_batch_test": (1, {}),
    "clip": (1e-4, {}),
    "temperature": (0.2, {}),
    "outer_optimizer": ("adam", {}),
    "outer_lr": (0.1, {}),
    "multi_step_loss": (10, {}),
    "first_order_until": (1, {}),
    "schedule": ("linear", {}),
    "outer_lr_end": (0.0005, {"schedule": "cosine"}),
    "halve_every": (1, {"schedule": "halving"}),
    "schedule_from": (1, {"schedule": "cosine"}),
    "patience": (1, {"outer_lr": 0.0, "val_every": 1, "meta_iterations": 3}),
    "train_on_val": (True, {}),
    "meta_iterations": (1, {}),
    "seed": (1, {}),
    "print_every": (1, {}),
    "val_every": (1, {}),
    "val_tasks": (1, {}),
    "save_every": (1, {}),
    "name": ("mine", {}),
    "logdir": ("elsewhere", {}),  # below the run's folder, as the next
    "checkpoints": ("elsewhere", {}),
    "keep_best": (1, {}),
}
LEFT_TO_TRAIN = {"data", "gpu", "workers", "start"}  # what maml/cli/train.py does before the run
SLOW = {"dense_deviation"}  # of a network of 39 million weights, see tests/networks/test_koch.py
ALWAYS = {"algorithm"}
REFUSED = {("siamese", "train_shot"), ("siamese", "train_query")}  # as are larger ways:
REFUSED |= {(method, "train_way") for method in GRADIENT}


def values(method, changes, folder):
    """The settings of a small run of `method`."""
    used = {k: v for k, v in SMALL.items() if method in FIELDS[k].metadata["only_for"]}
    places = {"logdir": f"{folder}/log", "checkpoints": f"{folder}/weights"}
    return {"algorithm": method, **used, **places, **changes}


class Trace:
    """All that a run does: what it logs, scores and saves, and its weights."""

    def __init__(self, settings, data, folder):
        self.done = []
        learner = build_learner(settings, SIDE)
        predict = learner.predict

        def noted(*arguments):
            scores = predict(*arguments)
            self.done.append(scores.numpy().tobytes())
            return scores

        learner.predict = noted
        run = Trainer(settings, learner, *data)
        save = run.save
        run.save = lambda: (self.done.append("save"), save())
        run.train(self)
        self.done += [w.numpy().tobytes() for w in learner.meta_parameters]
        self.done += sorted(str(path.relative_to(folder)) for path in folder.rglob("*.pkl"))

    def step(self, iteration, metrics):
        self.done.append({k: v for k, v in metrics.items() if k != "seconds a step"})

    def train(self, iteration, tasks, result):
        self.done.append(("train", iteration, result.vector.tolist()))

    def validation(self, iteration, result):
        self.done.append(("validation", iteration, result.vector.tolist()))


def test_every_setting_is_looked_at_here():
    assert OTHER.keys() | LEFT_TO_TRAIN | SLOW | ALWAYS == FIELDS.keys()


@pytest.fixture(scope="module")
def data(raw):
    return convert(raw, SIDE, "random", 0)


@pytest.fixture(scope="module")
def usual(data, tmp_path_factory):
    """What a run of a method does with what a setting goes with; each is run once."""
    traces = {}

    def of(method, beside):
        key = method, tuple(beside.items())
        if key not in traces:
            folder = tmp_path_factory.mktemp("usual")
            traces[key] = Trace(Config(**values(method, beside, folder)), data, folder).done
        return traces[key]

    return of


def other(method, name, folder):
    """A value of the setting that the method does not take by itself."""
    value, _ = OTHER[name]
    if name == "network":
        return "strided" if method in METRIC else "pooled"
    if name == "bn":
        return "transductive" if method in METRIC else "inductive"
    return str(folder / value) if value == "elsewhere" else value


CASES = [(method, name) for method in METHODS for name in OTHER]
ACCEPTED = [(method, name) for method, name in CASES if method in FIELDS[name].metadata["only_for"]]


@pytest.mark.slow
@pytest.mark.parametrize("method, name", ACCEPTED)
def test_a_setting_changes_what_a_run_does(data, usual, tmp_path, monkeypatch, method, name):
    monkeypatch.setattr(loop, "PROGRESS_TASKS", 1)
    _, beside = OTHER[name]
    changes = {**beside, name: other(method, name, tmp_path)}
    try:
        done = Trace(Config(**values(method, changes, tmp_path)), data, tmp_path).done
    except UserError as error:
        assert (method, name) in REFUSED and both(error, method, name)
    else:
        assert done != usual(method, beside)


@pytest.mark.parametrize("method, name", sorted({*CASES} - {*ACCEPTED}))
def test_a_setting_of_other_methods_is_refused(method, name):
    with pytest.raises(UserError) as caught:
        Config(algorithm=method, **{name: OTHER[name][0]})
    assert both(caught.value, method, name)


UNFIT = {"network": "keras", "objective": "pairs", "schedule": "constant"}
WITH_ANOTHER = [(method, name) for method, name in ACCEPTED if FIELDS[name].metadata["only_with"]]


@pytest.mark.parametrize("method, name", [*WITH_ANOTHER, ("siamese", "dense_deviation")])
def test_a_setting_that_goes_with_another_is_refused_without_it(method, name):
    (beside,) = FIELDS[name].metadata["only_with"]
    changes = {beside: UNFIT[beside], name: 0.01 if name in SLOW else OTHER[name][0]}
    with pytest.raises(UserError) as caught:
        Config(**values(method, {"filters": 64, **changes}, "."))
    assert both(caught.value, method, name, beside, UNFIT[beside])


def test_an_old_checkpoint_may_state_what_it_did_not_use():
    old = {"algorithm": "siamese", "train_shot": 1, "train_query": 1, "margin": 0.3, "clip": 1.0}
    assert config.stored(old, "old.pkl").margin == Config.margin
    assert config.stored({**old, "objective": "triplets"}, "old.pkl").margin == 0.3


def test_the_same_run_does_the_same(data, tmp_path):
    """Else all settings would seem to be used."""
    folders = [tmp_path / "a", tmp_path / "b"]
    first, second = (Trace(Config(**values("protonet", {}, f)), data, f).done for f in folders)
    assert first == second


def both(error, *names):
    return all(names_word(str(error), name) for name in names) and "\n" not in str(error)
