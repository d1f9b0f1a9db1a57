"""What this process may use of the machine: cores and memory."""

import ctypes
import math
import os
import platform
import signal
import sys
from contextlib import suppress
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
"""Where a container finds the limits that it was given."""


def usable_cores() -> int:
    """Cores that this process may run on: a job of SLURM or a container has fewer than its machine.

    A share of a core counts as one.
    """
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota, period = (
        _numbers("cpu.max")
        or _numbers("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")
        or (math.inf, 1)
    )
    limited = math.ceil(quota / period) if 0 < quota < math.inf else available
    return max(1, min(available or 1, limited or 1))


def usable_memory() -> int:
    """Bytes of memory that this process may use: of a container, its limit."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    (limit,) = _numbers("memory.max") or _numbers("memory/memory.limit_in_bytes") or (math.inf,)
    return int(min(machine, limit))


def _numbers(*names: str) -> tuple[float, ...] | None:
    """Those in these files of the control group (v1 has folders); None where there are none."""
    with suppress(OSError, ValueError):
        words = " ".join((CGROUPS / name).read_text() for name in names).split()
        return tuple(math.inf if word == "max" else float(word) for word in words)
    return None


PR_SET_PDEATHSIG = 1


def end_with_launcher() -> None:
    """Have the system end this process when torchrun, or what launched it here, has been killed.

    Called before anything slow: who launched it may be killed while this process imports.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ and sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Have the C library keep what is freed instead of giving it back to the system.

    By default glibc maps every large block anew and unmaps it when it is freed. The system then
    clears each of its pages at the first touch: for the activations and gradients of a training
    step on a CPU, or the pixels of one photograph after the other, that takes as long as much of
    the arithmetic. Kept, memory is cleared once. The process holds on to the most that it ever
    needed.

    Returns:
        Whether the C library is glibc and does so from now on.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST) and mallopt(M_TRIM_THRESHOLD, LARGEST))
