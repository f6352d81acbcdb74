"""A name belongs to one living process, whoever starts at the same moment or has died before."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

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
    before = path.stat().st_ctime_ns
    assert reservation.is_alive(path) and not reservation.reserve(path)
    assert path.stat().st_ctime_ns == before  # nobody has taken it away in between
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


def test_a_file_system_without_links_serves_too(tmp_path, monkeypatch):
    def refuse(*paths):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "running.json"
    assert reservation.reserve(path) and reservation.is_alive(path)
    assert not reservation.reserve(path)
    reservation.release(path)
    assert os.listdir(tmp_path) == []


def test_a_disk_that_fills_up_leaves_no_half_of_a_file(tmp_path, monkeypatch):
    write = Path.write_text

    def full(path, text, **options):
        write(path, text[:3], **options)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(UserError, match="no space left on the disk"):
        reservation.reserve(tmp_path / "running.json")
    assert os.listdir(tmp_path) == []


def test_of_two_that_take_over_from_a_dead_run_one_gets_the_name(tmp_path, monkeypatch):
    """The other one comes between the first one's look at the dead run's file and its renaming."""
    path, rename, got = tmp_path / "running.json", os.rename, []
    path.write_text("{}")

    def late(*paths):
        monkeypatch.setattr(os, "rename", rename)
        got.append(reservation.reserve(path))
        rename(*paths)

    monkeypatch.setattr(os, "rename", late)
    got.append(reservation.reserve(path))
    assert got == [True, False] and reservation.is_alive(path)
    assert os.listdir(tmp_path) == ["running.json"]


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="the system does not tell")
def test_a_process_is_known_by_when_it_started():
    later = subprocess.Popen(["sleep", "60"])
    started = [int(reservation._identity(n)["started"]) for n in (os.getpid(), later.pid)]
    later.kill()
    later.wait()
    assert started[0] < started[1]


def test_where_the_system_does_not_tell_when_processes_started(tmp_path, monkeypatch):
    def identity(process):
        return {"process": process, "host": socket.gethostname(), "started": ""}

    monkeypatch.setattr(reservation, "_identity", identity)
    ended = subprocess.Popen(["true"])
    ended.wait()
    path = tmp_path / "running.json"
    path.write_text(json.dumps(identity(ended.pid)))
    assert not reservation.is_alive(path)
    path.write_text(json.dumps(identity(os.getpid())))
    assert reservation.is_alive(path)


def test_a_process_of_somebody_else_is_alive(tmp_path, monkeypatch):
    def refuse(process, number):
        raise PermissionError(1, "Operation not permitted")

    assert reservation.reserve(tmp_path / "running.json")
    monkeypatch.setattr(os, "kill", refuse)
    assert reservation.is_alive(tmp_path / "running.json")
