"""What this process may use of the machine: cores and memory."""

import ctypes
import os
import platform


def usable_cores() -> int:
    """Cores that this process may run on: a job of SLURM has fewer of them than its machine."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return available or 1


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
