#!/usr/bin/env python3
"""Train on colour images of 84 x 84 pixels, as those of mini-ImageNet: seconds a step, and memory.

Each row is a run of train.py on invented images: Conv4 (network pooled) and the residual network of
examples/resnet.py, by Prototypical Networks and by second-order MAML, in one process. A step is one
5-way 1-shot task with 15 queries of each class. Seconds a step are of the training, with the
validation of two tasks at its end; those of the processor are of the whole run, its start included.

example:
  python benchmarks/colour.py
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np

from maml.system import device, errors
from maml.training.checkpoint import read

SIDE, CLASSES, EACH = 84, 40, 20
NETWORKS = {"Conv4": "pooled", "residual": f"{ROOT}/examples/resnet.py:four"}
METHODS = {
    "protonet": ["--meta_batch_size", "1"],
    "maml": ["--meta_batch_size", "1", "--inner_steps", "5", "--inner_steps_test", "5"],
}


def write_data(folder: Path) -> None:
    """Write images of noise in the colour of their class, as make_data.py writes them."""
    rng, labels = np.random.default_rng(0), np.arange(CLASSES).repeat(EACH)
    shades = rng.integers(0, 150, [CLASSES, 1, 1, 3])
    images = shades[labels] + rng.integers(0, 100, [len(labels), SIDE, SIDE, 3])
    np.save(folder / "x.npy", images.astype(np.uint8))
    np.save(folder / "y.npy", labels)
    arrays = ["--images", str(folder / "x.npy"), "--labels", str(folder / "y.npy")]
    run("make_data.py", *arrays, "--out", str(folder))


def run(*command: str) -> resource.struct_rusage:
    """Run a script of the project, and return what its processes used."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=said
        )
        _, status, used = os.wait4(process.pid, 0)  # with what its own children used
        process.returncode = os.waitstatus_to_exitcode(status)
        if status:
            said.seek(0)
            complaint = said.read().decode(errors="replace").strip()[-500:]
            raise errors.UserError(f"{' '.join(command)} failed: {complaint}")
    return used


def train(folder: Path, method: str, network: str, steps: int) -> list[str]:
    """Train for some steps, and return the cells of the table."""
    name = f"{method}_{Path(network).name.replace(':', '_')}"
    flags = [word for flag in ("--meta_iterations", "--val_every") for word in (flag, str(steps))]
    flags += ["--print_every", str(2 * steps), "--val_tasks", "2", "--workers", "1"]
    flags += ["--algorithm", method, "--network", network, "--name", name, *METHODS[method]]
    places = ["--data", folder, "--logdir", folder / "log", "--checkpoints", folder]
    used = run("train.py", *flags, *map(str, places))
    seconds = read(folder / f"{name}.pkl").seconds
    of_processor = used.ru_utime + used.ru_stime
    return [
        f"{seconds / steps:.2f}",
        f"{of_processor / steps:.2f}",
        f"{used.ru_maxrss / 2**20:.2f}",  # of KiB
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=100, help="of a run (default: %(default)s)")
    parser.add_argument("--method", nargs="+", choices=METHODS, default=list(METHODS))
    arguments = parser.parse_args()
    print(f"{device.machine()}, {time.strftime('%Y-%m-%d')}; {arguments.steps} steps\n")
    header = ["method", "network", "seconds a step", "processor seconds", "peak memory, GiB"]
    print(f"| {' | '.join(header)} |\n|{' --- |' * len(header)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        write_data(Path(folder))
        for method in arguments.method:
            for name, network in NETWORKS.items():
                row = [method, name, *train(Path(folder), method, network, arguments.steps)]
                print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    errors.run(main)
