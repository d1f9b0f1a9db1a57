"""How many processors there are for this process."""

import os


def usable_cores() -> int:
    """Cores that this process may run on: a job of SLURM has fewer of them than its machine."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return available or 1
