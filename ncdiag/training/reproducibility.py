"""Where random numbers come from, and what else decides the bits of a result.

Every random draw has a seed of its own, derived from the run's seed, what it is for and the epoch. Nothing draws from
a generator that something else shares, so measuring, resuming and grouping cannot shift a later draw.
"""

import os
import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, Literal

import numpy as np
import torch

import ncdiag
from ncdiag.domain.spec import Precision
from ncdiag.errors import SpecError
from ncdiag.training.products import products_in_use

Purpose = Literal["weights", "order"]
_PURPOSES: dict[Purpose, int] = {"weights": 1, "order": 2}  # part of every stored result: never renumber


def generator(seed: int, purpose: Purpose, epoch: int = 0) -> torch.Generator:
    """Give a CPU generator that depends on these three alone."""
    state = np.random.SeedSequence([seed, _PURPOSES[purpose], epoch]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


def batch_order(seed: int, epoch: int, num_samples: int) -> torch.Tensor:
    """Give the order in which an epoch visits the samples: a permutation, int64 [num_samples], on the CPU."""
    return torch.randperm(num_samples, generator=generator(seed, "order", epoch))


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Take numbers below 1e-38 for zero; begin before torch starts its threads, which inherit it and keep it.

    Weight decay drives the weights of dead units there, and a processor may multiply such numbers a hundred times
    slower: a training step with a third of the units dead takes nine times as long (benchmarks/kernels.py).
    """
    before = _denormals_are_flushed()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


@contextmanager
def full_precision() -> Iterator[None]:
    """Keep products in float32 on a GPU and its convolutions repeatable; the caller's flags come back afterwards."""
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        with _tf32(allowed=False):
            yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before


def check_precision(precision: Precision, device: torch.device) -> None:
    """Raise `SpecError` if a device lacks a precision: torch would compute in another one, and not say so."""
    if precision == "tf32" and device.type != "cuda":
        raise SpecError(
            "--precision tf32 exists on NVIDIA GPUs only, and this is a CPU.\n"
            "Train the run on such a GPU, or another one here in float32 or bf16"
        )


def lowered_precision(precision: Precision) -> AbstractContextManager[None]:
    """Let products on a GPU be TF32 where a run asks for it; the caller's flags come back afterwards."""
    return _tf32(allowed=precision == "tf32")


@contextmanager
def _tf32(*, allowed: bool) -> Iterator[None]:
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    settings: list[tuple[Any, str, Any]] = [(place, "allow_tf32", allowed) for place in (matmul, cudnn)]
    if hasattr(cudnn, "conv"):  # torch 2.9 has other names, and refuses to read by the old ones what was set by these
        precision = "tf32" if allowed else "ieee"
        settings += [(place, "fp32_precision", precision) for place in (matmul, cudnn.conv, cudnn.rnn)]
    before = []
    for place, name, _ in settings:
        with suppress(RuntimeError):
            before.append((place, name, getattr(place, name)))
    for place, name, value in settings:
        setattr(place, name, value)
    try:
        yield
    finally:
        for place, name, value in before:
            setattr(place, name, value)


def casting(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """Let products be bfloat16 where a run asks for it."""
    if precision != "bf16":
        return nullcontext()
    # without a cache: what a captured step casts, it casts anew at every replay
    return torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=False)


def device_name(device: torch.device) -> str:
    """Give the name of the accelerator, or of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def numeric_fingerprint(device: torch.device) -> dict[str, Any]:
    """Give what decides the bits of a result beside the specification.

    A run continued under another fingerprint is another run: on one machine, one thread and two threads, or two
    instruction sets, give different weights from the same seed.
    """
    on_cpu = device.type == "cpu"
    return {
        "torch": torch.__version__,
        "device": device.type,
        "device_name": device_name(device),
        "threads": torch.get_num_threads() if on_cpu else None,
        "cpu_capability": torch.backends.cpu.get_cpu_capability() if on_cpu else None,
        "onednn": bool(torch.backends.mkldnn.enabled) if on_cpu else None,
        "products": products_in_use() if on_cpu else None,
        "flush_denormals": _denormals_are_flushed() if on_cpu else None,
        "isa_limit": os.environ.get("ONEDNN_MAX_CPU_ISA") if on_cpu else None,
    }


def _denormals_are_flushed() -> bool:
    return float(torch.tensor(1e-39) * 1.0) == 0.0


def environment(device: torch.device) -> dict[str, Any]:
    """Give what a reader of the run will want to know of the machine and the versions it was trained with."""
    return {
        "ncdiag": ncdiag.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": platform.platform(),
        "device_name": device_name(device),
        "torch": torch.__version__,
    }
