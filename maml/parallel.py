"""Several processes that share each batch of tasks, with PaddlePaddle's distributed engine: gloo on
CPUs, NCCL on GPUs.

Every process draws the same tasks, computes on its part of them, and the results are averaged, so
that one process and many take the same steps. `train.py` starts the processes itself (`start`), or
is started as one of them by `python -m paddle.distributed.launch`.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

import numpy as np

from maml import runtime
from maml.errors import UserError

LAUNCHED = "PADDLE_TRAINERS_NUM"  # set in each process by whoever started several


def is_worker() -> bool:
    """Whether this process was started as one of several, or of one, by a launcher."""
    return LAUNCHED in os.environ


def cores() -> int:
    """Processor cores that this process may use."""
    return (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )  # macOS has no affinity


def choose_workers(asked: int, tasks: int, gpus: int = 0) -> int:
    """How many processes share `tasks`: as asked, or, for 0, as many as there are GPUs, else cores,
    but none without a task.
    """
    if asked > tasks:
        raise UserError(
            f"task_num is {tasks}, so that there is no task for each of {asked} workers; ask for"
            f" {tasks} at most"
        )
    return asked or min(tasks, gpus or cores())


def start(workers: int, arguments: Sequence[str] = (), gpu: bool = False) -> int:
    """Run this Python program again, with further `arguments`, as `workers` processes and wait for
    them; the status to exit with.

    When one ends with an error, the others are ended too, and the error is shown once, though all
    may have met it. SIGINT and SIGTERM are passed on, to be obeyed after the step under way.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    endpoints = [f"127.0.0.1:{port + rank}" for rank in range(workers)]
    processes, complaints = [], [None, *(tempfile.TemporaryFile() for _ in range(1, workers))]
    for rank in range(workers):
        variables = {
            **runtime.environment(max(1, cores() // workers)),
            **os.environ,
            LAUNCHED: str(workers),
            "PADDLE_TRAINER_ID": str(rank),
            "PADDLE_CURRENT_ENDPOINT": endpoints[rank],
            "PADDLE_TRAINER_ENDPOINTS": ",".join(endpoints),
            "PADDLE_MASTER": endpoints[0],
        }
        if gpu:
            variables["FLAGS_selected_gpus"] = str(rank)
        processes.append(
            subprocess.Popen(
                [sys.executable, *sys.orig_argv[1:], *arguments],
                env=variables,
                stderr=complaints[rank],
            )
        )

    def pass_on(number, frame):
        for process in processes:
            process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        while any(p.poll() is None for p in processes) and not any(p.poll() for p in processes):
            time.sleep(0.1)
        failed = next((rank for rank, p in enumerate(processes) if p.poll()), None)
    finally:
        _end(processes)
        for number, handler in before.items():
            signal.signal(number, handler)
    if failed is None:
        return 0
    if (
        processes[0].returncode <= 0 and failed > 0
    ):  # the first process did not meet the error itself, so it has not shown it
        complaints[failed].seek(0)
        sys.stderr.write(
            complaints[failed].read().decode(errors="replace")
            or f"error: worker {failed} was killed\n"
        )
    return max(processes[failed].returncode, 1)


def _end(processes: Sequence[subprocess.Popen], patience: float = 5.0) -> None:
    """End what still runs: by itself within `patience` seconds, where it met the same error, or
    else by SIGTERM, or by SIGKILL.
    """
    for end in (lambda process: None, subprocess.Popen.terminate, subprocess.Popen.kill):
        deadline = time.monotonic() + patience
        for process in processes:
            if process.poll() is None:
                end(process)
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))


class Processes:
    """This process among its peers; alone, all operations are the identity."""

    def __init__(self, gpu: bool = False):
        self.rank, self.size = (
            int(os.environ.get("PADDLE_TRAINER_ID", 0)),
            int(os.environ.get(LAUNCHED, 1)),
        )
        if self.size > 1:
            os.environ.setdefault("PADDLE_DISTRI_BACKEND", "nccl" if gpu else "gloo")
            import paddle.distributed

            with contextlib.redirect_stderr(
                io.StringIO()
            ):  # where it would list Paddle's own flags
                paddle.distributed.init_parallel_env()

    @property
    def first(self) -> bool:
        """Whether this is the process that prints and saves."""
        return self.rank == 0

    def part(self, tasks: int) -> slice:
        """This process's share of `tasks` tasks, which differs from others' by one at most."""
        return slice(tasks * self.rank // self.size, tasks * (self.rank + 1) // self.size)

    def average(self, tensors: Sequence) -> list:
        """Tensors [T, ...] of this process's tasks -> their means [...] over the tasks of all
        processes.
        """
        import paddle

        with paddle.no_grad():
            sums = [t.sum(axis=0) for t in tensors]
            flat = paddle.concat(
                [
                    *(s.reshape([-1]) for s in sums),
                    paddle.to_tensor([tensors[0].shape[0]], sums[0].dtype),
                ]
            )
            if self.size > 1:
                paddle.distributed.all_reduce(flat)
            parts = paddle.split(flat[:-1] / flat[-1], [s.size for s in sums])
            return [part.reshape(s.shape) for part, s in zip(parts, sums)]

    def sum(self, array: np.ndarray) -> np.ndarray:
        """The sum over processes of a float32 array."""
        if self.size == 1:
            return array
        import paddle

        total = paddle.to_tensor(array)
        paddle.distributed.all_reduce(total)
        return total.numpy()

    def any(self, flag: bool) -> bool:
        """Whether any process says so; all must ask."""
        return bool(self.sum(np.array([flag], np.float32))[0])
