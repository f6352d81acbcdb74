"""train.py on several processes and nodes takes the steps of one."""

import os
import signal
import subprocess
import sys

import left_behind
import numpy as np
import pytest
from helpers import ROOT, TINY, folders, free_port, resume_file, same, tiny, train

from maml.config import Config
from maml.data.arrays import read_arrays
from maml.system import safe_pickle
from maml.system.processes import Processes
from maml.training.build import learner_for
from maml.training.loop import Trainer

pytestmark = pytest.mark.slow


def state(out, name="maml_5w1s"):
    return safe_pickle.load(resume_file(out, name))


def one_and_two(data, out, *flags):
    """The last states of a run in this process and of the same run on two processes."""
    for workers in (None, 2):
        train(data, out, *flags, "--name", workers or 1, workers=workers)
    return state(out, "1"), state(out, "2")


@pytest.mark.both_paddles
def test_two_processes_take_the_first_step_of_one(data, tmp_path):
    """The first meta-gradient, of which Adam's moments are multiples, is the same but for
    rounding.
    """
    found = one_and_two(data, tmp_path, "--meta_iterations", 1)
    one, two = (each["optimizer"] for each in found)
    for a, b in zip(one.values(), two.values()):
        assert np.allclose(a, b, rtol=1e-2, atol=1e-4 * np.abs(a).max())


@pytest.mark.both_paddles
def test_two_processes_take_the_steps_of_one_and_one_goes_on(data, run, tmp_path):
    """The tasks up to the end are the same, and the weights but for rounding. Then one process
    resumes the run.
    """
    with left_behind.nothing(tmp_path):
        text = train(data, tmp_path, workers=2).stdout
    assert text.count("epoch: 4") == 1
    one, two = state(run[0]), state(tmp_path)
    assert same(one["tasks"], two["tasks"])
    for a, b in zip(one["weights"], two["weights"]):
        # Adam's early steps amplify the rounding of tiny gradients; a wrong share would move 8e-3
        assert np.abs(a - b).max() < 4e-3
    train(data, tmp_path, "--meta_iterations", 9, "--resume")
    assert state(tmp_path)["epoch"] == 9


def test_a_worker_that_dies_ends_the_run(data, tmp_path):
    flags = [*folders(data, tmp_path), *tiny("--meta_iterations"), "--meta_iterations", 10000]
    with left_behind.nothing(tmp_path):
        process = subprocess.Popen(
            [sys.executable, "train.py", *map(str, flags), "--workers", "2"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert any("epoch: 4" in line for line in process.stdout)
        workers = children(process.pid)
        assert len(workers) == 2
        os.kill(workers[1], signal.SIGKILL)
        _, complaint = process.communicate(timeout=60)
    assert process.returncode != 0 and complaint
    assert state(tmp_path)["epoch"] >= 3


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return sorted(map(int, file.read().split()))


def test_two_processes_share_an_episode(data, tmp_path):
    """The first update's gradient, of which Adam's moments are multiples, and the statistics of
    batch normalisation are those of one process; so are the tasks to the end.
    """
    flags = ["--algorithm", "protonet", "--train_way", 10, "--distance", "cosine"]
    flags += ["--meta_batch_size", 1, "--meta_iterations", 1]
    train(data, tmp_path, *flags, "--name", "1")
    text = train(data, tmp_path, *flags, "--name", "2", workers=2).stdout
    assert "2 processes" in text
    one, two = state(tmp_path, "1"), state(tmp_path, "2")
    assert same(one["tasks"], two["tasks"])
    for a, b in zip(one["optimizer"].values(), two["optimizer"].values()):
        assert np.allclose(a, b, rtol=1e-2, atol=1e-4 * np.abs(a).max())
    for a, b in zip(one["running"], two["running"]):
        for u, v in zip(a, b):
            assert np.allclose(u, v, rtol=1e-3, atol=1e-5)


def test_reptile_takes_the_same_step_on_two_processes(data, tmp_path, together):
    """Of three tasks, in this process. No optimizer stands between the mean of the tasks' weights
    and phi, which is the same but for rounding.
    """
    flags = {"algorithm": "reptile", "train_query": 0, "inner_optimizer": "sgd", "name": "r"}
    flags |= {"outer_lr": 0.5, "inner_lr": 0.1, "meta_batch_size": 3, "meta_iterations": 1}
    places = {"logdir": str(tmp_path), "checkpoints": str(tmp_path)}
    config = Config(**{**TINY, **flags, **places})
    arrays, index = read_arrays(data)

    def trained(rank, processes):
        run = Trainer(config, learner_for(config, index, processes), arrays, index, processes)
        assert run.train()
        return run.state()

    one = trained(0, Processes())
    for two in together(trained, 2):
        assert same(one.tasks, two.tasks) and one.iteration == two.iteration == 1
        difference = max(np.abs(a - b).max() for a, b in zip(one.weights, two.weights))
        assert difference < 1e-5  # rounding moves 2e-7, a wrong share 4e-3


def test_under_paddles_own_launcher_as_two_nodes(data, run, tmp_path):
    """Two launchers on this machine, a process each, take the steps of one process."""
    where = ["--master", f"127.0.0.1:{free_port()}", "--log_dir", tmp_path / "launcher"]
    launcher = ["-m", "paddle.distributed.launch", "--nnodes", 2, "--nproc_per_node", 1, *where]
    command = [sys.executable, *launcher, "train.py", *folders(data, tmp_path), *tiny()]
    nodes = [
        subprocess.Popen(
            list(map(str, command)), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(2)
    ]
    assert [node.wait(timeout=120) for node in nodes] == [0, 0]
    one, two = state(run[0]), state(tmp_path)
    assert same(one["tasks"], two["tasks"])
    assert max(np.abs(a - b).max() for a, b in zip(one["weights"], two["weights"])) < 4e-3
