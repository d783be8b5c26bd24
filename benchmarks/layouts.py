"""Choices on a GPU, each beside its alternative: `python benchmarks/layouts.py`.

Layouts: an epoch of ResNet-20 on 60,000 images, alone and four side by side, channels first and last, in each
precision, by the algorithms that cuDNN takes where it must repeat itself and by those that it finds best by trying;
as the network is written, with torch's own BatchNorm instead of cuDNN's, and compiled (`torch.compile`, which makes
one kernel of what lies between two convolutions).
Kernels: where the device spends that epoch in float32.
Products: what `torch.bmm` takes for the products of a step of 1, 8 and 32 MLPs of width 512.

What the presets spend where is told by `python -m cProfile -s tottime -m benchmarks --gpu --data-dir DIR`.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import product
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from benchmarks.engine import Training, made_up
from ncdiag.domain.defaults import complete_spec
from ncdiag.training.reproducibility import full_precision

IMAGES = 60_000
Layout = torch.memory_format
LAYOUTS = torch.contiguous_format, torch.channels_last
Way = Literal["as written", "BatchNorm by torch", "compiled"]
BATCH, INPUTS, WIDTH = 128, 784, 512
# The products of a step [a, b] x [b, c], and how many there are: forward, by the weights, by the inputs.
PRODUCTS = {
    (BATCH, INPUTS, WIDTH): 1,
    (INPUTS, BATCH, WIDTH): 1,
    (BATCH, WIDTH, WIDTH): 4,
    (WIDTH, BATCH, WIDTH): 2,
    (BATCH, WIDTH, 10): 1,
    (BATCH, 10, WIDTH): 1,
    (WIDTH, BATCH, 10): 1,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=12_800, help="images that an epoch is timed on")
    parser.add_argument("--precision", nargs="*", default=["float32", "tf32", "bf16"], help="those to try on a GPU")
    said = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with full_precision():
        compare_layouts(device, said.samples, said.precision if device == "cuda" else ["float32"])
        for layout in LAYOUTS:
            show_kernels(device, said.samples, layout)
        time_products(device)


class OwnBatchNorm(nn.BatchNorm2d):
    """BatchNorm by torch's kernels, whatever cuDNN offers."""

    def forward(self, x: Tensor) -> Tensor:
        state = self.weight, self.bias, self.running_mean, self.running_var
        normed: Tensor = torch.native_batch_norm(x, *state, self.training, self.momentum or 0.0, self.eps)[0]
        return normed


def resnets(count: int, device: str, samples: int, *, layout: Layout, precision: str, way: Way) -> Training:
    data = made_up((3, 32, 32), samples=samples).to(device)
    given = {"arch": "resnet20", "dataset": "cifar10", "precision": precision}
    training = Training([complete_spec({**given, "seed": seed}) for seed in range(count)], data, layout=layout)
    for network in (member.network for member in training.members):
        if way == "compiled":
            network.forward = torch.compile(network.forward)  # type: ignore[method-assign]
        for module in network.modules() if way == "BatchNorm by torch" else ():
            if isinstance(module, nn.BatchNorm2d):
                module.__class__ = OwnBatchNorm
    return training


def compare_layouts(device: str, samples: int, precisions: list[str]) -> None:
    for precision, way, tries, layout in product(precisions, get_args(Way), (False, True), LAYOUTS):
        torch.backends.cudnn.benchmark = tries
        given: dict[str, Any] = {"layout": layout, "precision": precision, "way": way}
        began = time.perf_counter()
        each = [seconds(resnets(count, device, samples, **given).train_epoch) / count for count in (1, 4)]
        one, four = (taken * IMAGES / samples for taken in each)
        chosen = "chosen by trying" if tries else "repeatable"
        print(
            f"{precision}, {layout}, {chosen}, {way}: {one:.3f} s alone, {four:.3f} s each of four "
            f"({time.perf_counter() - began:.0f} s with what comes before)",
            flush=True,
        )
    torch.backends.cudnn.benchmark = False


def show_kernels(device: str, samples: int, layout: Layout) -> None:
    training = resnets(1, device, samples, layout=layout, precision="float32", way="as written")
    training.train_epoch()
    kind = ProfilerActivity.CUDA if device == "cuda" else ProfilerActivity.CPU
    with profile(activities=[kind]) as profiled:
        training.train_epoch()
    order = "cuda_time_total" if device == "cuda" else "cpu_time_total"
    print(layout)
    print(profiled.key_averages().table(sort_by=order, row_limit=25, max_name_column_width=90))


def time_products(device: str) -> None:
    for count in (1, 8, 32):
        total = 0.0
        for (a, b, c), times in PRODUCTS.items():
            x, y = torch.randn(count, a, b, device=device), torch.randn(count, b, c, device=device)

            def do(x: torch.Tensor = x, y: torch.Tensor = y) -> None:
                for _ in range(50):
                    torch.bmm(x, y)

            each = seconds(do) / 50
            total += each * times
            rate = 2e-12 * count * a * b * c / each
            print(f"{count} x [{a}, {b}] x [{b}, {c}]: {1e6 * each:.1f} us, {rate:.1f} TFLOP/s")
        print(f"the products of a step of {count}: {1e3 * total:.3f} ms")


def seconds(do: Callable[[], None], rounds: int = 3) -> float:
    """Give the median of some rounds after one that warms up, each timed to its end on the device."""
    taken = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        do()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[1:])


if __name__ == "__main__":
    main()
