"""The machine: what a computing process wants in its environment, and which device it uses."""

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
    """Variables that must be set before a process starts, for `threads` threads of matrix products
    in it.

    - Paddle's CPU wheel brings Intel MKL 2019, which on processors of other makers takes a code
      path three times as slow as it need be, unless MKL_DEBUG_CPU_TYPE=5 names AVX2.
    - glibc hands large freed blocks back to the kernel, and taking them anew costs more than
      computing what lies in them. The MALLOC_ variables keep them; huge pages make the first touch
      cheap.
    - Paddle's import warns of a compiler cache that nothing here needs, and its start of several
      processes logs what went well.
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
    """The processor and its cores, for beside a measurement."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def end_with_parent() -> None:
    """Have the kernel end this process when its parent dies, even by SIGKILL, so that no worker
    stays behind (Linux).
    """
    if sys.platform.startswith("linux"):
        PR_SET_PDEATHSIG = 1
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def gpus() -> int:
    """How many GPUs this process may use: 0 without NVIDIA's driver or without the GPU build of
    PaddlePaddle. Needs no Paddle.
    """
    try:
        importlib.metadata.version("paddlepaddle-gpu")
    except importlib.metadata.PackageNotFoundError:
        return 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = Path("/proc/driver/nvidia/gpus")
    there = len(list(devices.iterdir())) if devices.is_dir() else 0
    return (
        there
        if visible is None
        else min(there, len([d for d in visible.split(",") if d.strip() not in ("", "-1")]))
    )


def use_device(gpu: bool) -> bool:
    """Have Paddle compute on this process's GPU, where `gpu` asks for it and there is one, else on
    the CPU; whether it is the GPU.
    """
    with contextlib.redirect_stderr(
        io.StringIO()
    ):  # where it would advise against several threads, which `environment` chose
        import paddle

    gpu = gpu and paddle.device.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0
    paddle.set_device(
        f"gpu:{os.environ.get('FLAGS_selected_gpus', '0').split(',')[0]}" if gpu else "cpu"
    )
    return gpu
