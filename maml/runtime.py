"""Environment of a process that computes: must be set before the process starts, so scripts start themselves again with it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_MARK = "MAML_RUNTIME"


def environment(threads: int = 1) -> dict[str, str]:
    """What to set: one thread of matrix products a process, memory that is kept, and, on AMD, MKL's fast kernels.

    - Paddle's CPU wheel brings Intel MKL 2019, which on processors of other makers takes a code path three times as slow as it need
      be unless MKL_DEBUG_CPU_TYPE=5 names AVX2.
    - glibc hands large freed blocks back to the kernel, and taking them anew costs more than computing what lies in them. The first
      three variables keep them; huge pages make the first touch cheap.
    """
    variables = {"OMP_NUM_THREADS": str(threads), "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 34),
                 "MALLOC_TOP_PAD_": str(1 << 26), "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
    cpu = Path("/proc/cpuinfo")
    text = cpu.read_text() if cpu.exists() else ""
    if "AuthenticAMD" in text and "avx2" in text:
        variables["MKL_DEBUG_CPU_TYPE"] = "5"
    return variables


def restart(threads: int = 1) -> None:
    """Start this Python program again in `environment`, once; what the user set himself stays."""
    if _MARK in os.environ or not sys.platform.startswith("linux"):
        return
    wanted = {**environment(threads), **os.environ, _MARK: "1"}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], wanted)
