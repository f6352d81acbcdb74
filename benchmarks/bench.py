#!/usr/bin/env python3
"""Measure the seconds of a step of every method, on all cores, and optionally those of PyTorch.

examples:
  python benchmarks/bench.py
  python benchmarks/bench.py --torch ~/torch/bin/python --only maml_5w1s fomaml_5w1s
"""

import argparse
import json
import os
import resource
import shutil
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

QUIET = 0.1  # cores that others may keep busy while a ratio is measured
MATRIX = 2048  # rows and columns of the matrices whose product gives the machine's rate
BURN_IN = 6  # steps that are not measured, after which the memory no longer grows
MAML = {"algorithm": "maml"}
REPTILE = {"algorithm": "reptile", "train_query": 0, "inner_optimizer": "sgd"}
PROTONET, SIAMESE = {"algorithm": "protonet"}, {"algorithm": "siamese"}
SETTINGS = {  # by the name of a step, its settings
    "maml_5w1s": MAML,
    "maml_5w1s_paddle_nn": {**MAML, "network": f"{ROOT}/examples/conv4.py:strided"},
    "maml_5w1s_residual": {
        **MAML,
        "network": f"{ROOT}/examples/resnet.py:eight",
        "meta_batch_size": 4,
    },
    "maml_5w5s": {**MAML, "shot": 5},
    "maml_20w1s": {**MAML, "way": 20, "meta_batch_size": 16},
    "maml_20w5s": {**MAML, "way": 20, "shot": 5, "meta_batch_size": 4},
    "maml_5w1s_colour": {**MAML, "meta_batch_size": 2},
    "maml_5w1s_1query_1step": {**MAML, "query": 1, "inner_steps": 1},
    "fomaml_5w1s": {**MAML, "first_order": True},
    "reptile_5w5s": {**REPTILE, "shot": 5, "meta_batch_size": 5, "inner_batch": 25},
    "protonet_60w5s": {**PROTONET, "way": 60, "shot": 5, "query": 5, "meta_batch_size": 1},
    "protonet_5w1s_colour": {**PROTONET, "meta_batch_size": 1},
    "siamese_128pairs": {**SIAMESE, "way": 128, "query": 1, "meta_batch_size": 1},
    "siamese_koch": {**SIAMESE, "network": "koch", "way": 16, "query": 1, "meta_batch_size": 1},
    "evaluate_5w1s": {**MAML, "inner_steps_test": 10},
}
IMAGES = {
    "maml_5w1s_colour": (84, 3),
    "protonet_5w1s_colour": (84, 3),
    "siamese_koch": (105, 1),
}
"""side and channels of a step's images, where they are not Omniglot's"""
OMNIGLOT = 28, 1

COMPILED = {"maml_5w1s_1query_1step", "fomaml_5w1s"}
"""steps that torch.compile makes faster than eager PyTorch and than torch.func's vmap"""


def peer_form(name: str) -> str:
    """Return the form of PyTorch that takes a step the fastest, of those of torch_peer.py."""
    return "compile" if name in COMPILED and shutil.which("g++") else "eager"


def flops(name: str, c: config.Config) -> float:
    """Return the multiplications and additions of the matrix products in a step.

    An image's forward pass is one unit. Its forward pass and gradient are three units, less the
    gradient with respect to the first layer's input, which is not computed. A gradient step through
    which a second gradient is computed counts as three gradients.
    """
    size, channels = IMAGES.get(name, OMNIGLOT)
    if c.network == "koch":
        layers = koch_layers(size)
    else:
        residual = name.endswith("residual")
        pooled = residual or c.algorithm in ("protonet", "siamese")
        layers = conv4_layers(size, channels, pooled, residual)
    forward = sum(layers)
    gradient = 3 * forward - layers[0]
    way, shot, query = c.train_task
    tasks = c.meta_batch_size
    if name.startswith("evaluate"):
        return tasks * (c.inner_steps_test * way * shot * gradient + way * query * forward)
    if c.algorithm in ("protonet", "siamese"):
        return way * (shot + query) * gradient
    if c.algorithm == "reptile":
        return tasks * c.inner_steps * c.inner_batch * gradient
    support = gradient if c.first_order else 3 * gradient
    return tasks * (c.inner_steps * way * shot * support + way * query * gradient)


def conv4_layers(size: int, channels: int, pooled: bool, residual: bool) -> list[float]:
    """Return the operations of an image's forward pass in each convolution of four blocks."""
    layers: list[float] = []
    for _ in range(4):
        side = size if pooled else -(-size // 2)  # of the layer's output
        layers.append(2 * side * side * 9 * channels * 64)
        size = side // 2 if pooled else side
        if residual:
            layers += [2 * side * side * 9 * 64 * 64, 2 * size * size * channels * 64]
        channels = 64
    return layers


def koch_layers(size: int) -> list[float]:
    """Return the operations of an image's forward pass in each layer of Koch's network."""
    from maml.networks.koch import KochNet

    layers, channels = [], 1
    for kernel, filters in KochNet.CONVOLUTIONS:
        side = size - kernel + 1  # of the layer's output
        layers.append(2 * side**2 * kernel**2 * channels * filters)
        size, channels = side // 2, filters
    return [*layers, 2 * side**2 * channels * 4096]


def peer_arguments(name: str, c: config.Config, repeats: int) -> list[str]:
    """Return the arguments with which torch_peer.py takes the same step."""
    algorithm = "fomaml" if c.first_order else c.algorithm
    steps = c.inner_steps
    if name.startswith("evaluate"):
        algorithm, steps = "evaluate", c.inner_steps_test
    elif name.endswith("residual"):
        algorithm = "residual"
    elif c.network == "koch":
        algorithm = "koch"
    size, channels = IMAGES.get(name, OMNIGLOT)
    way, shot, query = c.train_task
    values = {
        "way": way,
        "shot": shot,
        "query": query or 1,
        "steps": steps,
        "tasks": c.meta_batch_size,
        "size": size,
        "channels": channels,
        "repeats": repeats,
    }
    arguments = [algorithm, "--form", peer_form(name)]
    for key, value in values.items():
        arguments += [f"--{key}", str(value)]
    return arguments


def work(name: str, c: config.Config, repeats: int, size: int | None = None) -> None:
    """Take the steps as one of several processes; the first one prints the measurements as JSON.

    `size` is the side of the images, in pixels, where it is not that of `IMAGES`.
    """
    usual, channels = IMAGES.get(name, OMNIGLOT)
    size = size or usual
    device.end_with_parent()
    device.use_device(c.gpu)
    processes = Processes()

    import numpy as np
    import paddle

    from maml.data import tasks
    from maml.data.banks import ClassImages
    from maml.evaluation import accuracy
    from maml.networks.file import read_builder
    from maml.training import build

    classes, each = max(c.way, 64), 20
    shape = classes * each, channels, size, size
    images = np.random.default_rng(0).integers(256, size=shape).astype(np.uint8)
    bank = ClassImages(images, np.arange(classes) * each, np.full(classes, each))
    sampler = tasks.TaskSampler(bank, *c.train_task, np.random.default_rng(1))
    batch = sampler.sample(c.meta_batch_size, build.own_part(c, processes))
    builder = read_builder(c.network) if config.OWN_NETWORK.fullmatch(c.network) else None
    learner = build.build_learner(c, size, processes, builder, channels)
    evaluates = name.startswith("evaluate")

    def step() -> None:
        if evaluates:
            accuracy.measure([learner], batch, every_step=False)
            processes.any(False)  # so that a step ends when the last process ends it
        else:
            learner.meta_step(batch)

    seconds, cpu = [], []
    for _ in range(BURN_IN + repeats):
        start, computed = time.perf_counter(), time.process_time()
        step()
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - computed)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    median = statistics.median(cpu[BURN_IN:])
    memory, computed = processes.sum(np.array([peak, median], np.float32))
    a, b = (paddle.rand([MATRIX, MATRIX]) for _ in range(2))
    rates = []
    for _ in range(8):
        start = time.perf_counter()
        paddle.matmul(a, b)
        rates.append(2 * MATRIX**3 / (time.perf_counter() - start))
    rate = processes.sum(np.array([statistics.median(rates)], np.float32))[0]
    if processes.first:
        measured = {
            "seconds": statistics.median(seconds[BURN_IN:]),
            "cpu": float(computed),  # seconds of all processes, which hardly change under load
            "memory": float(memory),
            "rate": float(rate),
        }
        print(json.dumps(measured), flush=True)


def busy(seconds: float = 1.0) -> float:
    """Return the number of this process's cores that others keep busy, while this process sleeps.

    It is 0 where no /proc/stat tells.
    """

    def idle() -> float:
        lines = stat.read_text().splitlines()
        fields = {line.split()[0]: line.split()[1:] for line in lines if line.startswith("cpu")}
        return sum(sum(map(int, fields[f"cpu{k}"][3:5])) for k in os.sched_getaffinity(0)) / ticks

    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0
    ticks = os.sysconf("SC_CLK_TCK")
    before, start = idle(), time.perf_counter()
    time.sleep(seconds)
    shares = (idle() - before) / (time.perf_counter() - start)
    return max(0.0, launch.cores() - shares)


def run(command: list[str]) -> dict:
    """Run a command, and return the JSON in the last line that it prints."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise errors.UserError(f"{' '.join(command)} failed: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(name: str, c: config.Config, arguments: argparse.Namespace) -> str:
    """Return a row of the table, for which our runs and PyTorch's take turns.

    There is no ratio where others used the machine before or after a run.
    """
    command = [sys.executable, __file__, "--setting", name, "--repeats", str(arguments.repeats)]
    script = str(ROOT / "benchmarks" / "torch_peer.py")
    peer_command = [arguments.torch, script, *peer_arguments(name, c, arguments.repeats)]
    own_runs, peer_runs, load = [], [], busy()
    for _ in range(arguments.rounds):
        own_runs.append(run(command))
        if arguments.torch:
            peer_runs.append(run(peer_command))
        load = max(load, busy())
    median = {key: statistics.median(r[key] for r in own_runs) for key in own_runs[0]}
    seconds, operations = median["seconds"], flops(name, c)
    cells = [
        name,
        f"{seconds:.3f}",
        f"{c.meta_batch_size / seconds:.1f}",
        f"{median['memory'] / 2**30:.2f}",
        f"{operations / 1e9:.1f}",
        f"{100 * operations / seconds / median['rate']:.0f}%",
    ]
    if peer_runs:
        peer_seconds = statistics.median(r["seconds"] for r in peer_runs)
        loaded = f"none: {load:.1f} cores were busy"
        ratio = f"{seconds / peer_seconds:.2f}" if load <= QUIET else loaded
        cells += [f"{peer_seconds:.3f} ({peer_form(name)})", ratio]
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
        return launch.start(launch.choose_workers(0, c.meta_batch_size, images=c.episode_images))
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
