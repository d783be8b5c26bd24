"""Float32 matrix products on a CPU, by the faster of the two libraries that torch has for them.

On some AMD processors MKL computes them at half the speed that oneDNN does. torch asks oneDNN for float32 products
when it is allowed to use bfloat16 inside them, and on a processor without matrix units oneDNN then computes in float32
all the same. With such units (AMX) it does use bfloat16, a thousand times less exact. So both are tried, and oneDNN is
taken where it is as exact as float32 is, unless it is clearly slower: its bits do not depend on the number of threads,
and those of MKL do on some processors. The library decides the bits of a run, so the margin is far from every ratio of
speeds that was seen, and time is what one thread spends computing: a trial that came out otherwise on the next day, or
beside other work, would make another run of the same command.

The switch is for CPUs alone; what torch offers for both, `set_float32_matmul_precision`, would also lower the precision
of a GPU.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import nn

from ncdiag.training.threads import computing_threads

Products = Literal["default", "onednn"]

LinearReLU = Callable[[torch.Tensor, nn.Linear], torch.Tensor]

MAX_ERROR = 1e-5  # of the largest entry: float32 has 5e-7 to 1.2e-6, bfloat16 2e-3
MIN_SPEEDUP = 0.8  # measured on AMD: 1.8 to 2.1 (Zen 5), 1.0 to 1.3 (Zen 4); on Intel the two are alike
ROUNDS = 10
# [M, K] x [K, N] of a layer, of the head, and of the head's gradient: a library has different ways for them.
SHAPES = ((128, 512, 512), (128, 512, 10), (512, 128, 10))


def products_in_use() -> Products:
    """Give the library that computes products now."""
    return "onednn" if getattr(_switch(), "fp32_precision", None) == "bf16" else "default"


@contextmanager
def using_products(library: Products) -> Iterator[None]:
    """Let a library compute the products of the block; the setting before comes back afterwards."""
    switch = _switch()
    if library == products_in_use() or switch is None:
        yield
        return
    before = switch.fp32_precision
    switch.fp32_precision = "bf16" if library == "onednn" else "ieee"
    try:
        yield
    finally:
        switch.fp32_precision = before


@lru_cache(maxsize=1)
def pick_products() -> Products:
    """Give the library to use here, from a trial of hundredths of a second."""
    if _switch() is None:
        return "default"
    generator = torch.Generator().manual_seed(0)
    pairs = [(torch.randn(m, k, generator=generator), torch.randn(k, n, generator=generator)) for m, k, n in SHAPES]
    with using_products("onednn"):
        errors = torch.tensor([relative_error(x @ weight, x.double() @ weight.double()) for x, weight in pairs])
    with computing_threads(1):
        return choose(float(errors.max()), lambda library: _seconds(library, *pairs[0]))


def linear_relu_kernel(x: torch.Tensor) -> LinearReLU | None:
    """Give one kernel for a linear layer and the ReLU behind it, without gradients, where oneDNN computes the products.

    It has the bits of the two kernels, and does not go over their result two times more: a tenth of the time of MNIST's
    features at width 512. torch gives it no public name; its compiler calls it.
    """
    on_cpu = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_grad_enabled()
    if not on_cpu or products_in_use() != "onednn" or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return None
    kernel = torch.ops.mkldnn._linear_pointwise
    return lambda x, layer: kernel(x, layer.weight, layer.bias, "relu", [], "")


def relative_error(product: torch.Tensor, exact: torch.Tensor) -> float:
    """Give the largest error of a product as a share of the largest entry of the exact one."""
    return float((product.double() - exact).abs().max() / exact.abs().max())


def choose(error: float, seconds: Callable[[Products], float]) -> Products:
    """Give the library to use, from the error of oneDNN's products and how long either library takes for one."""
    if not error <= MAX_ERROR:
        return "default"
    pairs = [(seconds("default"), seconds("onednn")) for _ in range(ROUNDS)]  # in turn: the machine has moods
    before, after = (min(times) for times in zip(*pairs, strict=True))
    return "onednn" if before >= MIN_SPEEDUP * after else "default"


def _seconds(library: Products, x: torch.Tensor, weight: torch.Tensor) -> float:
    """Give the seconds that this thread computes; where others want the core too, waiting for it counts nothing."""
    with using_products(library):
        torch.mm(x, weight)
        started = time.thread_time()
        for _ in range(5):
            torch.mm(x, weight)
        return time.thread_time() - started


def _switch() -> Any:
    """Give torch's setting for products by oneDNN; None before torch 2.9."""
    return getattr(torch.backends.mkldnn, "matmul", None)
