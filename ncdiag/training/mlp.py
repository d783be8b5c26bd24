"""The multilayer perceptron: hidden layers of one width without normalisation, then the head."""

import math
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from ncdiag.domain.spec import NetworkSpec
from ncdiag.training.layers import ACTIVATIONS, GAINS, LINEAR_GAIN, make_linear
from ncdiag.training.network import Network
from ncdiag.training.products import linear_relu_kernel


class MLP(Network):
    """`depth` hidden layers of `width` units; the features are the last hidden activation, d = width."""

    def __init__(
        self, spec: NetworkSpec, *, input_shape: tuple[int, int, int], num_classes: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.spec = spec
        width = int(spec.width)
        sizes = [math.prod(input_shape)] + [width] * spec.depth
        self.hidden = nn.ModuleList(
            make_linear(a, b, gain=GAINS[spec.activation], generator=generator) for a, b in pairwise(sizes)
        )
        self.activation = ACTIVATIONS[spec.activation]()
        self.head = make_linear(width, num_classes, gain=LINEAR_GAIN, generator=generator)
        for layer in self.layers:  # as [in, out] in memory: a fifth faster at width 512, where weights outgrow a cache
            layer.weight.data = layer.weight.data.mT.contiguous().mT

    @property
    def layers(self) -> list[nn.Linear]:
        """The hidden layers, then the head."""
        return [*(cast(nn.Linear, layer) for layer in self.hidden), self.head]

    def features(self, x: Tensor) -> Tensor:
        """Give the last hidden activation, [B, width]."""
        x = x.flatten(1)
        both = linear_relu_kernel(x) if isinstance(self.activation, nn.ReLU) else None
        for layer in self.layers[:-1]:
            x = both(x, layer) if both else self.activation(layer(x))
        return x

    @property
    def last_hidden(self) -> nn.Linear:
        """The last hidden layer."""
        return cast(nn.Linear, self.hidden[-1])
