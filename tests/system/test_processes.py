"""What processes that share a batch of tasks make of it together, without a second process."""

import numpy as np
import pytest
from helpers import tensors
from hypothesis import given, settings
from hypothesis import strategies as st

from maml.system.processes import Processes

pytestmark = pytest.mark.both_paddles


@pytest.mark.parametrize("tasks, size", [(3, 2), (4, 2), (7, 3)])
def test_the_average_is_over_tasks_not_over_processes(together, rng, tasks, size):
    """Each task counts as much as any other, though one process has more of them."""
    arrays = [rng.standard_normal((tasks, *shape)) for shape in ((), (2, 3), (1, 4))]

    def average(rank, processes):
        return processes.average(tensors(a[processes.part(tasks)] for a in arrays))

    for means in together(average, size):
        assert [m.shape for m in means] == [[], [2, 3], [1, 4]]
        for mean, a in zip(means, arrays):
            assert np.abs(mean.numpy() - a.mean(axis=0)).max() < 1e-12 and mean.stop_gradient


def test_a_process_alone_averages_its_tasks(rng):
    a = rng.standard_normal((3, 2))
    (mean,) = Processes().average(tensors([a]))
    assert np.abs(mean.numpy() - a.mean(axis=0)).max() < 1e-12


def test_sums_and_flags_are_of_all_processes(together):
    own = [np.array([1, 2], np.float32), np.array([10, 20], np.float32)]
    for total in together(lambda rank, processes: processes.sum(own[rank]), 2):
        assert total.tolist() == [11, 22]
    assert own[0].tolist() == [1, 2]
    for flags in ((False, True), (True, True), (False, False)):
        found = together(lambda rank, processes: processes.any(flags[rank]), 2)
        assert found == [any(flags)] * 2


@settings(deadline=None, derandomize=True)
@given(tasks=st.integers(1, 100), size=st.integers(1, 9))
def test_parts_are_all_of_the_tasks_and_nearly_equal(tasks, size):
    parts = []
    for rank in range(size):
        processes = Processes()
        processes.rank, processes.size = rank, size
        parts.append(list(range(tasks))[processes.part(tasks)])
    assert [task for part in parts for task in part] == list(range(tasks))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
