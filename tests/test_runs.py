import dataclasses

import pytest

from maml import checkpoint, runs
from maml.config import Config
from maml.errors import UserError


@pytest.fixture
def config(tmp_path):
    return Config(name="a", logdir=str(tmp_path / "log"), checkpoints=str(tmp_path / "checkpoints"))


def saved(config, name):
    named = dataclasses.replace(config, name=name)
    checkpoint.save({"config": dataclasses.asdict(named)}, runs.resume_path(named))


def test_a_new_run_never_takes_the_name_of_another(config):
    assert runs.new_name(config) == "a"
    checkpoint.save({}, runs.best_path(config))
    assert runs.new_name(config) == "a-2"
    saved(config, "a-2")
    assert runs.new_name(config) == "a-3"


def test_resuming_finds_the_last_run_with_the_same_settings(config):
    with pytest.raises(UserError, match="nothing can be resumed"):
        runs.resumed_name(config)
    saved(config, "a")
    saved(config, "a-2")
    saved(dataclasses.replace(config, seed=7), "a-3")
    assert runs.resumed_name(config) == "a-2"
    assert runs.resumed_name(dataclasses.replace(config, workers=2, print_every=1)) == "a-2"
    with pytest.raises(UserError, match="was started with seed 7, not 8"):
        runs.resumed_name(dataclasses.replace(config, seed=8))
