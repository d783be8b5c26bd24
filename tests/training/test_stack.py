import math
from typing import Any

import pytest
import torch
from torch import Tensor

from ncdiag.domain.spec import Activation, NetworkSpec, Precision
from ncdiag.training.mlp import MLP
from ncdiag.training.network import Network, as_it_lies
from ncdiag.training.networks import build_network
from ncdiag.training.products import Products, pick_products, using_products
from ncdiag.training.reproducibility import casting
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
    """Give the gradients of a loss of each network, found by autograd up to the logits."""
    stack = make_stack(networks)
    logits, backward = stack.forward(x)
    logits.requires_grad_()
    loss = (torch.tanh(logits) * torch.linspace(-1, 1, 10)).mean() * len(networks)
    return stack.by_network(backward(*torch.autograd.grad(loss, logits)))


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "gelu", "silu", "tanh"])
def test_logits_are_those_of_the_networks(activation: Activation) -> None:
    networks = [network(seed, activation=activation) for seed in range(3)]
    x = inputs(3)
    expected = torch.stack([n(images) for n, images in zip(networks, x, strict=True)])
    torch.testing.assert_close(make_stack(networks).forward(x)[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "gelu", "silu", "tanh"])
@pytest.mark.parametrize(("arch", "members"), [("mlp", 1), ("mlp", 3), ("cnn", 1)])
def test_gradients_are_those_of_the_networks(arch: str, members: int, activation: Activation) -> None:
    networks = [network(seed, arch=arch, activation=activation) for seed in range(members)]
    if arch == "cnn":
        networks[0].to(memory_format=torch.channels_last)
    x = inputs(members)
    weights = torch.linspace(-1, 1, 10)
    for one, images in zip(networks, x, strict=True):
        (torch.tanh(one(images)) * weights).mean().backward()
    expected = [[parameter.grad for parameter in one.parameters()] for one in networks]
    for one, found, wanted in zip(networks, gradients(networks, x), expected, strict=True):
        for ours, theirs, parameter in zip(found, wanted, one.parameters(), strict=True):
            assert theirs is not None
            assert ours.stride() == as_it_lies(parameter).stride()  # the optimisers' kernels go through memory
            torch.testing.assert_close(ours, as_it_lies(theirs).reshape(ours.shape), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("library", sorted({"default", pick_products()}))
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "gelu", "silu", "tanh"])
@pytest.mark.parametrize(("width", "batch"), [(17, 33), (64, 128)])
def test_one_network_has_the_bits_of_its_module_under_autograd(
    width: int, batch: int, activation: Activation, precision: Precision, library: Products
) -> None:
    one, x = network(0, width=width, activation=activation), inputs(1, batch)
    slope = torch.randn(1, batch, 10, generator=torch.Generator().manual_seed(1))
    with using_products(library):
        with casting(precision, x.device):
            expected = one(x[0])
            logits, backward = make_stack([one]).forward(x)
        expected.backward(slope[0].to(expected.dtype))
        found = backward(slope.to(logits.dtype))
    assert torch.equal(logits[0], expected)
    for ours, parameter in zip(found, one.parameters(), strict=True):
        assert parameter.grad is not None
        assert torch.equal(ours, as_it_lies(parameter.grad).reshape(ours.shape))


def test_each_place_of_a_stack_begins_where_a_tensor_would() -> None:
    networks = [network(seed) for seed in range(3)]  # 17 x 17 and 10 x 17 weights: no multiples of 64 bytes
    make_stack(networks)
    assert all(parameter.data_ptr() % 64 == 0 for one in networks for parameter in one.parameters())


def test_what_changes_a_network_changes_its_place_in_the_stack() -> None:
    networks = [network(seed) for seed in range(2)]
    stack = make_stack(networks)
    x = inputs(2)
    before, _ = stack.forward(x)
    with torch.no_grad():
        networks[1].head.weight.zero_()
    after, _ = stack.forward(x)
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


def test_a_network_that_is_alone_again_has_its_weights_to_itself() -> None:
    networks = [network(seed) for seed in range(3)]
    weights = [n.head.weight.clone() for n in networks]
    stack = make_stack(networks)
    make_stack(networks[:1])
    with torch.no_grad():
        stack.parameters[-2].zero_()
    assert torch.equal(networks[0].head.weight, weights[0])
    assert networks[0].head.weight.untyped_storage().nbytes() == weights[0].nbytes
