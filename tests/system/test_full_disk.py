"""A disk that is full, and one that may only be read: an error in one line, and what stood there
before is untouched.
"""

import contextlib
import os
import subprocess

import numpy as np
import pytest
from helpers import command, script, train

from maml.data.arrays import read_arrays, save_arrays
from maml.system import safe_pickle
from maml.system.errors import UserError

RUN = ["--save_every", 2, "--val_every", 2, "--print_every", 2, "--name", "run"]


@pytest.fixture
def disk(tmp_path):
    """An empty file system of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], capture_output=True
    ).returncode:
        pytest.skip("mounting a file system takes root's rights")
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(disk):
    with open(disk / "ballast", "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def make_read_only(disk):
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)


pytestmark = pytest.mark.slow
SPOIL = pytest.mark.parametrize(
    "spoil, message", [(fill, "no space left"), (make_read_only, "Read-only file system")]
)


@SPOIL
def test_a_run_ends_and_its_last_state_stays(data, disk, spoil, message):
    train(data, disk, *RUN, "--meta_iterations", 2)
    state = disk / "log" / "run" / "resume.pkl"
    saved = safe_pickle.load(state)
    longer = {**saved["config"], "meta_iterations": 100}
    safe_pickle.save({**saved, "config": longer}, state)
    before = {path: path.read_bytes() for path in disk.rglob("*.pkl")}
    spoil(disk)
    done = train(data, disk, *RUN, "--meta_iterations", 100, "--resume", status=2, workers=1)
    assert (
        message in done.stderr
        and "Traceback" not in done.stderr
        and done.stderr.count("error:") == 1
    )
    assert len(before) == 2 and {path: path.read_bytes() for path in disk.rglob("*.pkl")} == before
    assert safe_pickle.load(state)["epoch"] == 2 and not list(disk.rglob("*.part"))


@SPOIL
def test_a_run_does_not_begin(data, disk, spoil, message):
    spoil(disk)
    done = train(data, disk, *RUN, "--meta_iterations", 100, status=2, workers=1)
    assert (
        message in done.stderr
        and "Traceback" not in done.stderr
        and done.stderr.count("error:") == 1
    )


@SPOIL
def test_make_data_writes_all_or_nothing(raw, disk, spoil, message):
    command("data", "--raw", raw, "--out", disk / "out")
    before = {path: path.read_bytes() for path in (disk / "out").iterdir()}
    spoil(disk)
    done = script("make_data.py", "--raw", raw, "--out", disk / "out", "--seed", 1, status=2)
    assert message in done.stderr and done.stderr.count("\n") == 1
    assert {path: path.read_bytes() for path in (disk / "out").iterdir()} == before


def test_a_disk_that_fills_up_within_an_array(data, disk):
    arrays, index = read_arrays(data)
    arrays["train"] = np.concatenate([arrays["train"]] * 30)  # 11 MB
    with pytest.raises(UserError, match="no space left on the disk"):
        save_arrays(arrays, index, disk)
    assert not list(disk.rglob("*omniglot*"))


def test_a_write_that_fails_half_way_leaves_the_former_file(disk):
    path = disk / "a.pkl"
    safe_pickle.save({"weights": [np.zeros(100_000, np.float32)]}, path)
    before = path.read_bytes()
    with pytest.raises(Exception, match="no space left"):
        safe_pickle.save({"weights": [np.zeros(3_000_000, np.float32)]}, path)
    assert path.read_bytes() == before and os.listdir(disk) == ["a.pkl"]
