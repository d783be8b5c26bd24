"""From the name of an architecture to a network: the one table. A new architecture is one file and one line here."""

from collections.abc import Callable

import torch

from ncdiag.domain.spec import Arch, NetworkSpec
from ncdiag.errors import SpecError
from ncdiag.training.cnn import CNN
from ncdiag.training.mlp import MLP
from ncdiag.training.network import Network
from ncdiag.training.resnet import ResNet

__all__ = ["Network", "build_network"]

_NETWORKS: dict[Arch, Callable[..., Network]] = {
    "mlp": MLP,
    "cnn": CNN,
    "resnet20": ResNet,
}

SMALLEST_IMAGE = 4  # pixels; a narrower image leaves the convolutions nothing to slide over


def build_network(
    spec: NetworkSpec, *, input_shape: tuple[int, int, int], num_classes: int, generator: torch.Generator
) -> Network:
    """Give a freshly initialised network on the CPU for inputs [B, C, H, W], its weights drawn from `generator` alone.

    Raises `SpecError` if a convolutional network is asked for vectors or for images too small for it.
    """
    if spec.arch != "mlp" and min(input_shape[1:]) < SMALLEST_IMAGE:
        _, height, width = input_shape
        raise SpecError(
            f"{spec.arch} needs images of at least {SMALLEST_IMAGE} x {SMALLEST_IMAGE} pixels; "
            f"this data set holds {height} x {width}. Use --arch mlp"
        )
    return _NETWORKS[spec.arch](spec, input_shape=input_shape, num_classes=num_classes, generator=generator)
