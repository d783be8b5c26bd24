import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from ncdiag.training.reproducibility import (
    batch_order,
    device_name,
    flushed_denormals,
    full_precision,
    generator,
    numeric_fingerprint,
)
from ncdiag.training.threads import computing_threads


def test_order_is_a_permutation_that_depends_on_seed_and_epoch_alone() -> None:
    order = batch_order(3, 5, 1000)
    assert torch.equal(order.sort().values, torch.arange(1000))
    torch.rand(7)
    assert torch.equal(order, batch_order(3, 5, 1000))
    assert not torch.equal(order, batch_order(3, 6, 1000))
    assert not torch.equal(order, batch_order(4, 5, 1000))


def test_purposes_do_not_share_a_stream() -> None:
    draws = {float(torch.rand(1, generator=generator(0, purpose, 0))) for purpose in ("weights", "order")}
    assert len(draws) == 2


def test_the_streams_are_those_of_every_stored_result() -> None:
    """Seed, 1 for the weights or 2 for the order, epoch: with another number a run would be continued as another."""

    def seeded(*numbers: int) -> torch.Generator:
        return torch.Generator().manual_seed(int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]))

    assert torch.equal(batch_order(3, 5, 100), torch.randperm(100, generator=seeded(3, 2, 5)))
    assert torch.equal(torch.randn(9, generator=generator(3, "weights")), torch.randn(9, generator=seeded(3, 1, 0)))


def test_drawing_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    batch_order(0, 1, 100)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("benchmark", [False, True])
def test_flags_come_back(monkeypatch: pytest.MonkeyPatch, benchmark: bool) -> None:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    monkeypatch.setattr(cudnn, "benchmark", benchmark)
    before = (cudnn.allow_tf32, cudnn.deterministic, matmul.allow_tf32)
    with full_precision():
        assert (cudnn.allow_tf32, cudnn.deterministic, matmul.allow_tf32) == (False, True, False)
        assert not cudnn.benchmark  # it chooses a kernel by how fast it was just now
    assert (cudnn.allow_tf32, cudnn.deterministic, matmul.allow_tf32) == before
    assert cudnn.benchmark == benchmark


def precisions() -> dict[str, str]:
    """Give what torch 2.9 and later say of products on a GPU, from the general to the particular."""
    backends = torch.backends
    places = {
        "backends": backends,
        "matmul": backends.cuda.matmul,
        "cudnn": backends.cudnn,
        "conv": backends.cudnn.conv,
        "rnn": backends.cudnn.rnn,
    }
    return {name: place.fp32_precision for name, place in places.items()}


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="torch before 2.9 has one name for each flag")
@pytest.mark.parametrize("place", ["backends", "backends.cuda.matmul", "backends.cudnn.conv"])
def test_flags_that_were_set_by_their_newer_names_are_heeded_and_come_back(place: str) -> None:
    program = f"""
import torch
from test_reproducibility import precisions
from ncdiag.training.reproducibility import full_precision, lowered_precision
torch.{place}.fp32_precision = "tf32"
before = precisions()
for block, value, flag in (
    (full_precision, "ieee", False), (lambda: lowered_precision("tf32"), "tf32", True),
    (lambda: lowered_precision("float32"), "ieee", False),
):
    with block():
        assert [precisions()[name] for name in ("matmul", "conv", "rnn")] == [value] * 3
        assert torch.backends.cuda.matmul.allow_tf32 == torch.backends.cudnn.allow_tf32 == flag
    assert precisions() == before
"""
    folder = str(Path(__file__).parent)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")])}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)


@contextmanager
def another(place: str, value: object) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(place, value)
        yield


def without_onednn() -> SimpleNamespace:
    """oneDNN off, or on where it was off, and its setting for products as an earlier test may have left it."""
    settings = torch.backends.mkldnn
    return SimpleNamespace(enabled=not settings.enabled, matmul=getattr(settings, "matmul", None))


@pytest.mark.parametrize(
    ("name", "otherwise"),
    [
        ("torch", another("torch.__version__", "1.0")),
        ("device_name", another("ncdiag.training.reproducibility.device_name", lambda device: "another")),
        ("threads", computing_threads(torch.get_num_threads() + 1)),
        ("cpu_capability", another("torch.backends.cpu.get_cpu_capability", lambda: "another")),
        ("onednn", another("torch.backends.mkldnn", without_onednn())),
        ("products", another("ncdiag.training.reproducibility.products_in_use", lambda: "another")),
        ("flush_denormals", flushed_denormals()),
        ("isa_limit", mock.patch.dict(os.environ, {"ONEDNN_MAX_CPU_ISA": "another"})),
    ],
)
def test_the_fingerprint_names_what_is_different(name: str, otherwise: AbstractContextManager[Any]) -> None:
    before = numeric_fingerprint(torch.device("cpu"))
    with otherwise:
        now = numeric_fingerprint(torch.device("cpu"))
    assert [key for key in before if now[key] != before[key]] == [name]
    assert numeric_fingerprint(torch.device("cpu")) == before


def test_what_a_gpu_computes_does_not_hang_on_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "H200")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    found = numeric_fingerprint(torch.device("cuda"))
    assert {name for name, value in found.items() if value is not None} == {"torch", "device", "device_name"}
    assert (found["device"], found["device_name"]) == ("cuda", "H200")


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="asks Linux")
def test_the_processor_is_known_by_its_model() -> None:
    names = set(re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), flags=re.MULTILINE))
    assert device_name(torch.device("cpu")) in names or not names


def test_denormals_are_flushed_in_every_thread() -> None:
    program = """
import subprocess
import sys

import torch
from ncdiag.training.reproducibility import flushed_denormals, numeric_fingerprint
assert not numeric_fingerprint(torch.device("cpu"))["flush_denormals"]
with flushed_denormals():
    assert numeric_fingerprint(torch.device("cpu"))["flush_denormals"]
    torch.set_num_threads(2)
    small = torch.full((1000, 1000), 1e-39) * torch.ones(1000, 1000)
    print(int((small != 0).sum()))
assert not numeric_fingerprint(torch.device("cpu"))["flush_denormals"]
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"
