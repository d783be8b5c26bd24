"""Networks of one shape side by side, so that one call computes the logits of all of them.

A small network spends most of a training step on calls rather than on numbers. MLPs therefore get an axis for the
networks: weights [E, out, in], in memory [E, in, out], and one batched product for a layer of all E. The networks stay
what they were: their parameters become views of the stack, so whatever reads or changes a network reads or changes its
slice, and each can take a step by itself from where the stack left it.

What a network computes alone is what its module computes, under autograd. A stack stands in for its networks where it
gives each of them the same bits, which is for the library to decide that computes the products: most do for most
shapes, and none for all (`ncdiag.training.agreement` finds out). Convolutions have no batched form that pays on a CPU
(a grouped one is slower than one after another), so every other architecture is a stack of one.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor

from ncdiag.training.layers import DERIVATIVES
from ncdiag.training.mlp import MLP
from ncdiag.training.network import Network, as_it_lies

# From the gradient of the logits to those of the parameters; may be asked once.
PullBack = Callable[[Tensor], list[Tensor]]

ALIGNMENT = 16  # floats: a tensor begins at a multiple of 64 bytes, and libraries choose a kernel by where one begins


class Stack(ABC):
    """E networks that compute together."""

    networks: Sequence[Network]
    parameters: list[Tensor]

    @abstractmethod
    def logits(self, x: Tensor) -> tuple[Tensor, PullBack]:
        """Give the logits [E, B, K] of a batch for each network, [E, B, C, H, W], and the way back from them."""

    @abstractmethod
    def by_network(self, tensors: Sequence[Tensor]) -> list[list[Tensor]]:
        """Split tensors shaped like `parameters` into those of each network, as they lie in memory."""


class StackedMLP(Stack):
    """MLPs of one depth, width and activation."""

    def __init__(self, networks: Sequence[MLP]) -> None:
        self.networks = networks
        self.activation = networks[0].activation
        self.derivative = DERIVATIVES[networks[0].spec.activation]
        self.parameters = [_side_by_side(same) for same in zip(*(n.parameters() for n in networks), strict=True)]
        for place, network in enumerate(networks):
            for parameter, stack in zip(network.parameters(), self.parameters, strict=True):
                parameter.data = stack[place]

    @torch.no_grad()
    def logits(self, x: Tensor) -> tuple[Tensor, PullBack]:
        """Give the logits of every network; the way back is written out, a tenth faster than autograd's."""
        x = x.flatten(2)
        layers = list(zip(self.parameters[::2], self.parameters[1::2], strict=True))
        inputs, before = [x], []
        for weight, bias in layers[:-1]:
            before.append(torch.baddbmm(bias[:, None], inputs[-1], weight.mT))
            inputs.append(self.activation(before[-1]))
        weight, bias = layers[-1]
        logits = torch.baddbmm(bias[:, None], inputs[-1], weight.mT)

        def pull_back(gradient: Tensor) -> list[Tensor]:
            gradient = gradient.to(logits.dtype)  # lower than float32 where the products are
            found: list[Tensor] = []
            for number in reversed(range(len(layers))):
                found += [gradient.sum(1), torch.bmm(inputs[number].to(gradient.dtype).mT, gradient).mT]
                if number:
                    gradient = torch.bmm(gradient, layers[number][0].to(gradient.dtype))
                    gradient = self.derivative(gradient, before[number - 1], inputs[number])
            return [tensor.float() for tensor in reversed(found)]

        return logits, pull_back

    def by_network(self, tensors: Sequence[Tensor]) -> list[list[Tensor]]:
        """Give each network its slices."""
        slices = zip(*(tensor.detach().unbind() for tensor in tensors), strict=True)
        return [[as_it_lies(tensor) for tensor in own] for own in slices]


class Alone(Stack):
    """One network of any architecture."""

    def __init__(self, network: Network) -> None:
        self.networks = [network]
        self.parameters = list(network.parameters())

    def logits(self, x: Tensor) -> tuple[Tensor, PullBack]:
        """Give the logits of the one network."""
        logits: Tensor = self.networks[0](x[0])

        def pull_back(gradient: Tensor) -> list[Tensor]:
            return list(torch.autograd.grad(logits, self.parameters, gradient[0].to(logits.dtype)))

        return logits.detach()[None], pull_back

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
    """Stack tensors of one shape and layout so that each begins where a tensor of its own would."""
    size, shape = tensors[0].numel(), tensors[0].mT.shape if tensors[0].dim() > 1 else tensors[0].shape
    room = torch.empty(len(tensors), -(-size // ALIGNMENT) * ALIGNMENT, device=tensors[0].device)
    stack: Tensor = room[:, :size].unflatten(1, shape)
    if len(shape) > 1:
        stack = stack.mT
    for place, tensor in zip(stack, tensors, strict=True):
        place.copy_(tensor.detach())
    return stack
