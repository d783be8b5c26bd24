"""Which runs of a sweep are trained together, and where.

On a CPU it is tried out, shape by shape, whether a group is faster than its runs one after another. On a GPU a group is
as large as its memory allows: a small network leaves nearly all of a GPU idle. Nothing of this changes a run.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

from ncdiag.domain.records import Run
from ncdiag.domain.spec import RunSpec
from ncdiag.execution.worker import DataKey
from ncdiag.training.footprint import FLOAT, state_floats
from ncdiag.training.networks import count_parameters

PAYS = 1.1  # a group that is faster by less may be slower on the next try
ORDER = 8  # bytes of the place of a sample
GPU_SHARE = 0.8  # of the free memory: what torch and cuDNN take besides is not known beforehand
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
        spec = RunSpec.from_dict(run.config)
        began = run.fingerprint.get("threads"), run.fingerprint.get("products")
        key = spec.network, data_key(run), spec.batch_size, spec.phases, spec.precision, began
        shapes.setdefault(key, []).append(run)
    return [Shape(spec=RunSpec.from_dict(some[0].config), runs=tuple(some)) for some in shapes.values()]


def cut(shape: Shape, size: int, *, parts: int) -> list[list[Run]]:
    """Cut the runs of a shape into nearly equal groups of at most `size`, and into `parts` if there are as many."""
    number = len(shape.runs)
    groups = max(math.ceil(number / size), min(parts, number))
    bounds = [number * place // groups for place in range(groups + 1)]
    return [list(shape.runs[a:b]) for a, b in pairwise(bounds)]


def size_on_gpu(spec: RunSpec, input_shape: tuple[int, int, int], sizes: Mapping[str, int], *, free_bytes: int) -> int:
    """Give how many MLPs fit into a GPU's memory together, at least one and at most `MOST`; `sizes` as in `Dataset`.

    Each needs weights, gradients and moments (two for adam, one for sgd), twice a copy of weights and moments (the
    state of the last epoch, and what a capture puts back), its batch, and the activations: before and after the
    nonlinearity, and their gradient; twice the order of an epoch, and a copy of the images it is measured on where
    those are not all. Room is left for the features of all samples, which are there while one of the members is
    measured.
    """
    width, depth = int(spec.network.width), spec.network.depth
    inputs = math.prod(input_shape)
    parameters = count_parameters(spec.network, input_shape=input_shape, num_classes=sizes["num_classes"])
    member = 3 * state_floats(spec, parameters) + parameters + spec.batch_size * (inputs + 3 * width * depth)
    member += 2 * ORDER // FLOAT * sizes["n_train"]
    member += ((spec.metric_samples or 0) + (spec.test_samples or 0)) * inputs // FLOAT  # a byte a pixel
    room = GPU_SHARE * free_bytes / FLOAT - sizes["n_train"] * width
    return min(MOST, max(1, int(room / member)))


def list_devices(device: torch.device, count: int) -> list[str]:
    """Give the devices that a sweep fills: every GPU unless one was named, else the one device."""
    if device == torch.device("cuda"):
        return [f"cuda:{index}" for index in range(count)]
    return [str(device)]
