"""How long networks take to train here, and whether those of one shape train faster together, found out by trying."""

import time
from dataclasses import replace

import torch

from ncdiag.domain.spec import NetworkSpec, RunSpec
from ncdiag.training.datasets import Dataset
from ncdiag.training.footprint import check_memory, least_bytes, memory_of
from ncdiag.training.member import fresh_network, fresh_optimizer
from ncdiag.training.reproducibility import full_precision
from ncdiag.training.steps import Steps

TOGETHER = 8  # members of a group on a CPU; more gain little (32 of width 64: 1.4 times, 8: 1.2 to 1.7)
SIDE_BY_SIDE = 4  # convolutional members of a group on a GPU, each of which keeps its activations meanwhile
CPU = torch.device("cpu")
STEPS = 10
ROUNDS = 3
FEW_IMAGES = 64
# A product of this many multiplications takes far longer than a call: nothing is gained above, and trying takes long.
LARGEST_PRODUCT = 2**24  # 256 x 256 x 256


def group_size(network: NetworkSpec, device: torch.device) -> int:
    """Give how many networks to try together; 1 where nothing can be gained."""
    if not network.convolves:
        return TOGETHER
    return SIDE_BY_SIDE if device.type == "cuda" else 1  # on a CPU one convolution fills a core


def in_real_batches(spec: RunSpec, images: int) -> RunSpec:
    """Give a specification as it trains on so many images: a batch of all of them is the largest that is ever made."""
    return replace(spec, batch_size=min(spec.batch_size, images))


def speedup(spec: RunSpec, input_shape: tuple[int, int, int], num_classes: int, device: torch.device = CPU) -> float:
    """Give how much faster a group of networks trains than one, per network; 1, without trying, where it cannot be.

    It takes memory for ten batches of the size that `spec` says (`in_real_batches`).

    Takes tens of milliseconds on a CPU, on made-up images; the fastest of three rounds counts, so that whatever else
    the machine does meanwhile matters little. The answer decides nothing but the time that training takes.
    """
    sizes = 1, group_size(spec.network, device)
    large = not spec.network.convolves and spec.batch_size * int(spec.network.width) ** 2 > LARGEST_PRODUCT
    if sizes[1] == 1 or (large and device == CPU):
        return 1.0
    if sum(sizes) * least_bytes(spec, input_shape, num_classes) > memory_of(device):
        return 1.0
    data = _made_up(spec.batch_size * STEPS, input_shape, num_classes).to(device)
    with full_precision():
        both = [_steps(spec, data, size) for size in sizes]
        times: list[list[float]] = [[], []]
        for _ in range(1 + ROUNDS):  # the first round warms up
            for size, steps, taken in zip(sizes, both, times, strict=True):
                started = time.perf_counter()
                steps.take([torch.arange(len(data.train_labels))] * size, [0.0] * size).tolist()  # waits for a GPU
                taken.append((time.perf_counter() - started) / size)
    alone, together = (min(taken[1:]) for taken in times)
    return alone / together


def step_seconds(spec: RunSpec, input_shape: tuple[int, int, int], num_classes: int) -> float:
    """Give roughly how long a training step of one network takes on the CPU, from two on made-up images.

    A convolutional network gets few images, and its time is scaled to the batch: the trial itself is to take seconds.
    It takes memory for two batches of the size that `spec` says (`in_real_batches`).
    Raises `OutOfMemoryError` for a network that is too large for this machine.
    """
    check_memory(spec, input_shape, num_classes, CPU)
    batch_size = min(spec.batch_size, FEW_IMAGES) if spec.network.convolves else spec.batch_size
    tried = replace(spec, batch_size=batch_size)
    data = _made_up(2 * batch_size, input_shape, num_classes)
    steps = _steps(tried, data, 1)
    for _ in range(2):  # the first time warms up
        started = time.perf_counter()
        steps.take([torch.arange(len(data.train_labels))], [0.0])
        taken = time.perf_counter() - started
    return taken / 2 * spec.batch_size / batch_size


def _made_up(samples: int, input_shape: tuple[int, int, int], num_classes: int) -> Dataset:
    images = torch.rand(samples, *input_shape, generator=torch.Generator().manual_seed(0))
    return Dataset(
        name="made up",
        train_images=images,
        train_labels=torch.arange(samples) % num_classes,
        test_images=images[:1],
        test_labels=torch.zeros(1, dtype=torch.int64),
        class_names=tuple(map(str, range(num_classes))),
        mean=torch.zeros(input_shape[0], 1, 1),
        std=torch.ones(input_shape[0], 1, 1),
        channels=input_shape[0],
        sha256="",
        is_normalised=True,
    )


def _steps(spec: RunSpec, data: Dataset, size: int) -> Steps:
    networks = [fresh_network(spec, data) for _ in range(size)]
    return Steps(
        networks,
        [fresh_optimizer(spec, network) for network in networks],
        data,
        batch_size=spec.batch_size,
        loss=spec.phases[0].loss,
        precision=spec.precision,
    )
