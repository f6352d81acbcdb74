import dataclasses

import pytest
from helpers import INDEX

from maml.config import Config
from maml.system import reservation, safe_pickle
from maml.system.errors import UserError
from maml.training import names
from maml.training.checkpoint import RunState


@pytest.fixture
def config(tmp_path):
    return Config(name="a", logdir=str(tmp_path / "log"), checkpoints=str(tmp_path / "checkpoints"))


def saved(config, name):
    named = dataclasses.replace(config, name=name)
    path = names.resume_path(named)
    RunState(path, named, INDEX, [], [], 1, {"accuracy": 0.5, "epoch": 1}, [], 1.0, "").save()


def released(name_of, config):
    """The name that `name_of` reserves, which is given back."""
    name = name_of(config)
    reservation.release(names.lock_path(dataclasses.replace(config, name=name)))
    return name


def test_a_new_run_never_takes_the_name_of_another(config):
    assert released(names.new_name, config) == "a"
    safe_pickle.save({}, names.best_path(config))
    assert released(names.new_name, config) == "a-2"
    saved(config, "a-2")
    assert released(names.new_name, config) == "a-3"


def test_resuming_finds_the_last_run_with_the_same_settings(config):
    with pytest.raises(UserError, match="nothing can be resumed"):
        names.resumed_name(config)
    saved(config, "a")
    saved(config, "a-2")
    saved(dataclasses.replace(config, seed=7), "a-3")
    assert released(names.resumed_name, config) == "a-2"
    elsewhere = dataclasses.replace(config, workers=2, print_every=1)
    assert released(names.resumed_name, elsewhere) == "a-2"
    with pytest.raises(UserError, match="was started with seed 7, not 8"):
        names.resumed_name(dataclasses.replace(config, seed=8))


def test_of_runs_that_may_go_on_the_one_that_was_to_end_there_comes_first(config):
    saved(config, "a")
    saved(dataclasses.replace(config, meta_iterations=200), "a-2")
    assert released(names.resumed_name, config) == "a"
    longer = dataclasses.replace(config, meta_iterations=20_000)
    assert released(names.resumed_name, longer) == "a-2"  # the latest
