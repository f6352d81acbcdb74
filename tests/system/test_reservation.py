"""A name belongs to one living process, whoever starts at the same moment or has died before."""

import json
import os
import subprocess
import sys

import pytest
from helpers import ROOT

from maml.config import Config
from maml.system import reservation
from maml.system.errors import UserError
from maml.training import names

RACE = """
import sys, time
from maml.config import Config
from maml.training.names import new_name
print(new_name(Config(name="run", logdir=sys.argv[1], checkpoints=sys.argv[1])), flush=True)
sys.stdin.read()
"""


def start(tmp_path):
    return subprocess.Popen(
        [sys.executable, "-c", RACE, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_runs_that_start_at_once_get_names_of_their_own(tmp_path):
    processes = [start(tmp_path) for _ in range(8)]
    found = {process.stdout.readline().strip() for process in processes}
    for process in processes:
        process.communicate("")
    assert found == {"run", *(f"run-{n}" for n in range(2, 9))}
    assert not list(tmp_path.rglob("*.part"))


def test_a_run_that_died_blocks_nothing(tmp_path):
    process = start(tmp_path)
    assert process.stdout.readline().strip() == "run"
    process.kill()
    process.communicate()
    config = Config(name="run", logdir=str(tmp_path), checkpoints=str(tmp_path))
    assert names.new_name(config) == "run"
    reservation.release(names.lock_path(config))
    assert not names.lock_path(config).exists()


def test_a_number_that_came_again_a_damaged_file_and_another_machine(tmp_path):
    path = tmp_path / "running.json"
    mine = {**reservation._identity(os.getpid())}
    path.write_text(json.dumps({**mine, "started": "0"}))  # the number is another process's now
    assert not reservation.is_alive(path) and reservation.reserve(path)
    assert reservation.is_alive(path) and not reservation.reserve(path)
    path.write_text("{")
    assert reservation.reserve(path)
    path.write_text(json.dumps({**mine, "host": "elsewhere"}))
    assert not reservation.reserve(path) and "on elsewhere" in reservation.owner(path)
    reservation.release(path)
    assert path.exists()  # it is not this process's


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        reservation.reserve(tmp_path / "file" / "running.json")
