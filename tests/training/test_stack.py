import math
from typing import Any

import pytest
import torch
from torch import Tensor

from ncdiag.domain.spec import Activation, NetworkSpec
from ncdiag.training.mlp import MLP
from ncdiag.training.network import Network
from ncdiag.training.networks import build_network
from ncdiag.training.stack import Stack, make_stacks


def make_stack(networks: list[Network]) -> Stack:
    (stack,) = make_stacks(networks)
    return stack


def network(seed: int, **given: Any) -> Network:
    spec = NetworkSpec(**({"arch": "mlp", "depth": 3, "width": 17} | given))
    return build_network(spec, input_shape=(1, 8, 8), num_classes=10, generator=torch.Generator().manual_seed(seed))


def inputs(members: int, batch: int = 33) -> Tensor:
    return torch.randn(members, batch, 1, 8, 8, generator=torch.Generator().manual_seed(9))


def gradients(networks: list[Network], x: Tensor) -> list[list[Tensor]]:
    stack = make_stack(networks)
    weights = torch.linspace(-1, 1, 10)
    losses = (torch.tanh(stack.logits(x)) * weights).mean((1, 2))
    return stack.by_network(torch.autograd.grad(losses.sum(), stack.parameters))


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "gelu", "silu", "tanh"])
def test_logits_are_those_of_the_networks(activation: Activation) -> None:
    networks = [network(seed, activation=activation) for seed in range(3)]
    x = inputs(3)
    expected = torch.stack([n(images) for n, images in zip(networks, x, strict=True)])
    torch.testing.assert_close(make_stack(networks).logits(x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("arch", ["mlp", "cnn"])
def test_gradients_are_those_of_the_network(arch: str) -> None:
    one = network(0, arch=arch)
    if arch == "cnn":
        one.to(memory_format=torch.channels_last)
    x = inputs(1)
    weights = torch.linspace(-1, 1, 10)
    (torch.tanh(one(x[0])) * weights).mean().backward()
    expected = [parameter.grad for parameter in one.parameters()]
    parameters = one.trained_tensors()
    (found,) = gradients([one], x)
    for ours, theirs, parameter in zip(found, expected, parameters, strict=True):
        assert theirs is not None
        assert ours.stride() == parameter.stride()  # the optimisers' kernels go through memory, not through indices
        turned = arch == "mlp" and theirs.dim() == 2
        torch.testing.assert_close(ours, (theirs.mT if turned else theirs).view_as(ours), rtol=1e-5, atol=1e-7)


def test_a_network_computes_the_same_bits_in_every_stack_and_place() -> None:
    x = inputs(8)
    alone = [
        (make_stack([network(seed)]).logits(x[seed : seed + 1])[0], *gradients([network(seed)], x[seed : seed + 1])[0])
        for seed in range(8)
    ]
    for places in ([0, 1, 2, 3, 4, 5, 6, 7], [5, 3], [7, 0, 3]):
        networks = [network(seed) for seed in places]
        logits = make_stack(networks).logits(x[places])
        for found, logit, seed in zip(gradients(networks, x[places]), logits, places, strict=True):
            assert all(torch.equal(a, b) for a, b in zip((logit, *found), alone[seed], strict=True))


def test_what_changes_a_network_changes_its_place_in_the_stack() -> None:
    networks = [network(seed) for seed in range(2)]
    stack = make_stack(networks)
    x = inputs(2)
    before = stack.logits(x)
    with torch.no_grad():
        networks[1].head.weight.zero_()
    after = stack.logits(x)
    assert torch.equal(before[0], after[0])
    assert not after[1].any()
    with torch.no_grad():
        stack.by_network(stack.parameters)[0][-2].zero_()
    assert not networks[0].head.weight.any()


def test_one_network_of_nan_leaves_the_others() -> None:
    networks = [network(seed) for seed in range(3)]
    x = inputs(3)
    expected = gradients(networks, x)
    with torch.no_grad():
        networks[1].head.weight.fill_(math.nan)
    found = gradients(networks, x)
    for place in (0, 2):
        assert all(torch.equal(a, b) for a, b in zip(found[place], expected[place], strict=True))
    assert all(tensor.isnan().any() for tensor in found[1][:-1])


def test_leaving_a_stack_keeps_the_weights() -> None:
    networks = [network(seed) for seed in range(3)]
    weights = [n.head.weight.clone() for n in networks]
    first = make_stack(networks)
    make_stack(networks[:2])
    with torch.no_grad():
        first.parameters[0].zero_()  # nobody's any more, but for the one that stayed
    assert isinstance(networks[0], MLP)
    assert networks[0].layers[0].weight.any()
    assert all(torch.equal(n.head.weight, weight) for n, weight in zip(networks, weights, strict=True))
