import os
import subprocess
import sys

import pytest

on_glibc = pytest.mark.skipif(
    "glibc" not in " ".join(os.confstr_names) + str(os.confstr("CS_GNU_LIBC_VERSION")), reason="glibc"
)


@on_glibc
def test_freed_memory_is_not_mapped_anew() -> None:
    program = """
import resource
import torch
from ncdiag.training.memory import keep_freed_memory

def faults() -> int:
    torch.ones(500_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(500_000)  # 488 pages of 4 KiB
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 20

torch.set_num_threads(1)
print(faults())
assert keep_freed_memory()
print(faults())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after <= before
    assert after < 50


@on_glibc
def test_what_was_freed_can_be_given_back() -> None:
    program = """
import torch
from ncdiag.training.memory import give_back_memory, keep_freed_memory

def resident() -> int:
    return int(open("/proc/self/statm").read().split()[1]) * 4096 // 10**6

keep_freed_memory()
before = resident()
blocks = [torch.ones(500_000) for _ in range(200)]  # 400 MB
above = torch.ones(1000)
del blocks
print(resident() - before)
give_back_memory()
print(resident() - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    kept, left = map(int, done.stdout.split())
    assert kept > 300
    assert left < 100


def test_another_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from ncdiag.training.memory import keep_freed_memory

    class Other:
        pass

    keep_freed_memory.cache_clear()
    monkeypatch.setattr("ctypes.CDLL", lambda name: Other())
    assert not keep_freed_memory()
    keep_freed_memory.cache_clear()
