"""Products of a group of MLPs on a GPU, by torch and by a kernel of Triton's: `python benchmarks/batched_products.py`.

A tensor core multiplies TF32, eleven bits of each factor. Three such products, of the leading bits and of what they
leave, make one of float32's exactness ("tf32x3"). Shown is how fast and how exact `torch.bmm` is in float32 and in
TF32, and the kernel in either and in three products, for the shapes of a step: forward, by the inputs, by the weights.

`TRITON_INTERPRET=1 python benchmarks/batched_products.py --small` computes the same on a CPU, far slower.
"""

import argparse
import itertools
import os
from collections.abc import Callable
from functools import partial

import torch
import triton
import triton.language as tl
from torch import Tensor

from benchmarks.layouts import seconds
from ncdiag.training.reproducibility import full_precision, lowered_precision

TILES = [(128, 128, 32, 8, 3), (128, 64, 32, 4, 4), (64, 64, 32, 4, 4), (128, 128, 16, 8, 4)]  # M, N, K, warps, stages


@triton.jit  # type: ignore[untyped-decorator]
def _product(  # type: ignore[no-untyped-def]  # read by Triton's compiler
    a_ptr, b_ptr, c_ptr, m, n, k,
    a_e, a_m, a_k, b_e, b_k, b_n, c_e, c_m, c_n,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    member = tl.program_id(2)
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    inner = tl.arange(0, BLOCK_K)
    a = a_ptr + member * a_e + rows[:, None] * a_m + inner[None, :] * a_k
    b = b_ptr + member * b_e + inner[:, None] * b_k + columns[None, :] * b_n
    total = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        there = start + inner < k
        x = tl.load(a, mask=(rows < m)[:, None] & there[None, :], other=0.0)
        y = tl.load(b, mask=there[:, None] & (columns < n)[None, :], other=0.0)
        total = tl.dot(x, y, total, input_precision=PRECISION)
        a += BLOCK_K * a_k
        b += BLOCK_K * b_k
    c = c_ptr + member * c_e + rows[:, None] * c_m + columns[None, :] * c_n
    tl.store(c, total, mask=(rows < m)[:, None] & (columns < n)[None, :])


def product(a: Tensor, b: Tensor, precision: str, tile: tuple[int, int, int, int, int]) -> Tensor:
    """Give [E, M, K] x [E, K, N] by the kernel, of factors that lie in memory in any way."""
    members, m, k = a.shape
    n = b.shape[2]
    c = torch.empty(members, m, n, device=a.device)
    block_m, block_n, block_k, warps, stages = tile
    grid = triton.cdiv(m, block_m), triton.cdiv(n, block_n), members
    _product[grid](
        a, b, c, m, n, k, *a.stride(), *b.stride(), *c.stride(),
        block_m, block_n, block_k, precision, num_warps=warps, num_stages=stages,
    )  # fmt: skip
    return c


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="sizes for a CPU")
    said = parser.parse_args()
    if said.small and not os.environ.get("TRITON_INTERPRET"):
        raise SystemExit("on a CPU Triton's kernels run under TRITON_INTERPRET=1")
    counts, batch, width = ((2,), 24, 48) if said.small else ((8, 32), 256, 512)
    device = "cpu" if said.small else "cuda"
    for count in counts:
        x = torch.randn(count, batch, width, device=device).relu()
        weight = torch.randn(count, width, width, device=device) * (2 / width) ** 0.5
        gradient = torch.randn(count, batch, width, device=device)
        compare("forward", x, weight)
        compare("by the inputs", gradient, weight.mT)
        compare("by the weights", x.mT, gradient)


def compare(name: str, a: Tensor, b: Tensor) -> None:
    exact = a.double() @ b.double()
    ways: dict[str, Callable[[], Tensor]] = {"torch, float32": lambda: torch.bmm(a, b)}
    for precision, tile in itertools.product(("ieee", "tf32x3", "tf32"), TILES):
        ways[f"kernel, {precision}, {tile}"] = partial(product, a, b, precision, tile)
    with full_precision():
        for way, compute in ways.items():
            show(name, way, a, b, compute, exact)
        with lowered_precision("tf32"):
            show(name, "torch, tf32", a, b, lambda: torch.bmm(a, b), exact)


def show(name: str, way: str, a: Tensor, b: Tensor, compute: Callable[[], Tensor], exact: Tensor) -> None:
    try:
        error = float((compute().double() - exact).abs().max() / exact.abs().max())
    except Exception as problem:  # of a tile that does not fit
        print(f"{len(a)} {name}, {way}: {type(problem).__name__}", flush=True)
        return

    def do() -> None:
        for _ in range(20 if a.is_cuda else 1):
            compute()

    each = seconds(do) / (20 if a.is_cuda else 1)
    rate = 2e-12 * a.shape[0] * a.shape[1] * a.shape[2] * b.shape[2] / each
    print(f"{len(a)} {name}, {way}: {1e6 * each:.1f} us, {rate:.1f} TFLOP/s, error {error:.1e}", flush=True)


if __name__ == "__main__":
    main()
