"""Freed memory is kept: the system clears pages once and not for every tensor anew."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from alexnet_repro.base.system import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.zeros(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

assert keep_freed_memory()
faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has this choice")
def test_tensors_after_the_first_find_memory_that_is_there() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 100  # of 16,384 pages a tensor


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from alexnet_repro.base import system

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not system.keep_freed_memory()
