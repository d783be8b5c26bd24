"""The residual network for small images: He et al. 2016 (arXiv 1512.03385), section 4.2, with projection shortcuts.

A 3x3 convolution, three stages of n blocks with 16, 32 and 64 channels (times `width`), the later two at half the
resolution of the one before, global average pooling, the head: 6n + 2 weighted layers. Where a block changes the
shape, the shortcut is a 1x1 convolution with BatchNorm, as in the published runs (He's own used zero padding there).

Convolutions are Kaiming-normal over the fan out with the activation's gain, as in the authors' code (fb.resnet.torch)
and torchvision; they have no bias. BatchNorm starts as the identity.
"""

import torch
from torch import Tensor, nn

from ncdiag.domain.spec import Activation, NetworkSpec
from ncdiag.errors import SpecError
from ncdiag.training.layers import ACTIVATIONS, GAINS, LINEAR_GAIN, make_conv, make_linear
from ncdiag.training.network import Network

STAGE_CHANNELS = (16, 32, 64)


class ResNet(Network):
    """A ResNet of depth 6n + 2; the features are the average over the last map, d = 64 * width."""

    def __init__(
        self, spec: NetworkSpec, *, input_shape: tuple[int, int, int], num_classes: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        channels = [int(c * spec.width) for c in STAGE_CHANNELS]
        self.stem = _conv_norm(input_shape[0], channels[0], 3, activation=spec.activation, generator=generator)
        self.activation = ACTIVATIONS[spec.activation]()
        blocks: list[nn.Module] = []
        before = channels[0]
        for stage, after in enumerate(channels):
            for place in range((spec.depth - 2) // 6):
                stride = 2 if stage > 0 and place == 0 else 1
                blocks.append(_Block(before, after, stride, spec.activation, generator))
                before = after
        self.blocks = nn.Sequential(*blocks)
        self.head = make_linear(channels[-1], num_classes, gain=LINEAR_GAIN, generator=generator)

    def features(self, x: Tensor) -> Tensor:
        """Give the average of the last block over its map, [B, 64 * width]."""
        x = self.blocks(self.activation(self.stem(x)))
        return x.mean(dim=(2, 3))

    @property
    def last_hidden(self) -> nn.Linear:
        """Raise `SpecError`: the features are the sum of a residual branch and a shortcut."""
        raise SpecError(
            "a ResNet has no last hidden layer: its features are the sum of a residual branch and a shortcut,\n"
            "which no single layer scales. Use --arch mlp or --arch cnn"
        )


class _Block(nn.Module):
    """Two 3x3 convolutions with BatchNorm beside a shortcut; the activation follows their sum."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, activation: Activation, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]()
        self.first = _conv_norm(inputs, outputs, 3, stride=stride, activation=activation, generator=generator)
        self.second = _conv_norm(outputs, outputs, 3, activation=activation, generator=generator)
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs or stride != 1:
            self.shortcut = _conv_norm(inputs, outputs, 1, stride=stride, activation=activation, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.second(self.activation(self.first(x)))
        after: Tensor = self.activation(branch + self.shortcut(x))
        return after


def _conv_norm(
    inputs: int, outputs: int, size: int, *, stride: int = 1, activation: Activation, generator: torch.Generator
) -> nn.Sequential:
    convolution = make_conv(
        inputs, outputs, size, stride=stride, bias=False, gain=GAINS[activation], fan="out", generator=generator
    )
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))
