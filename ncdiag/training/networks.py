"""From the name of an architecture to a network."""

from collections.abc import Callable

import torch

from ncdiag.domain.spec import Arch, NetworkSpec
from ncdiag.errors import SpecError
from ncdiag.training.cnn import CNN
from ncdiag.training.mlp import MLP
from ncdiag.training.network import Network
from ncdiag.training.resnet import ResNet

_NETWORKS: dict[Arch, Callable[..., Network]] = {
    "mlp": MLP,
    "cnn": CNN,
    "resnet20": ResNet,
}

# Pixels. A narrower image leaves the convolutions nothing to slide over; a ResNet halves it twice, and from 4 pixels
# a batch of one image would leave BatchNorm a single value to normalise.
SMALLEST_IMAGE: dict[Arch, int] = {"mlp": 1, "cnn": 4, "resnet20": 5}


def build_network(
    spec: NetworkSpec, *, input_shape: tuple[int, int, int], num_classes: int, generator: torch.Generator
) -> Network:
    """Give a freshly initialised network on the CPU for inputs [B, C, H, W], its weights drawn from `generator` alone.

    Raises `SpecError` if a convolutional network is asked for vectors or for images too small for it.
    """
    check_fit(spec, input_shape=input_shape)
    return _NETWORKS[spec.arch](spec, input_shape=input_shape, num_classes=num_classes, generator=generator)


def count_parameters(spec: NetworkSpec, *, input_shape: tuple[int, int, int], num_classes: int) -> int:
    """Give the number of parameters of a network, which is not made for that: it takes no memory, however large."""
    with torch.device("meta"):
        network = build_network(
            spec, input_shape=input_shape, num_classes=num_classes, generator=torch.Generator("cpu")
        )
    return sum(parameter.numel() for parameter in network.parameters())


def check_fit(spec: NetworkSpec, *, input_shape: tuple[int, int, int]) -> None:
    """Raise `SpecError` if a network cannot take inputs [C, H, W]."""
    smallest = SMALLEST_IMAGE[spec.arch]
    _, height, width = input_shape
    if min(height, width) < smallest:
        raise SpecError(
            f"{spec.arch} needs images of at least {smallest} x {smallest} pixels; "
            f"this data set holds {height} x {width}. Use --arch mlp"
        )
