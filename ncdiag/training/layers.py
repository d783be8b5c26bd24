"""What the networks are made of: activations with their gains, and layers that are initialised from a generator.

Weights are Kaiming-normal (He et al. 2015, arXiv 1502.01852): mean 0, standard deviation gain / sqrt(fan), where the
gain belongs to the activation that follows. Biases are zero. A layer draws its weights from the generator it is
handed, on the CPU and in the order in which the layers are made; torch's global generator is never touched.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from ncdiag.domain.spec import Activation

Layer = TypeVar("Layer", bound=nn.Module)

LEAKY_SLOPE = 0.01
_NO_DRAW = "meta"  # a layer made on a real device draws weights from torch's global generator
LINEAR_GAIN = 1.0  # for a layer that no activation follows: the head

# In place where the gradient can be had from the result: nobody else reads what a layer gives, and for a convolution
# it is memory that takes the time.
ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "relu": partial(nn.ReLU, inplace=True),
    "leaky_relu": partial(nn.LeakyReLU, LEAKY_SLOPE, inplace=True),
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}

# From the gradient behind an activation to that before it, given what went in and what came out (the same tensor where
# it works in place): the kernels that autograd would call.
Derivative = Callable[[Tensor, Tensor, Tensor], Tensor]
_aten = torch.ops.aten
DERIVATIVES: dict[Activation, Derivative] = {
    "relu": lambda gradient, _, after: _aten.threshold_backward(gradient, after, 0),
    "leaky_relu": lambda gradient, _, after: _aten.leaky_relu_backward(gradient, after, LEAKY_SLOPE, True),
    "gelu": lambda gradient, before, _: _aten.gelu_backward(gradient, before),
    "silu": lambda gradient, before, _: _aten.silu_backward(gradient, before),
    "tanh": lambda gradient, _, after: _aten.tanh_backward(gradient, after),
}

# relu, leaky_relu and tanh are those of torch.nn.init.calculate_gain. It has none for gelu and silu. They take
# ReLU's, as the published protocol and common practice do; the gains that keep the second moment of a unit normal
# would be 1.53 and 1.68, so these two start with features that shrink with depth (about a factor 0.92 and 0.84 at the
# first layer, more as the signal shrinks).
GAINS: dict[Activation, float] = {
    "relu": math.sqrt(2),
    "leaky_relu": math.sqrt(2 / (1 + LEAKY_SLOPE**2)),
    "gelu": math.sqrt(2),
    "silu": math.sqrt(2),
    "tanh": 5 / 3,
}


def make_linear(inputs: int, outputs: int, *, gain: float, generator: torch.Generator) -> nn.Linear:
    """Give a linear layer with Kaiming-normal weights over the fan in, and a bias of zero."""
    layer = _undrawn(nn.Linear(inputs, outputs, device=_NO_DRAW))
    if layer.weight.is_meta:  # to draw numbers that are none would load torch's compiler
        return layer
    with torch.no_grad():
        layer.weight.normal_(0, gain / math.sqrt(inputs), generator=generator)
        layer.bias.zero_()
    return layer


def make_conv(
    inputs: int,
    outputs: int,
    size: int,
    *,
    stride: int = 1,
    bias: bool,
    gain: float,
    fan: Literal["in", "out"],
    generator: torch.Generator,
) -> nn.Conv2d:
    """Give a convolution that keeps the size of its map (at stride 1), Kaiming-normal over the fan said."""
    layer = _undrawn(
        nn.Conv2d(inputs, outputs, kernel_size=size, stride=stride, padding=size // 2, bias=bias, device=_NO_DRAW)
    )
    if layer.weight.is_meta:
        return layer
    with torch.no_grad():
        connections = size * size * (inputs if fan == "in" else outputs)
        layer.weight.normal_(0, gain / math.sqrt(connections), generator=generator)
        if layer.bias is not None:
            layer.bias.zero_()
    return layer


def _undrawn(layer: Layer) -> Layer:
    """Give the layer empty parameters, on the CPU unless torch is told otherwise (`count_parameters`).

    `Module.to_empty` would load a second's worth of torch for that.
    """
    for name, parameter in list(layer.named_parameters()):
        setattr(layer, name, nn.Parameter(torch.empty(parameter.shape)))
    return layer
