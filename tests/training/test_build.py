"""How processes divide a batch of tasks, by the settings."""

import pytest

from maml.config import Config
from maml.system.processes import Processes
from maml.training.build import build_learner, own_part


@pytest.mark.parametrize(
    "algorithm, tasks, rank, size, part, shared",
    [
        ("protonet", 1, 0, 1, slice(0, 1), False),
        ("protonet", 1, 1, 2, slice(0, 1), True),
        ("protonet", 3, 1, 2, slice(0, 3), True),
        ("protonet", 4, 1, 2, slice(2, 4), False),
        ("protonet", 1, 0, 13, slice(0, 0), False),  # there is no image for each of 13 processes
        ("maml", 3, 1, 2, slice(1, 3), False),
    ],
)
def test_images_are_shared_where_there_is_no_equal_number_of_tasks(
    algorithm, tasks, rank, size, part, shared
):
    config = Config(algorithm=algorithm, way=3, shot=2, query=2, meta_batch_size=tasks)
    processes = Processes()
    processes.rank, processes.size = rank, size
    learner = build_learner(config, processes=processes)
    assert own_part(config, processes) == part
    assert (getattr(learner, "team", None) is not None) == shared


@pytest.mark.parametrize("algorithm", ["maml", "protonet", "matching"])
def test_the_temperature_reaches_each_method_that_has_one(algorithm):
    assert build_learner(Config(algorithm=algorithm, temperature=3.0)).temperature == 3.0
