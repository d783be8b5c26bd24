"""Whether MLPs that compute together get the bits that each would get alone, found out by trying.

A library chooses a kernel by the sizes of a product, by how many there are and by where a matrix begins, and two
kernels round differently. Most sizes give the same bits in a batch of products and one by one; which do not depends on
the processor (on AMD Zen 4 among others the few rows of an epoch's last batch, and a head behind 16 features). So the
products of a network are tried on made-up numbers before it takes its steps in a group.
"""

from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor

from ncdiag.domain.spec import NetworkSpec, Precision
from ncdiag.training.mlp import MLP
from ncdiag.training.products import products_in_use
from ncdiag.training.reproducibility import casting
from ncdiag.training.stack import OneMLP, Stack, StackedMLP


def agrees(stack: StackedMLP, batch_size: int, precision: Precision) -> bool:
    """Tell whether a stack on a CPU gives each of its networks, for batches of a size, the bits it would get alone."""
    first = cast(MLP, stack.networks[0])
    shape = first.layers[0].in_features, first.head.out_features
    # The answer is kept for the groups to come; it holds for these settings.
    setting = torch.get_num_threads(), products_in_use()
    return _agrees(first.spec, shape, len(stack.networks), batch_size, precision, *setting)


@lru_cache(maxsize=256)
def _agrees(
    spec: NetworkSpec, shape: tuple[int, int], members: int, batch_size: int, precision: Precision, *_setting: Any
) -> bool:
    inputs, num_classes = shape
    drawn = torch.Generator().manual_seed(0)
    networks = [MLP(spec, input_shape=(1, 1, inputs), num_classes=num_classes, generator=drawn) for _ in range(members)]
    for layer in (layer for network in networks for layer in network.layers):
        layer.bias.data.normal_(generator=drawn)
    x = torch.randn(members, batch_size, 1, 1, inputs, generator=drawn)
    gradient = torch.randn(members, batch_size, num_classes, generator=drawn)
    together = _step(StackedMLP(networks), x, gradient, precision)
    alone = [
        _step(OneMLP(network), x[[place]], gradient[[place]], precision)  # copies, which begin where a batch would
        for place, network in enumerate(networks)
    ]
    return all(torch.equal(a, torch.cat(b)) for a, b in zip(together, zip(*alone, strict=True), strict=True))


def _step(stack: Stack, x: Tensor, gradient: Tensor, precision: Precision) -> list[Tensor]:
    """Give the logits and the gradients of a batch, each with an axis for the networks."""
    with casting(precision, x.device):
        logits, backward = stack.forward(x)
    first, *others = stack.by_network(backward(gradient.to(logits.dtype)))
    return [logits, *(torch.stack(same) for same in zip(first, *others, strict=True))]
