"""Starting a script as several processes.

Either a script starts the processes itself, by `start`, or `python -m paddle.distributed.launch`
starts the script once for each process.
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
from types import FrameType

from maml.system import device
from maml.system.errors import UserError

FEWEST_IMAGES = 32  # that are worth a process: with fewer, calls outweigh the computation
LAUNCHED = "PADDLE_TRAINERS_NUM"  # a launcher sets this variable in each process that it starts


def is_worker() -> bool:
    """Whether a launcher started this process, as one of several or as the only one."""
    return LAUNCHED in os.environ


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # macOS lacks it
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cores_in_use(processes: int) -> int:
    """Return the number of cores that this number of processes like this one keeps busy."""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return min(processes * int(threads), cores()) if threads.isdigit() else cores()


def choose_workers(requested: int, tasks: int | None = None, gpus: int = 0, images: int = 0) -> int:
    """Return the number of processes that share a batch of tasks.

    Args:
        requested (int): the user's number. 0 means one process for each GPU, or without a GPU one
            for each core, but no more processes than tasks, or than a task has `FEWEST_IMAGES` of
            the images. Where processes cannot be connected, it means one process with all cores.
        tasks (int | None): tasks in the batch; None for as many as there are processes.
        gpus (int): the number of GPUs.
        images (int): images of a task, where the processes can share these.

    Raises:
        UserError: if more processes are requested than there are tasks, images of a task or GPUs,
            or than can be connected.
    """
    if tasks is not None and requested > max(tasks, images):
        count = f"a training task has {images} images" if images else f"meta_batch_size is {tasks}"
        raise UserError(
            f"{count}, so there is no {'image' if images else 'task'} for each of {requested} "
            f"workers; ask for {max(tasks, images)} at most"
        )
    if 0 < gpus < requested:
        raise UserError(
            f"there is no GPU for each of {requested} workers; ask for {gpus} at most, or drop "
            "--gpu"
        )
    most = gpus or cores()
    parts = most if tasks is None else max(tasks, images // FEWEST_IMAGES)
    chosen = requested or min(parts, most)
    if gpus or chosen == 1 or device.has_gloo():
        return chosen
    if requested:
        raise UserError(device.NO_GLOO)
    print(f"1 process with {cores()} threads, for this PaddlePaddle lacks gloo", file=sys.stderr)
    return 1


def start(workers: int, arguments: Sequence[str] = (), gpu: bool = False) -> int:
    """Run this Python program again, as several processes, and wait until they end.

    When one process ends with an error, the others are ended too. Although every process may have
    met the same error, it is shown once. SIGINT and SIGTERM are passed on to the processes, which
    obey them after the current step.

    Args:
        workers (int): the number of processes.
        arguments (Sequence[str]): further arguments of the program.
        gpu (bool): give each process a GPU of its own.

    Returns:
        int: the exit status of this program.
    """
    # Only the first process writes to standard error; the errors of the others go to files.
    complaints = [tempfile.TemporaryFile() for _ in range(1, workers)]
    command = [sys.executable, *sys.orig_argv[1:], *arguments]
    processes = [
        subprocess.Popen(command, env=variables, stderr=stderr)
        for variables, stderr in zip(_environments(workers, gpu), [None, *complaints])
    ]

    def pass_on(number: int, frame: FrameType | None) -> None:
        for process in processes:
            with contextlib.suppress(ValueError):  # on Windows, Ctrl-C reaches all by itself
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
    if failed > 0 and processes[0].returncode <= 0:  # the first process showed no error
        complaint = complaints[failed - 1]
        complaint.seek(0)
        text = complaint.read().decode(errors="replace")
        sys.stderr.write(text or f"error: worker {failed} was killed\n")
    status = processes[failed].returncode
    return status if status > 0 else 128 - status  # as a shell says of a signal


def _environments(workers: int, gpu: bool) -> list[dict[str, str]]:
    """Return the environment of each process, as PaddlePaddle's own launcher sets it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    endpoints = [f"127.0.0.1:{port + rank}" for rank in range(workers)]
    shared = {
        **device.environment(max(1, cores() // workers)),
        **os.environ,
        LAUNCHED: str(workers),
        "PADDLE_TRAINER_ENDPOINTS": ",".join(endpoints),
        "PADDLE_MASTER": endpoints[0],
    }
    return [
        {
            **shared,
            "PADDLE_TRAINER_ID": str(rank),
            "PADDLE_CURRENT_ENDPOINT": endpoint,
            **({"FLAGS_selected_gpus": str(rank)} if gpu else {}),
        }
        for rank, endpoint in enumerate(endpoints)
    ]


def _end(processes: Sequence[subprocess.Popen], patience: float = 5.0) -> None:
    """Wait for the processes to end, then send SIGTERM, and then SIGKILL.

    A process that met the same error ends by itself. Each of the three stages takes at most
    `patience` seconds.
    """
    for end in (lambda process: None, subprocess.Popen.terminate, subprocess.Popen.kill):
        deadline = time.monotonic() + patience
        for process in processes:
            if process.poll() is None:
                end(process)
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))
