"""A small convolutional network without normalisation: convolutions, one hidden layer, the head.

It stands between the two published architectures: it shares weights over the image like the ResNet, but has neither
BatchNorm nor shortcuts, and its features come from one linear layer like those of the MLP.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from ncdiag.domain.spec import NetworkSpec
from ncdiag.training.layers import ACTIVATIONS, GAINS, LINEAR_GAIN, make_conv, make_linear
from ncdiag.training.network import Network

CHANNELS = (32, 64)  # of the first convolution, and of every later one
SMALLEST_MAP = 4  # a map this narrow is pooled no further: 32 -> 16 -> 8 -> 4, 28 -> 14 -> 7 -> 3, 8 -> 4


class CNN(Network):
    """`depth` 3x3 convolutions, each pooled by two while its map is wider than 4, then `width` hidden units.

    The features are the activation of the hidden units, d = width.
    """

    def __init__(
        self, spec: NetworkSpec, *, input_shape: tuple[int, int, int], num_classes: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        gain = GAINS[spec.activation]
        colours, height, width = input_shape
        channels = [colours, CHANNELS[0]] + [CHANNELS[1]] * (spec.depth - 1)
        self.convolutions = nn.ModuleList(
            make_conv(a, b, 3, bias=True, gain=gain, fan="in", generator=generator) for a, b in pairwise(channels)
        )
        self.pools = []
        for _ in range(spec.depth):
            self.pools.append(min(height, width) > SMALLEST_MAP)
            if self.pools[-1]:
                height, width = height // 2, width // 2
        self.hidden = make_linear(channels[-1] * height * width, int(spec.width), gain=gain, generator=generator)
        self.activation = ACTIVATIONS[spec.activation]()
        self.head = make_linear(int(spec.width), num_classes, gain=LINEAR_GAIN, generator=generator)

    def features(self, x: Tensor) -> Tensor:
        """Give the activation of the hidden units, [B, width]."""
        for convolution, pool in zip(self.convolutions, self.pools, strict=True):
            x = self.activation(convolution(x))
            if pool:
                x = functional.max_pool2d(x, 2)
        features: Tensor = self.activation(self.hidden(x.flatten(1)))
        return features

    @property
    def last_hidden(self) -> nn.Linear:
        """The hidden linear layer."""
        return self.hidden
