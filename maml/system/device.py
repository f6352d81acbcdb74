"""The machine: the environment of a process that computes, and the device that it uses."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import io
import os
import platform
import signal
import sys
from pathlib import Path

NO_GPU = "warning: no GPU, or not the GPU build of PaddlePaddle; going on with the CPU"


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
    """Return the number of GPUs that this process may use, without importing Paddle.

    The number is 0 without NVIDIA's driver or without the GPU build of PaddlePaddle.
    """
    try:
        importlib.metadata.version("paddlepaddle-gpu")
    except importlib.metadata.PackageNotFoundError:
        return 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = Path("/proc/driver/nvidia/gpus")
    installed = len(list(devices.iterdir())) if devices.is_dir() else 0
    if visible is None:
        return installed
    return min(installed, len([d for d in visible.split(",") if d.strip() not in ("", "-1")]))


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

    gpu = gpu and paddle.device.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0
    selected = os.environ.get("FLAGS_selected_gpus", "0").split(",")[0]
    paddle.set_device(f"gpu:{selected}" if gpu else "cpu")
    return gpu
