"""Which runs of a sweep are trained together, and where.

On a CPU it is tried out, shape by shape, whether a group is faster than its runs one after another. On a GPU a group is
as large as its memory allows, whatever the shapes in it: a small network leaves nearly all of a GPU idle, and so do
eight of one shape. Nothing of this changes a run.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

from ncdiag.domain.kinds import run_kind
from ncdiag.domain.records import Run
from ncdiag.domain.spec import RunSpec
from ncdiag.execution.worker import DataKey
from ncdiag.training.footprint import FLOAT, least_bytes, state_floats
from ncdiag.training.loop import MEASURED_AT_ONCE
from ncdiag.training.measure import KEEP_BYTES
from ncdiag.training.networks import count_parameters

PAYS = 1.1  # a group that is faster by less may be slower on the next try
ORDER = 8  # bytes of the place of a sample
GPU_SHARE = 0.8  # of the free memory: what torch and cuDNN take besides is not known beforehand
SHAPES = 16  # in a group on a GPU: each has a stream and a graph of its own, and with so many the chip is full
MOST = 500  # members of a group: each holds a file open, its lock, and most systems let a process have 1,024


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What runs have in common that can take their steps together."""

    spec: RunSpec  # of the first of them
    runs: tuple[Run, ...]

    def __str__(self) -> str:
        network = self.spec.network
        precision = "" if self.spec.precision == "float32" else f", {self.spec.precision}"
        return f"{network.arch} {network.depth} x {network.width}, {self.spec.data.dataset}{precision}"


def list_shapes(runs: Sequence[Run], data_key: Callable[[Run], DataKey]) -> list[Shape]:
    """Sort runs by what must be equal in a group."""
    shapes: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        spec, began = run.spec, (run.fingerprint.get("threads"), run.fingerprint.get("products"))
        key = *run_kind(spec), data_key(run), began
        shapes.setdefault(key, []).append(run)
    return [Shape(spec=some[0].spec, runs=tuple(some)) for some in shapes.values()]


@dataclass(frozen=True, kw_only=True)
class Part:
    """Runs of one shape that are trained as one, and the share of a device's memory that this takes.

    The share is 1 where nothing else is trained beside them.
    """

    runs: list[Run]
    share: float = 1.0


def cut(shape: Shape, size: int, *, parts: int, beside_others: bool = False) -> list[Part]:
    """Cut the runs of a shape into nearly equal parts of at most `size`, and into `parts` if there are as many.

    `beside_others`: a device that holds `size` of them may hold runs of other shapes instead.
    """
    number = len(shape.runs)
    groups = max(math.ceil(number / size), min(parts, number))
    bounds = [number * place // groups for place in range(groups + 1)]
    return [
        Part(runs=list(shape.runs[a:b]), share=(b - a) / size if beside_others else 1.0) for a, b in pairwise(bounds)
    ]


def pack(parts: Sequence[Part], *, least: int) -> list[list[Run]]:
    """Put parts on one data set into as few groups as the memory of a device allows, but into `least` if there are.

    Each goes to where the least is so far, so that the groups of several devices are nearly alike.
    """
    whole = [part.runs for part in parts if part.share >= 1]
    shared = sorted((part for part in parts if part.share < 1), key=lambda part: -part.share)
    for number in range(min(max(1, least - len(whole)), len(shared)), len(shared) + 1):
        groups: list[list[Part]] = [[] for _ in range(number)]
        for part in shared:
            min(groups, key=_share_of).append(part)
        if all(map(_fits, groups)):
            break
    return whole + [[run for part in group for run in part.runs] for group in groups]


def _share_of(group: Sequence[Part]) -> float:
    return math.fsum(part.share for part in group)


def _fits(group: Sequence[Part]) -> bool:
    return _share_of(group) <= 1 and len(group) <= SHAPES and sum(len(part.runs) for part in group) <= MOST


def size_on_gpu(spec: RunSpec, input_shape: tuple[int, int, int], sizes: Mapping[str, int], *, free_bytes: int) -> int:
    """Give how many MLPs fit into a GPU's memory together, at least one and at most `MOST`; `sizes` as in `Dataset`.

    Each needs what it needs everywhere (`least_bytes`), another copy of its state, which a capture puts back, its
    batch, and the activations: before and after the nonlinearity, and their gradient; twice the order of an epoch, and
    a copy of the images it is measured on where those are not all. Room is left for the features of all samples of
    those members that are measured at once.
    """
    width, depth = int(spec.network.width), spec.network.depth
    inputs = math.prod(input_shape)
    parameters = count_parameters(spec.network, input_shape=input_shape, num_classes=sizes["num_classes"])
    batch = min(spec.batch_size, sizes["n_train"])
    member = least_bytes(spec, input_shape, sizes["num_classes"])
    member += FLOAT * (state_floats(spec, parameters) + batch * (inputs + 3 * width * depth))
    member += 2 * ORDER * sizes["n_train"]
    member += ((spec.metric_samples or 0) + (spec.test_samples or 0)) * inputs  # a byte a pixel
    room = GPU_SHARE * free_bytes - MEASURED_AT_ONCE * min(FLOAT * sizes["n_train"] * width, KEEP_BYTES)
    return min(MOST, max(1, int(room / member)))


def list_devices(device: torch.device, count: int) -> list[str]:
    """Give the devices that a sweep fills: every GPU unless one was named, else the one device."""
    if device == torch.device("cuda"):
        return [f"cuda:{index}" for index in range(count)]
    return [str(device)]
