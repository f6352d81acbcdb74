"""The machine: the environment of a process that computes, and the device that it uses."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import platform
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType

NO_GPU = "warning: no GPU, or not the GPU build of PaddlePaddle; going on with the CPU"
NO_GLOO = (
    "this build of PaddlePaddle cannot connect processes on CPUs, for it lacks gloo; drop "
    "--workers, and one process uses all cores"
)
HAS_GLOO = "hasattr(paddle.base.core, 'ProcessGroupGloo')"


def environment(threads: int = 1) -> dict[str, str]:
    """Return the environment variables that must be set before a process starts.

    - Paddle's CPU wheel brings Intel MKL 2019. On processors of other makers, it takes a code path
      that is three times as slow as necessary, unless MKL_DEBUG_CPU_TYPE=5 names AVX2.
    - glibc returns large freed blocks to the kernel, and allocating them again costs more than the
      computation on them. The MALLOC_ variables keep the blocks. With huge pages, the first access
      to a block is cheap.
    - When Paddle is imported, it warns about a compiler cache that nothing here needs. When Paddle
      starts several processes, it logs every success.

    Args:
        threads (int): threads that the process uses for matrix products.

    Returns:
        dict[str, str]: the value of each variable.
    """
    variables = {
        "OMP_NUM_THREADS": str(threads),
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": str(1 << 34),
        "MALLOC_TOP_PAD_": str(1 << 26),
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
        "PYTHONWARNINGS": "ignore:No ccache found:UserWarning",
        "GLOG_minloglevel": "2",
    }
    cpu = Path("/proc/cpuinfo")
    text = cpu.read_text() if cpu.exists() else ""
    if "AuthenticAMD" in text and "avx2" in text:
        variables["MKL_DEBUG_CPU_TYPE"] = "5"
    return variables


def machine() -> str:
    """Return the processor's name and number of cores, which are reported with measurements."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def end_with_parent() -> None:
    """Have the kernel end this process when its parent dies, even by SIGKILL.

    So no worker survives its parent. This works on Linux only.
    """
    if sys.platform.startswith("linux"):
        PR_SET_PDEATHSIG = 1
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def gpus() -> int:
    """Return the number of GPUs that this process may use, as PaddlePaddle counts them.

    PaddlePaddle is asked in a process of its own, which also obeys CUDA_VISIBLE_DEVICES: under WSL2
    and in containers, no file says how many there are. The number is 0 where it fails.
    """
    answer = _asked("paddle.device.cuda.device_count() * paddle.device.is_compiled_with_cuda()")
    return int(answer) if answer.isdecimal() else 0


def has_gloo() -> bool:
    """Whether processes can be connected on CPUs: on Linux, PaddlePaddle is built with gloo."""
    if sys.platform.startswith("linux") and platform.machine() in ("x86_64", "AMD64"):
        return True
    return _asked(HAS_GLOO) != "False"


def _asked(expression: str) -> str:
    """The value of an expression about PaddlePaddle; empty where PaddlePaddle fails."""
    command = [sys.executable, "-c", f"import paddle; print(); print({expression})"]
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=120,
        )
        if done.returncode == 0:
            return done.stdout.split()[-1]
    return ""


def use_device(gpu: bool) -> bool:
    """Choose the device on which Paddle computes in this process.

    Args:
        gpu (bool): use this process's GPU if there is one. Otherwise, use the CPU.

    Returns:
        bool: whether the device is a GPU.
    """
    # On standard error, Paddle would advise against the threads that `environment` chose.
    with contextlib.redirect_stderr(io.StringIO()):
        import paddle
    _drop_handlers(paddle)
    gpu = gpu and paddle.device.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0
    selected = os.environ.get("FLAGS_selected_gpus", "0").split(",")[0]
    paddle.set_device(f"gpu:{selected}" if gpu else "cpu")
    return gpu


def _drop_handlers(paddle: ModuleType) -> None:
    """Take back the handlers of signals that PaddlePaddle sets, which print a C++ stack trace."""
    paddle.disable_signal_handler()  # which also drops Python's own
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if (handler := signal.getsignal(number)) is not None:
                signal.signal(number, handler)
