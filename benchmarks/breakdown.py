"""Where an epoch goes on one thread of a CPU, and how long its products would take at the rate of large ones."""

import statistics
from collections.abc import Callable, Mapping
from functools import partial
from typing import get_args

import torch
from torch import nn
from torch.profiler import ProfilerActivity

from benchmarks.cpu import Setting
from benchmarks.engine import Training, mlp, resnet20
from benchmarks.timing import in_turn
from ncdiag.training.products import Products, using_products
from ncdiag.training.threads import computing_threads

LARGE = 1024  # rows and columns of a product that a library computes as fast as it can
# Operations of torch by what they are for.
PRODUCTS = {
    "of which matrix products": ("mm", "addmm", "bmm", "baddbmm"),
    "of which the optimiser": ("_fused_adam_",),
    "of which gathering batches": ("index_select",),
}
CONVOLUTIONS = {
    "of which convolutions": ("mkldnn_convolution", "convolution_backward"),
    "of which BatchNorm": ("native_batch_norm", "native_batch_norm_backward"),
    "of which activations and sums": ("clamp_min_", "threshold_backward", "add", "add_"),
}

HEADINGS = ["network", "part", "s", "of the epoch"]


def profile(setting: Setting, rate: float) -> list[list[str]]:
    """Give the lines of the table: the MLP of the rows, wide and narrow, and two steps of ResNet-20.

    `rate` is how many operations a second the library in use can do.
    """
    with computing_threads(1):
        lines = [line for width in (setting.width, setting.small) for line in _of_mlp(setting, width, rate)]
        return lines + _of_resnet(setting)


def rates() -> dict[Products, float]:
    """Give the operations a second of a large product on one thread, by each library."""
    a, b = torch.randn(LARGE, LARGE), torch.randn(LARGE, LARGE)

    def multiply(library: Products) -> None:
        with using_products(library):
            torch.mm(a, b)

    with computing_threads(1):
        times = in_turn({library: partial(multiply, library) for library in get_args(Products)}, 10)
    return {library: 2 * LARGE**3 / min(times[library]) for library in get_args(Products)}


def _of_mlp(setting: Setting, width: int, rate: float) -> list[list[str]]:
    ours = Training([mlp(width)], setting.data.normalised())
    ways = {"steps": ours.train_epoch, "measuring the training set": ours.measure, "measuring the test set": ours.test}
    times = {name: statistics.median(taken) for name, taken in in_turn(ways, setting.rounds).items()}
    whole = sum(times.values())
    parts = _parts(ours.train_epoch, PRODUCTS)
    samples, layers = len(setting.data.train_labels), _layers(ours.members[0].network)
    numbers = sum(layers)
    forward, backward = 2 * samples * numbers, 2 * samples * (2 * numbers - layers[0])  # images get no gradient
    lines = {
        "steps": times["steps"],
        **parts,
        "products of steps as fast as large ones": (forward + backward) / rate,
        "measuring the training set": times["measuring the training set"],
        "products of measuring as fast as large ones": forward / rate,
        "measuring the test set": times["measuring the test set"],
    }
    return [[f"784-{width}x3", name, f"{seconds:.3g}", f"{seconds / whole:.0%}"] for name, seconds in lines.items()]


def _layers(network: nn.Module) -> list[int]:
    return [parameter.numel() for parameter in network.parameters() if parameter.dim() == 2]


def _of_resnet(setting: Setting) -> list[list[str]]:
    spec, data = resnet20()
    ours = Training([spec], data)
    (times,) = in_turn({"steps": ours.train_epoch}, setting.rounds).values()
    steps = statistics.median(times)
    lines = {"two steps": steps, **_parts(ours.train_epoch, CONVOLUTIONS)}
    return [["ResNet-20", name, f"{seconds:.3g}", f"{seconds / steps:.0%}"] for name, seconds in lines.items()]


def _parts(way: Callable[[], None], kinds: Mapping[str, tuple[str, ...]]) -> dict[str, float]:
    """Give the seconds that operations of each kind take, by torch's own profiler, within what is done."""
    with torch.profiler.profile(activities=[ProfilerActivity.CPU]) as seen:
        way()
    taken = {event.key: event.self_cpu_time_total / 1e6 for event in seen.key_averages()}
    return {kind: sum(taken.get(f"aten::{name}", 0.0) for name in names) for kind, names in kinds.items()}
