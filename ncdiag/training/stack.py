"""Networks of one shape side by side, so that one call computes the logits of all of them.

A small network spends most of a training step on calls rather than on numbers. MLPs therefore get an axis for the
networks: weights [E, in, out] and one batched product for a layer of all E. A single MLP is E = 1 of the same code.
The networks stay what they were: their parameters become views of the stack, so whatever reads or changes a network
reads or changes its slice.

Each network comes out as if it had been alone, bit for bit on a CPU: a batched product computes every slice by
itself. Convolutions have no such form that pays on a CPU (a grouped one is slower than one after another), so every
other architecture is a stack of one.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from ncdiag.training.mlp import MLP
from ncdiag.training.network import Network


class Stack(ABC):
    """E networks that compute together."""

    networks: Sequence[Network]
    parameters: list[Tensor]  # leaves of the gradient

    @abstractmethod
    def logits(self, x: Tensor) -> Tensor:
        """Give the logits [E, B, K] of a batch for each network, [E, B, C, H, W]."""

    @abstractmethod
    def by_network(self, tensors: Sequence[Tensor]) -> list[list[Tensor]]:
        """Split tensors shaped like `parameters` into those of each network, in the layout it is trained in."""


class StackedMLP(Stack):
    """MLPs of one depth, width and activation."""

    def __init__(self, networks: Sequence[MLP]) -> None:
        self.networks = networks
        self.activation = networks[0].activation
        self.parameters = [torch.stack(same) for same in zip(*(n.trained_tensors() for n in networks), strict=True)]
        for network, tensors in zip(networks, self.by_network(self.parameters), strict=True):
            for layer, weight, bias in zip(network.layers, tensors[::2], tensors[1::2], strict=True):
                layer.weight.data, layer.bias.data = weight.mT, bias[0]
        for parameter in self.parameters:
            parameter.requires_grad_()

    def logits(self, x: Tensor) -> Tensor:
        """Give the logits of every network."""
        x = x.flatten(2)
        *hidden, (weight, bias) = zip(self.parameters[::2], self.parameters[1::2], strict=True)
        for w, b in hidden:
            x = self.activation(torch.baddbmm(b, x, w))
        return torch.baddbmm(bias, x, weight)

    def by_network(self, tensors: Sequence[Tensor]) -> list[list[Tensor]]:
        """Give each network its slices."""
        return [list(slices) for slices in zip(*(tensor.detach().unbind() for tensor in tensors), strict=True)]


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
        return [[t.detach() if t.stride() == p.stride() else torch.empty_like(p).copy_(t) for t, p in pairs]]


def make_stacks(networks: Sequence[Network]) -> list[Stack]:
    """Put networks of one shape side by side, MLPs in one stack; they compute with their stack's tensors from now on.

    A network that joins another stack leaves this one.
    """
    if isinstance(networks[0], MLP):
        return [StackedMLP(cast(Sequence[MLP], networks))]
    return [Alone(network) for network in networks]
