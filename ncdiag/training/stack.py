"""Networks of one shape side by side, so that one call computes the logits of all of them.

A small network spends most of a training step on calls rather than on numbers. MLPs therefore get an axis for the
networks: weights [E, in, out], as they lie in memory, and one batched product for a layer of all E. The networks stay
what they were: their parameters become views of the stack, so whatever reads or changes a network reads or changes its
slice, and each can take a step by itself from where the stack left it.

What an MLP computes alone is what its module computes, by the kernels that autograd would call, in its order. A stack
stands in for its networks where it gives each of them the same bits, which is for the library to decide that computes
the products: most do for most shapes, and none for all (`ncdiag.training.agreement` finds out). Convolutions have no
batched form that pays on a CPU (a grouped one is slower than one after another), so every other architecture is a stack
of one.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor

from ncdiag.training.layers import DERIVATIVES
from ncdiag.training.mlp import MLP
from ncdiag.training.network import Network, as_it_lies

ALIGNMENT = 16  # floats: a tensor begins at a multiple of 64 bytes, and libraries choose a kernel by where one begins


# From the gradient [E, B, K] of logits to the gradients of a stack's parameters.
Backward = Callable[[Tensor], Sequence[Tensor]]


class Stack(ABC):
    """E networks that compute together."""

    networks: Sequence[Network]
    parameters: list[Tensor]

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, Backward]:
        """Give the logits [E, B, K] of a batch for each network, [E, B, C, H, W], and the backward pass from them."""

    @abstractmethod
    def by_network(self, tensors: Sequence[Tensor]) -> list[list[Tensor]]:
        """Split tensors shaped like `parameters` into those of each network, as they lie in memory."""


class Alone(Stack):
    """One network of any architecture, under autograd."""

    def __init__(self, network: Network) -> None:
        self.networks = [network]
        self.parameters = list(network.parameters())

    def forward(self, x: Tensor) -> tuple[Tensor, Backward]:
        """Give the logits of the one network."""
        logits: Tensor = self.networks[0](x[0])
        return logits.detach()[None], lambda gradient: torch.autograd.grad(logits, self.parameters, gradient[0])

    def by_network(self, tensors: Sequence[Tensor]) -> list[list[Tensor]]:
        """Give the tensors, each with the strides of its parameter, as the optimisers' kernels need them."""
        pairs = zip(tensors, self.parameters, strict=True)
        alike = (t.detach() if t.stride() == p.stride() else torch.empty_like(p).copy_(t) for t, p in pairs)
        return [[as_it_lies(tensor) for tensor in alike]]


class _WrittenOut(Stack):
    """MLPs with the backward pass written out: autograd's bookkeeping takes a sixth of a small network's step."""

    def __init__(self, networks: Sequence[MLP]) -> None:
        self.networks = networks
        self.activation = networks[0].activation
        self.derivative = DERIVATIVES[networks[0].spec.activation]

    def forward(self, x: Tensor) -> tuple[Tensor, Backward]:
        """Give the logits of every network."""
        weights, biases = self.parameters[::2], self.parameters[1::2]
        inputs, before = [self._own(x.flatten(2))], []
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            before.append(self.affine(bias, inputs[-1], weight))
            inputs.append(self.activation(before[-1]))
        logits = self.affine(biases[-1], inputs[-1], weights[-1])

        def backward(gradient: Tensor) -> list[Tensor]:
            gradient, found = self._own(gradient), []
            for number in reversed(range(len(weights))):  # in the precision of the products
                found += [gradient.sum(-2), self.product(inputs[number].to(gradient.dtype).mT, gradient)]
                if number:
                    gradient = self.product(gradient, weights[number].to(gradient.dtype).mT)
                    gradient = self.derivative(gradient, before[number - 1], inputs[number])
            return [tensor.float() for tensor in reversed(found)]

        return logits.view(*x.shape[:2], -1), backward

    @abstractmethod
    def _own(self, tensor: Tensor) -> Tensor:
        """Give a tensor [E, ...] with the axes that the stack computes with."""

    @abstractmethod
    def affine(self, bias: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """Give x @ weight + bias."""

    @abstractmethod
    def product(self, a: Tensor, b: Tensor) -> Tensor:
        """Give a @ b."""


class OneMLP(_WrittenOut):
    """One MLP, by the kernels of its module."""

    def __init__(self, network: MLP) -> None:
        super().__init__([network])
        self.parameters = [_turned(parameter.detach()) for parameter in network.parameters()]

    def by_network(self, tensors: Sequence[Tensor]) -> list[list[Tensor]]:
        """Give the one network all."""
        return [list(tensors)]

    def _own(self, tensor: Tensor) -> Tensor:
        return tensor[0]

    def affine(self, bias: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """Give x @ weight + bias."""
        return torch.addmm(bias, x, weight)

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        """Give a @ b."""
        return torch.mm(a, b)


class StackedMLP(_WrittenOut):
    """MLPs of one depth, width and activation."""

    def __init__(self, networks: Sequence[MLP]) -> None:
        super().__init__(networks)
        alike = zip(*(network.parameters() for network in networks), strict=True)
        self.parameters = [_side_by_side([_turned(parameter) for parameter in same]) for same in alike]
        for network, slices in zip(networks, self.by_network(self.parameters), strict=True):
            for parameter, own in zip(network.parameters(), slices, strict=True):
                parameter.data = _turned(own)

    def by_network(self, tensors: Sequence[Tensor]) -> list[list[Tensor]]:
        """Give each network its slices."""
        return [list(own) for own in zip(*(tensor.unbind() for tensor in tensors), strict=True)]

    def _own(self, tensor: Tensor) -> Tensor:
        return tensor

    def affine(self, bias: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """Give x @ weight + bias."""
        return torch.baddbmm(bias[:, None], x, weight)

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        """Give a @ b."""
        return torch.bmm(a, b)


def make_stacks(networks: Sequence[Network]) -> list[Stack]:
    """Put networks of one shape side by side, several MLPs in one stack, whose tensors they compute with from now on.

    A network that joins another stack, or is alone again, leaves this one.
    """
    if len(networks) > 1 and isinstance(networks[0], MLP):
        return [StackedMLP(cast(Sequence[MLP], networks))]
    for parameter in (parameter for network in networks for parameter in network.parameters()):
        if parameter.untyped_storage().nbytes() > parameter.nbytes:  # of a stack that it was in
            parameter.data = parameter.data.clone()
    return [OneMLP(network) if isinstance(network, MLP) else Alone(network) for network in networks]


def _side_by_side(tensors: Sequence[Tensor]) -> Tensor:
    """Stack tensors of one shape so that each begins where a tensor of its own would."""
    size = tensors[0].numel()
    room = torch.empty(len(tensors), -(-size // ALIGNMENT) * ALIGNMENT, device=tensors[0].device)
    stack: Tensor = room[:, :size].unflatten(1, tensors[0].shape)
    return torch.stack([tensor.detach() for tensor in tensors], out=stack)


def _turned(tensor: Tensor) -> Tensor:
    """Give [in, out] for [out, in] and the other way round, and a bias as it is."""
    return tensor.mT if tensor.dim() == 2 else tensor
