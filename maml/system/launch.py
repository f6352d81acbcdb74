"""Starting a script as several processes.

`train.py` starts the processes itself (`start`), or is started as one of them by
`python -m paddle.distributed.launch`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from maml.system import device
from maml.system.errors import UserError

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
            f"meta_batch_size is {tasks}, so there is no task for each of {asked} workers; ask "
            f"for {tasks} at most"
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
            **device.environment(max(1, cores() // workers)),
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
