#!/usr/bin/env python3
"""What a training run's numbers depend on: which are equal to the bit, and which to rounding.

Short runs of MAML (second order) and Prototypical Networks, of one seed and on the same tasks, are
repeated with other numbers of processes and threads, on other code paths of Intel MKL, and by other
Pythons, whose PaddlePaddle or NumPy may be of another version. The table compares each with the
first; docs/reproducibility.md explains it.

examples:
  python benchmarks/reproducible.py
  python benchmarks/reproducible.py --python .venv-paddle-2.6/bin/python other/bin/python
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np

from maml.config import Config
from maml.system import device, errors, launch
from maml.system.processes import Processes

METHODS = {
    "maml": Config(meta_batch_size=4, query=5),
    "protonet": Config(algorithm="protonet", way=10, query=5, meta_batch_size=2),
}
STEPS = 10
VARIANTS = {
    "the same again": {},
    "2 processes": {"workers": 2},
    "2 threads": {"OMP_NUM_THREADS": "2"},
    "MKL_CBWR=COMPATIBLE": {"MKL_CBWR": "COMPATIBLE"},
    "MKL_CBWR=AVX2": {"MKL_CBWR": "AVX2"},
    "MKL_ENABLE_INSTRUCTIONS=SSE4_2": {"MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    "MKL_ENABLE_INSTRUCTIONS=AVX2": {"MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "MKL_ENABLE_INSTRUCTIONS=AVX512": {"MKL_ENABLE_INSTRUCTIONS": "AVX512"},
    "MKL_DEBUG_CPU_TYPE=5": {"MKL_DEBUG_CPU_TYPE": "5"},
}


def train(file: str) -> None:
    """Train each method, and write what it drew and computed."""
    device.use_device(False)
    from maml.data.tasks import TaskSampler
    from maml.training import weights as parameters
    from maml.training.build import build_learner, own_part

    processes, found = Processes(), {}
    for method, config in METHODS.items():
        learner = build_learner(config, processes=processes)
        images = np.random.default_rng(0).integers(256, size=(80, 20, 1, 28, 28)).astype(np.uint8)
        sampler = TaskSampler(images, *config.train_task, np.random.default_rng(1))
        drawn = hashlib.sha256()
        for array in parameters.weights(learner):
            drawn.update(array.tobytes())
        for step in range(STEPS):
            tasks = sampler.sample(config.meta_batch_size)
            for array in tasks:
                drawn.update(array.tobytes())
            part = own_part(config, processes)
            learner.meta_step(type(tasks)(*(array[part] for array in tasks)))
            if step == 0:  # Adam's first moment is a multiple of the gradient
                state = parameters.optimizer_state(learner)
                moments = [v for k, v in sorted(state.items()) if "moment1" in k]
                found[f"{method} gradient"] = np.concatenate([m.ravel() for m in moments])
        found[f"{method} drawn"] = np.frombuffer(drawn.digest(), np.uint8)
        found[f"{method} weights"] = np.concatenate(
            [w.ravel() for w in parameters.weights(learner)]
        )
    if processes.first:
        np.savez(file, **found)


def measure(
    python: str, folder: str, workers: int = 1, **environment: str
) -> dict[str, np.ndarray]:
    """What runs by this Python with this environment give."""
    file = f"{folder}/found.npz"
    command = [python, __file__, "--write", file, "--workers", str(workers)]
    usual = {"OMP_NUM_THREADS": "1", **{k: v for k, v in os.environ.items() if "MKL_" not in k}}
    subprocess.run(command, check=True, env={**usual, **environment})
    with np.load(file) as found:
        return dict(found)


def versions(python: str) -> str:
    """PaddlePaddle and NumPy of a Python."""
    code = (
        "from importlib.metadata import version as v; "
        "print('PaddlePaddle', v('paddlepaddle'), 'and NumPy', v('numpy'))"
    )
    return subprocess.run(
        [python, "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()


def compared(a: np.ndarray, b: np.ndarray) -> str:
    """How far apart two results are, relative to the largest number of the first."""
    if a.tobytes() == b.tobytes():
        return "equal"
    return f"{np.abs(a - b).max() / np.abs(a).max():.0e}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", nargs="*", default=[], help="further Pythons to compare with")
    parser.add_argument("--write", help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, default=1, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        if not launch.is_worker():
            return launch.start(arguments.workers)
        train(arguments.write)
        return 0
    print(f"{device.machine()}; {versions(sys.executable)}; {STEPS} steps\n")
    columns = [f"{method}: {what}" for method in METHODS for what in ("gradient", "weights")]
    print(f"| what differs | drawn | {' | '.join(columns)} |")
    print("| --- " * (len(columns) + 2) + "|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        first = measure(sys.executable, folder)
        others = {versions(python): {"python": python} for python in arguments.python}
        for name, changes in {**VARIANTS, **others}.items():
            found = measure(**{"python": sys.executable, "folder": folder, **changes})
            drawn = {compared(first[k], found[k]) for k in first if k.endswith("drawn")}
            cells = [
                compared(first[c.replace(":", "")], found[c.replace(":", "")]) for c in columns
            ]
            cells = ["equal" if drawn == {"equal"} else "OTHERS", *cells]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    errors.run(main)
