import os
import subprocess
import sys

import pytest


@pytest.mark.skipif("glibc" not in " ".join(os.confstr_names) + str(os.confstr("CS_GNU_LIBC_VERSION")), reason="glibc")
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


def test_another_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from ncdiag.training.memory import keep_freed_memory

    class Other:
        pass

    keep_freed_memory.cache_clear()
    monkeypatch.setattr("ctypes.CDLL", lambda name: Other())
    assert not keep_freed_memory()
    keep_freed_memory.cache_clear()
