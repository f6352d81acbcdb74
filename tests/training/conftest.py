"""A trainer of a small run."""

import pytest
from helpers import TINY

from maml.config import Config
from maml.data.arrays import read_arrays
from maml.training.build import build_learner
from maml.training.loop import Trainer


@pytest.fixture
def trainer(data, tmp_path):
    """Makes a trainer of a small run; settings may be changed."""

    def make(**changes):
        places = {"logdir": str(tmp_path / "log"), "checkpoints": str(tmp_path / "checkpoints")}
        config = Config(**{**TINY, "data": str(data), "name": "a", **places, **changes})
        arrays, index = read_arrays(data)
        return Trainer(config, build_learner(config, index.image_size), arrays, index)

    return make
