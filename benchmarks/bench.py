#!/usr/bin/env python3
"""Seconds a step of every method, on all cores; beside PyTorch's where an environment with it is
named.

examples:
  python benchmarks/bench.py
  python benchmarks/bench.py --torch ~/torch/bin/python --only maml_5w1s fomaml_5w1s
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from maml import config
from maml.system import device, errors, launch
from maml.system.processes import Processes

BURN_IN = 6  # steps until memory that is kept has stopped growing
MAML = {"algorithm": "maml"}
REPTILE = {"algorithm": "reptile", "train_query": 0, "inner_optimizer": "sgd"}
SETTINGS = {  # name: settings of the step
    "maml_5w1s": MAML,
    "maml_5w5s": {**MAML, "shot": 5},
    "maml_20w1s": {**MAML, "way": 20, "meta_batch_size": 16},
    "maml_20w5s": {**MAML, "way": 20, "shot": 5, "meta_batch_size": 4},
    "maml_5w1s_1query_1step": {**MAML, "query": 1, "inner_steps": 1},
    "fomaml_5w1s": {**MAML, "first_order": True},
    "reptile_5w5s": {**REPTILE, "shot": 5, "meta_batch_size": 5, "inner_batch": 25},
    "protonet_60w5s": {
        "algorithm": "protonet",
        "way": 60,
        "shot": 5,
        "query": 5,
        "meta_batch_size": 1,
    },
    "siamese_128pairs": {"algorithm": "siamese", "way": 128, "query": 1, "meta_batch_size": 1},
    "evaluate_5w1s": {**MAML, "inner_steps_test": 10},
}


def flops(name: str, c: config.Config) -> float:
    """Of the matrix products in a step: multiplications and additions.

    An image's forward pass counts one; its gradient two more, without the first layer's input one
    less of that layer; the second derivative of a gradient step as much again as two gradients.
    """
    size, channels, layers = 28, 1, []
    pooled = c.algorithm in ("protonet", "siamese")
    for _ in range(4):
        out = size if pooled else -(-size // 2)
        layers.append(2 * out * out * 9 * channels * 64)
        size, channels = (out // 2 if pooled else out), 64
    forward = sum(layers)
    gradient = 3 * forward - layers[0]
    way, shot, query = c.train_task
    if name.startswith("evaluate"):
        return c.meta_batch_size * (
            c.inner_steps_test * way * shot * gradient + way * query * forward
        )
    if pooled:
        return way * (shot + query) * gradient
    if c.algorithm == "reptile":
        return c.meta_batch_size * c.inner_steps * c.inner_batch * gradient
    support = gradient if c.first_order else 3 * gradient
    return c.meta_batch_size * (c.inner_steps * way * shot * support + way * query * gradient)


def peer_arguments(name: str, c: config.Config, repeats: int) -> list[str]:
    """The same step for torch_peer.py."""
    algorithm = (
        "evaluate" if name.startswith("evaluate") else "fomaml" if c.first_order else c.algorithm
    )
    way, shot, query = c.train_task
    steps = c.inner_steps_test if algorithm == "evaluate" else c.inner_steps
    values = {
        "way": way,
        "shot": shot,
        "query": query or 1,
        "steps": steps,
        "tasks": c.meta_batch_size,
        "repeats": repeats,
    }
    return [
        algorithm,
        *(word for key, value in values.items() for word in (f"--{key}", str(value))),
    ]


def work(name: str, c: config.Config, repeats: int) -> None:
    """One of the processes that share the step; the first prints what it took as JSON."""
    device.end_with_parent()
    device.use_device(c.gpu)
    processes = Processes()

    import numpy as np
    import paddle

    from maml.data import tasks
    from maml.evaluation import accuracy
    from maml.training.build import build_learner

    part = processes.part(c.meta_batch_size)
    images = (
        np.random.default_rng(0)
        .integers(256, size=(max(c.way, 64), 20, 1, 28, 28))
        .astype(np.uint8)
    )
    batch = tasks.TaskSampler(images, *c.train_task, np.random.default_rng(1)).sample(
        c.meta_batch_size, part
    )
    made = build_learner(c, average=processes.average)
    evaluates = name.startswith("evaluate")

    def step():
        if evaluates:
            accuracy.measure([made], batch, every_step=False)
            processes.any(False)  # so that a step ends when the last process ends it
        else:
            made.meta_step(batch)

    seconds = []
    for _ in range(BURN_IN + repeats):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    memory = processes.sum(
        np.array([resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024], np.float32)
    )[0]
    a, b = paddle.rand([2048, 2048]), paddle.rand([2048, 2048])
    rates = []
    for _ in range(8):
        start = time.perf_counter()
        paddle.matmul(a, b)
        rates.append(2 * 2048**3 / (time.perf_counter() - start))
    rate = processes.sum(np.array([statistics.median(rates)], np.float32))[0]
    if processes.first:
        print(
            json.dumps(
                {
                    "seconds": statistics.median(seconds[BURN_IN:]),
                    "memory": float(memory),
                    "rate": float(rate),
                }
            ),
            flush=True,
        )


def run(command: list[str]) -> dict:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise errors.UserError(f"{' '.join(command)} failed: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(name: str, c: config.Config, arguments: argparse.Namespace) -> str:
    """A row of the table; our runs and PyTorch's take turns."""
    ours, theirs = [], []
    for _ in range(arguments.rounds):
        ours.append(
            run([sys.executable, __file__, "--setting", name, "--repeats", str(arguments.repeats)])
        )
        if arguments.torch:
            theirs.append(
                run(
                    [
                        arguments.torch,
                        str(ROOT / "benchmarks" / "torch_peer.py"),
                        *peer_arguments(name, c, arguments.repeats),
                    ]
                )
            )
    middle = {key: statistics.median(o[key] for o in ours) for key in ours[0]}
    seconds, work_done = middle["seconds"], flops(name, c)
    cells = [
        name,
        f"{seconds:.3f}",
        f"{c.meta_batch_size / seconds:.1f}",
        f"{middle['memory'] / 2**30:.2f}",
        f"{work_done / 1e9:.1f}",
        f"{100 * work_done / seconds / middle['rate']:.0f}%",
    ]
    if theirs:
        peer = statistics.median(t["seconds"] for t in theirs)
        cells += [f"{peer:.3f}", f"{seconds / peer:.2f}"]
    return f"| {' | '.join(cells)} |"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--torch", metavar="PYTHON", help="a Python with PyTorch, to compare with")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=SETTINGS,
        default=list(SETTINGS),
        help="settings to run (default: all)",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=3,
        help="runs of each, in turns with PyTorch's (default: %(default)s)",
    )
    parser.add_argument(
        "--repeats", type=int, default=5, help="steps a run, after burn-in (default: %(default)s)"
    )
    parser.add_argument("--setting", choices=SETTINGS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.setting:
        c = config.Config(**SETTINGS[arguments.setting])
        if launch.is_worker():
            work(arguments.setting, c, arguments.repeats)
            return 0
        return launch.start(launch.choose_workers(0, c.meta_batch_size))
    header = ["step", "seconds", "tasks / s", "peak memory, GiB", "GFLOP", "of GEMM rate"]
    header += ["PyTorch, seconds", "ours / PyTorch's"] if arguments.torch else []
    print(
        f"{device.machine()}, {time.strftime('%Y-%m-%d')}; median of {arguments.rounds} runs of"
        f" {arguments.repeats} steps\n"
    )
    print(f"| {' | '.join(header)} |\n|{' --- |' * len(header)}", flush=True)
    for name in arguments.only:
        print(compare(name, config.Config(**SETTINGS[name]), arguments), flush=True)
    return 0


if __name__ == "__main__":
    errors.run(main)
