"""Networks of one shape side by side, so that one call computes the logits of all of them.

A small network spends most of a training step on calls rather than on numbers. MLPs therefore get an axis for the
networks: weights [E, in, out], as they lie in memory, and one batched product for a layer of all E. The networks stay
what they were: their parameters become views of the stack, so whatever reads or changes a network reads or changes its
slice, and each can take a step by itself from where the stack left it.

What a network computes alone is what its module computes, under autograd. A stack stands in for its networks where it
gives each of them the same bits, which is for the library to decide that computes the products: most do for most
shapes, and none for all (`ncdiag.training.agreement` finds out). Convolutions have no batched form that pays on a CPU
(a grouped one is slower than one after another), so every other architecture is a stack of one.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from ncdiag.training.layers import DERIVATIVES, Derivative
from ncdiag.training.mlp import MLP
from ncdiag.training.network import Network, as_it_lies

ALIGNMENT = 16  # floats: a tensor begins at a multiple of 64 bytes, and libraries choose a kernel by where one begins


class Stack(ABC):
    """E networks that compute together."""

    networks: Sequence[Network]
    parameters: list[Tensor]

    @abstractmethod
    def logits(self, x: Tensor) -> Tensor:
        """Give the logits [E, B, K] of a batch for each network, [E, B, C, H, W], under autograd of `parameters`."""

    @abstractmethod
    def by_network(self, tensors: Sequence[Tensor]) -> list[list[Tensor]]:
        """Split tensors shaped like `parameters` into those of each network, as they lie in memory."""


class StackedMLP(Stack):
    """MLPs of one depth, width and activation."""

    def __init__(self, networks: Sequence[MLP]) -> None:
        self.networks = networks
        self.activation = networks[0].activation
        self.derivative = DERIVATIVES[networks[0].spec.activation]
        alike = zip(*(network.parameters() for network in networks), strict=True)
        self.parameters = [_side_by_side([_turned(parameter) for parameter in same]) for same in alike]
        for network, slices in zip(networks, self.by_network(self.parameters), strict=True):
            for parameter, own in zip(network.parameters(), slices, strict=True):
                parameter.data = _turned(own)

    def logits(self, x: Tensor) -> Tensor:
        """Give the logits of every network."""
        logits: Tensor = _LogitsOfAll.apply(x.flatten(2), self.activation, self.derivative, *self.parameters)
        return logits

    def by_network(self, tensors: Sequence[Tensor]) -> list[list[Tensor]]:
        """Give each network its slices."""
        return [list(own) for own in zip(*(tensor.detach().unbind() for tensor in tensors), strict=True)]


class _LogitsOfAll(torch.autograd.Function):
    """The logits [E, B, K] of inputs [E, B, D], with the way back written out: a tenth faster than autograd's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, activation: nn.Module, derivative: Derivative, *parameters: Tensor) -> Tensor:
        weights, biases = parameters[::2], parameters[1::2]
        inputs, before = [x], []
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            before.append(torch.baddbmm(bias[:, None], inputs[-1], weight))
            inputs.append(activation(before[-1]))
        ctx.weights, ctx.inputs, ctx.before, ctx.derivative = weights, inputs, before, derivative
        return torch.baddbmm(biases[-1][:, None], inputs[-1], weights[-1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        found: list[Tensor] = []
        for number in reversed(range(len(ctx.weights))):  # in the precision of the products
            found += [gradient.sum(1), torch.bmm(ctx.inputs[number].to(gradient.dtype).mT, gradient)]
            if number:
                gradient = torch.bmm(gradient, ctx.weights[number].to(gradient.dtype).mT)
                gradient = ctx.derivative(gradient, ctx.before[number - 1], ctx.inputs[number])
        return None, None, None, *(tensor.float() for tensor in reversed(found))


class Alone(Stack):
    """One network of any architecture."""

    def __init__(self, network: Network) -> None:
        self.networks = [network]
        self.parameters = list(network.parameters())

    def logits(self, x: Tensor) -> Tensor:
        """Give the logits of the one network."""
        logits: Tensor = self.networks[0](x[0])
        return logits[None]

    def by_network(self, tensors: Sequence[Tensor]) -> list[list[Tensor]]:
        """Give the tensors, each with the strides of its parameter, as the optimisers' kernels need them."""
        pairs = zip(tensors, self.parameters, strict=True)
        alike = (t.detach() if t.stride() == p.stride() else torch.empty_like(p).copy_(t) for t, p in pairs)
        return [[as_it_lies(tensor) for tensor in alike]]


def make_stacks(networks: Sequence[Network]) -> list[Stack]:
    """Put networks of one shape side by side, several MLPs in one stack, whose tensors they compute with from now on.

    A network that joins another stack, or is alone again, leaves this one.
    """
    if len(networks) > 1 and isinstance(networks[0], MLP):
        return [StackedMLP(cast(Sequence[MLP], networks))]
    for parameter in (parameter for network in networks for parameter in network.parameters()):
        if parameter.untyped_storage().nbytes() > parameter.nbytes:  # of a stack that it was in
            parameter.data = parameter.data.clone()
    return [Alone(network) for network in networks]


def _side_by_side(tensors: Sequence[Tensor]) -> Tensor:
    """Stack tensors of one shape so that each begins where a tensor of its own would."""
    size = tensors[0].numel()
    room = torch.empty(len(tensors), -(-size // ALIGNMENT) * ALIGNMENT, device=tensors[0].device)
    stack: Tensor = room[:, :size].unflatten(1, tensors[0].shape)
    return torch.stack([tensor.detach() for tensor in tensors], out=stack).requires_grad_()


def _turned(tensor: Tensor) -> Tensor:
    """Give [in, out] for [out, in] and the other way round, and a bias as it is."""
    return tensor.mT if tensor.dim() == 2 else tensor
