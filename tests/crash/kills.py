#!/usr/bin/env python3
"""Kill training runs by SIGKILL at random moments, resume them, and compare their ends with those
of runs that nobody disturbed.

example:
  python tests/crash/kills.py --kills 50
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from helpers import same

from maml.data import stand_in
from maml.data.arrays import convert, save_arrays
from maml.system import device, safe_pickle

METHODS = {
    "maml": "--workers 2 --meta_batch_size 2 --inner_steps 1 --inner_steps_test 1",
    "protonet": "--algorithm protonet --train_way 10 --meta_batch_size 1",
    "siamese": "--algorithm siamese --train_way 10 --train_query 1 --meta_batch_size 1",
}
OFTEN = "--query 1 --save_every 1 --val_every 20 --val_tasks 2 --print_every 50"
COMPARED = ("weights", "running", "optimizer", "tasks", "best", "epoch", "history")


def alive(group: int) -> list[int]:
    """Processes of a group that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
        except (OSError, ValueError):
            continue  # it has just ended
        if int(its_group) == group and state != "Z":
            found.append(int(stat.parent.name))
    return found


class Experiment:
    """Runs of one method in a folder of its own, as `kill` and `finish` go on with it."""

    def __init__(self, method: str, iterations: int, data: Path, folder: Path):
        self.folder = folder
        self.command = [
            sys.executable,
            "train.py",
            "--data",
            str(data),
            "--logdir",
            str(folder / "log"),
            "--checkpoints",
            str(folder / "checkpoints"),
            "--workers",
            "1",
            "--meta_iterations",
            str(iterations),
            *METHODS[method].split(),
            *OFTEN.split(),
        ]
        self.environment = {**os.environ, **device.environment()}
        self.name = method

    @property
    def resume_path(self) -> Path:
        return self.folder / "log" / self.name / "resume.pkl"

    def start(self) -> subprocess.Popen:
        """Train in a process group of its own, from where it stopped if it left anything to go on
        from.
        """
        go_on = ["--resume"] if self.resume_path.exists() else []
        return subprocess.Popen(
            [*self.command, "--name", self.name, *go_on],
            cwd=ROOT,
            env=self.environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self) -> dict:
        """Train to the end; the final state."""
        process = self.start()
        _, complaint = process.communicate()
        assert process.returncode == 0, f"{self.name} ended with {process.returncode}: {complaint}"
        return safe_pickle.load(self.resume_path)

    def kill(self, after: float) -> int | None:
        """Kill the process group `after` so many seconds, unless training ends before; the epoch it
        had saved. Whatever is left must be whole, and nobody may be left running.
        """
        process = self.start()
        try:
            _, complaint = process.communicate(timeout=after)
            assert process.returncode == 0, (
                f"{self.name} ended with {process.returncode}: {complaint}"
            )
            return None
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        deadline = time.monotonic() + 5
        while alive(process.pid) and time.monotonic() < deadline:
            time.sleep(0.01)  # the kernel is still taking them down
        assert not alive(process.pid), (
            f"{self.name}: processes {alive(process.pid)} outlived their group"
        )
        for path in self.folder.rglob("*.pkl"):
            safe_pickle.load(path)
        return safe_pickle.load(self.resume_path)["epoch"] if self.resume_path.exists() else 0


def torment(
    method: str,
    iterations: int,
    data: Path,
    folder: Path,
    kills: int,
    rng: np.random.Generator,
    say=print,
) -> None:
    """Kill runs of `method`, and compare the end of each with that of an undisturbed run."""
    began = time.monotonic()
    expected = Experiment(method, iterations, data, folder / "undisturbed").finish()
    whole = time.monotonic() - began
    done = 0
    for number in itertools.count():
        experiment = Experiment(method, iterations, data, folder / f"killed{number}")
        while done < kills:
            after = rng.uniform(0.0, 1.2 * whole)
            epoch = experiment.kill(after)
            if epoch is None:
                break
            done += 1
            say(f"{method}: kill {done:2} after {after:5.2f} s, epoch {epoch} saved")
        state = experiment.finish()
        different = [key for key in COMPARED if not same(state[key], expected[key], but=())]
        assert not different, f"{method}: {', '.join(different)} differ from the undisturbed run's"
        say(f"{method}: its end is the undisturbed run's to the bit")
        if done == kills:
            return


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--kills", type=int, default=50, help="in all, shared by the methods (default: %(default)s)"
    )
    parser.add_argument(
        "--meta_iterations", type=int, default=300, help="of each run (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: %(default)s)")
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        raw, data = Path(folder) / "raw", Path(folder) / "data"
        stand_in.write(raw, alphabets=4, characters=10, seed=1)
        save_arrays(*convert(raw, 28, "random", 0), data)
        shares = np.diff(np.linspace(0, arguments.kills, len(METHODS) + 1).astype(int))
        for method, kills in zip(METHODS, shares):
            torment(method, arguments.meta_iterations, data, Path(folder) / method, int(kills), rng)


if __name__ == "__main__":
    main()
