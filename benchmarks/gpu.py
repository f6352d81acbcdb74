#!/usr/bin/env python3
"""Check this project on a GPU, against the CPU's numbers, in about ten minutes.

It runs the tests of all derivatives on the GPU, then trains each method for some steps on the CPU
and on the GPU, from the same weights and on the same tasks of invented images; with two GPUs, on
both of them too. The report is one JSON file; please send it back in an issue.

examples:
  python benchmarks/gpu.py
  python benchmarks/gpu.py --cpu --steps 2 --methods protonet    where there is no GPU: a trial
"""

import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np

from maml.config import Config
from maml.system import device, errors, files, launch
from maml.system.processes import Processes

METHODS = {
    "maml": Config(meta_batch_size=8),
    "fomaml": Config(meta_batch_size=8, first_order=True),
    "reptile": Config(algorithm="reptile", shot=5, meta_batch_size=4, train_query=0),
    "protonet": Config(algorithm="protonet", way=20, query=5, meta_batch_size=2),
    "matching": Config(algorithm="matching", way=20, query=5, meta_batch_size=2),
    "siamese": Config(algorithm="siamese", way=64, query=1, meta_batch_size=2),
}
WARM = 3  # steps whose time does not count
FIRST = 5  # steps after which rounding has not yet grown
AGREE = 1e-2  # the largest relative difference of their losses


def train(method: str, steps: int, gpu: bool) -> None:
    """Train on this process's part of each batch, and print losses, seconds and memory as JSON."""
    gpu = device.use_device(gpu)
    import paddle

    from maml.data.tasks import TaskSampler
    from maml.training.build import build_learner, own_part

    processes, config = Processes(gpu), METHODS[method]
    learner = build_learner(config, processes=processes)
    images = np.random.default_rng(0).integers(256, size=(80, 20, 1, 28, 28)).astype(np.uint8)
    sampler = TaskSampler(images, *config.train_task, np.random.default_rng(1))
    losses, seconds = [], []
    for _ in range(steps):
        tasks = sampler.sample(config.meta_batch_size, own_part(config, processes))
        start = time.perf_counter()
        losses.append(learner.meta_step(tasks)["loss"])  # which waits for the device
        seconds.append(time.perf_counter() - start)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if gpu:
        memory = paddle.device.cuda.max_memory_allocated()
    if processes.first:
        measured = {
            "device": paddle.get_device(),
            "processes": processes.size,
            "losses": [round(loss, 7) for loss in losses],
            "seconds a step": round(statistics.median(seconds[WARM:] or seconds), 5),
            "bytes": memory,
        }
        print(json.dumps(measured), flush=True)


def run(method: str, steps: int, gpu: bool, workers: int) -> dict:
    """Return what `train` prints in processes of its own, or how it failed."""
    flags = ["--method", method, "--steps", str(steps), "--workers", str(workers)]
    command = [sys.executable, __file__, *flags, *([] if gpu else ["--cpu"])]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode:
        return {"failed": done.stderr.strip()[-2000:]}
    return json.loads(done.stdout.splitlines()[-1])


def difference(one: dict, other: dict) -> float | None:
    """The largest relative difference of the first losses; none where a run failed."""
    if "failed" in one or "failed" in other:
        return None
    a, b = (np.array(measured["losses"][:FIRST]) for measured in (one, other))
    return float(np.max(np.abs(a - b) / np.maximum(np.abs(b), 1e-6)))


def derivatives() -> dict:
    """Run the tests of derivatives, on a GPU where PaddlePaddle sees one, and return their end."""
    folders = ["tests/functional", "tests/algorithms", "tests/networks"]
    chosen = ["-k", "twice or differences or derivative", "-n", "0", "-m", "not slow"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *folders, *chosen],
        cwd=ROOT,
        capture_output=True,
        text=True,
        errors="replace",
    )
    return {"passed": done.returncode == 0, "end": done.stdout.strip()[-2000:]}


def report(methods: list[str], steps: int, gpus: int) -> dict:
    """Return the whole report, and tell each part of it."""
    import importlib.metadata as packages

    names = {d.metadata["Name"] for d in packages.distributions()}
    paddle = next((n for n in ("paddlepaddle-gpu", "paddlepaddle") if n in names), "paddlepaddle")
    found: dict = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": device.machine(),
        "system": platform.platform(),
        "python": platform.python_version(),
        paddle: packages.version(paddle) if paddle in names else "unknown",
        "gpus": gpus,
        "methods": {},
    }
    for method in methods:
        cpu = run(method, steps, False, 1)
        own = [run(method, steps, gpus > 0, workers) for workers in ([1, 2] if gpus > 1 else [1])]
        differences = [difference(measured, cpu) for measured in own]
        agree = all(d is not None and d < AGREE for d in differences)
        found["methods"][method] = {
            "cpu": cpu,
            "on the device": own,
            "largest difference": differences,
            "agree": agree,
        }
        seconds = [measured.get("seconds a step", "failed") for measured in (cpu, *own)]
        print(f"{method}: {'agrees' if agree else 'DIFFERS'}; seconds a step {seconds}", flush=True)
    return found


def main() -> int:
    parser = errors.Parser(__doc__, "")
    parser.add_argument("--cpu", action="store_true", help="compute on the CPU, for a trial")
    parser.add_argument("--steps", type=int, default=100, help="of each method (default: 100)")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--no-tests", action="store_true", help="leave the derivatives' tests out")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="(default: gpu.json)")
    parser.add_argument("--method", choices=METHODS, help="train this one, and print its numbers")
    parser.add_argument("--workers", type=int, default=1, help="processes that --method takes")
    arguments = parser.parse_args()
    if arguments.method:
        if not launch.is_worker():
            return launch.start(arguments.workers, gpu=not arguments.cpu)
        train(arguments.method, arguments.steps, not arguments.cpu)
        return 0
    gpus = 0 if arguments.cpu else device.gpus()
    if not (gpus or arguments.cpu):
        raise errors.UserError(
            "PaddlePaddle finds no GPU; install its GPU build (docs/faq.md), or add --cpu for a "
            "trial"
        )
    found = report(arguments.methods, arguments.steps, gpus)
    if not arguments.no_tests:
        found["derivatives"] = derivatives()
        print(f"derivatives: {found['derivatives']['end'].splitlines()[-1]}", flush=True)
    text = json.dumps(found, indent=1) + "\n"
    files.write({arguments.out: lambda file: file.write(text.encode())})
    print(f"written: {arguments.out}; please send it back")
    return 0


if __name__ == "__main__":
    errors.run(main)
