import math
from typing import Any, get_args

import numpy as np
import pytest
import torch
from scipy import special
from torch import nn

from ncdiag.domain.spec import Activation, Arch, NetworkSpec
from ncdiag.errors import SpecError
from ncdiag.training.layers import ACTIVATIONS, GAINS, make_conv, make_linear
from ncdiag.training.networks import build_network
from ncdiag.training.products import pick_products, using_products
from ncdiag.training.threads import computing_threads

GREY_28 = (1, 28, 28)
COLOUR_32 = (3, 32, 32)
DIGIT = (1, 8, 8)
SMALL = {"mlp": {"depth": 3, "width": 20}, "cnn": {"depth": 2, "width": 12}, "resnet20": {"depth": 8, "width": 0.25}}
ARCHS = tuple(SMALL)


def make(arch: Arch, *, input_shape=DIGIT, num_classes=10, seed=0, **spec: Any):
    return build_network(
        NetworkSpec(**{"arch": arch, **SMALL[arch], **spec}),
        input_shape=input_shape,
        num_classes=num_classes,
        generator=torch.Generator().manual_seed(seed),
    )


def batch(shape, size=6, seed=1):
    return torch.randn(size, *shape, generator=torch.Generator().manual_seed(seed))


def count_parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_every_architecture_and_activation_has_an_entry():
    assert set(ARCHS) == set(get_args(Arch))
    assert set(ACTIVATIONS) == set(GAINS) == set(get_args(Activation))


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("input_shape", [DIGIT, GREY_28, COLOUR_32])
def test_forward_is_the_head_on_the_features(arch, input_shape):
    network = make(arch, input_shape=input_shape, num_classes=7).eval()
    x = batch(input_shape)
    features = network.features(x)
    assert features.shape == (6, {"mlp": 20, "cnn": 12, "resnet20": 16}[arch])
    expected = features @ network.head.weight.T + network.head.bias
    torch.testing.assert_close(network(x), expected)
    assert network(x).shape == (6, 7)


@pytest.mark.parametrize("arch", ARCHS)
def test_weights_come_from_the_generator_alone(arch):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = make(arch, seed=3).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    again, other = make(arch, seed=3).state_dict(), make(arch, seed=4).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


@pytest.mark.parametrize("arch", ARCHS)
def test_biases_start_at_zero_and_weights_are_finite(arch):
    for name, value in make(arch).named_parameters():
        assert value.isfinite().all(), name
        if name.endswith("bias"):
            assert not value.any(), name


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("activation", get_args(Activation))
def test_every_parameter_receives_a_gradient(arch, activation):
    network = make(arch, activation=activation)
    network(batch(DIGIT)).square().mean().backward()
    for name, value in network.named_parameters():
        assert value.grad is not None, name
        assert value.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("activation", "nonlinearity"), [("relu", "relu"), ("leaky_relu", "leaky_relu"), ("tanh", "tanh")]
)
def test_gain_is_that_of_torch(activation, nonlinearity):
    assert GAINS[activation] == pytest.approx(nn.init.calculate_gain(nonlinearity))


@pytest.mark.parametrize("activation", ["gelu", "silu"])
def test_gain_of_smooth_activations_is_that_of_relu(activation):
    assert GAINS[activation] == math.sqrt(2)


def test_linear_layer_has_the_kaiming_deviation_over_fan_in():
    layer = make_linear(400, 900, gain=math.sqrt(2), generator=torch.Generator().manual_seed(0))
    # 360,000 draws: the relative standard error of a standard deviation is 1 / sqrt(2 n) = 0.12 %
    assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / 400), rel=6e-3)
    assert layer.weight.mean().item() == pytest.approx(0, abs=5 * math.sqrt(2 / 400) / 600)


@pytest.mark.parametrize(("fan", "connections"), [("in", 9 * 40), ("out", 9 * 80)])
def test_convolution_has_the_kaiming_deviation_over_the_fan(fan, connections):
    layer = make_conv(40, 80, 3, bias=True, gain=1.5, fan=fan, generator=torch.Generator().manual_seed(0))
    assert layer.weight.std().item() == pytest.approx(1.5 / math.sqrt(connections), rel=2e-2)


def test_relu_mlp_keeps_the_second_moment_at_initialisation():
    network = make("mlp", depth=8, width=1024, input_shape=GREY_28)
    features = network.features(batch(GREY_28, size=64))
    # Each layer keeps E[h^2] in expectation; with 1,024 units its relative spread is about sqrt(5 * 8 / 1024) = 0.2
    assert features.square().mean().item() == pytest.approx(1.0, abs=0.6)


NUMPY_ACTIVATIONS = {
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "gelu": lambda z: z * (1 + special.erf(z / math.sqrt(2))) / 2,
    "silu": lambda z: z / (1 + np.exp(-z)),
    "tanh": np.tanh,
}


@pytest.mark.parametrize("activation", get_args(Activation))
@pytest.mark.parametrize("depth", [1, 4])
def test_mlp_equals_numpy(activation, depth):
    network = make("mlp", depth=depth, width=9, activation=activation, input_shape=(1, 5, 5), num_classes=3).double()
    with torch.no_grad():
        for parameter in network.parameters():  # the zero biases too
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)).double() / 3)
    x = batch((1, 5, 5)).double()
    state = {name: value.numpy() for name, value in network.state_dict().items()}
    h = x.numpy().reshape(6, 25)
    for layer in range(depth):
        h = NUMPY_ACTIVATIONS[activation](h @ state[f"hidden.{layer}.weight"].T + state[f"hidden.{layer}.bias"])
    logits = h @ state["head.weight"].T + state["head.bias"]
    np.testing.assert_allclose(network.features(x).detach().numpy(), h, atol=1e-12)
    np.testing.assert_allclose(network(x).detach().numpy(), logits, atol=1e-12)


def test_published_mlp_has_five_hidden_layers_of_512():
    network = make("mlp", depth=5, width=512, input_shape=GREY_28)
    assert count_parameters(network) == (784 + 1) * 512 + 4 * (512 + 1) * 512 + (512 + 1) * 10
    assert not any(isinstance(m, nn.BatchNorm1d | nn.LayerNorm) for m in network.modules())


def test_mlp_takes_vectors():
    assert make("mlp", input_shape=(1, 1, 37))(batch((1, 1, 37))).shape == (6, 10)


@pytest.mark.parametrize(
    ("input_shape", "depth", "expected"),
    [
        # 8 -> 4 after the first convolution, then no pooling: 64 channels of 4 x 4
        (DIGIT, 3, (1 * 9 + 1) * 32 + (32 * 9 + 1) * 64 + (64 * 9 + 1) * 64 + (64 * 16 + 1) * 12 + 13 * 10),
        # 28 -> 14 -> 7 -> 3
        (GREY_28, 3, (1 * 9 + 1) * 32 + (32 * 9 + 1) * 64 + (64 * 9 + 1) * 64 + (64 * 9 + 1) * 12 + 13 * 10),
        # 32 -> 16
        (COLOUR_32, 1, (3 * 9 + 1) * 32 + (32 * 256 + 1) * 12 + 13 * 10),
    ],
)
def test_cnn_has_the_parameters_of_its_description(input_shape, depth, expected):
    network = make("cnn", depth=depth, input_shape=input_shape)
    assert count_parameters(network) == expected
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())


def test_cnn_equals_its_description_in_plain_calls():
    network = make("cnn", depth=2)
    state, x = network.state_dict(), batch(DIGIT)
    h = torch.relu(nn.functional.conv2d(x, state["convolutions.0.weight"], state["convolutions.0.bias"], padding=1))
    h = h.unfold(2, 2, 2).unfold(3, 2, 2).amax(dim=(4, 5))  # the largest of each 2 x 2 square
    h = torch.relu(nn.functional.conv2d(h, state["convolutions.1.weight"], state["convolutions.1.bias"], padding=1))
    h = torch.relu(h.reshape(6, -1) @ state["hidden.weight"].T + state["hidden.bias"])
    torch.testing.assert_close(network.features(x), h)


@pytest.mark.parametrize("arch", ["mlp", "cnn"])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_scaling_the_last_hidden_layer_scales_the_features(arch, activation):
    network = make(arch, activation=activation)
    x = batch(DIGIT)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                layer.bias.fill_(0.3)  # else scaling any layer would do
        before = network.features(x)
        network.last_hidden.weight.mul_(3)
        network.last_hidden.bias.mul_(3)
        torch.testing.assert_close(network.features(x), 3 * before)


def test_resnet_refuses_to_name_a_last_hidden_layer():
    with pytest.raises(SpecError, match="no last hidden layer"):
        _ = make("resnet20").last_hidden


def resnet_parameters(colours: int, depth: int, width: float, num_classes: int) -> int:
    """Count by hand: a convolution has k*k*in*out weights, BatchNorm two per channel, the head d*K + K."""
    a, b, c = (int(x * width) for x in (16, 32, 64))
    blocks = (depth - 2) // 6
    total = 9 * colours * a + 2 * a
    for before, after in ((a, a), (a, b), (b, c)):
        total += 9 * before * after + 9 * after * after + 4 * after  # first block
        total += (blocks - 1) * (18 * after * after + 4 * after)
        total += before * after + 2 * after if before != after else 0  # 1x1 projection
    return total + c * num_classes + num_classes


def test_standard_resnet20_has_the_known_number_of_parameters():
    assert resnet_parameters(1, 20, 1, 10) == 272_186  # measured independently on one channel
    assert resnet_parameters(3, 20, 1, 10) == 272_474
    assert count_parameters(make("resnet20", depth=20, width=1, input_shape=COLOUR_32)) == 272_474
    assert count_parameters(make("resnet20", depth=20, width=1, input_shape=GREY_28)) == 272_186


@pytest.mark.parametrize(("depth", "width"), [(8, 0.0625), (14, 1), (20, 2), (32, 0.5), (8, 1.5)])
def test_resnet_takes_any_depth_and_width(depth, width):
    network = make("resnet20", depth=depth, width=width, input_shape=COLOUR_32, num_classes=5)
    assert count_parameters(network) == resnet_parameters(3, depth, width, 5)
    assert network.head.in_features == 64 * width
    weighted = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(weighted) - 2 == depth  # the two projections are not counted


def test_resnet_convolutions_start_with_the_deviation_over_fan_out():
    network = make("resnet20", depth=8, width=4, input_shape=COLOUR_32)
    for convolution in (m for m in network.modules() if isinstance(m, nn.Conv2d)):
        connections = convolution.out_channels * convolution.kernel_size[0] ** 2
        tolerance = 5 / math.sqrt(2 * convolution.weight.numel())  # five standard errors
        assert convolution.weight.std().item() == pytest.approx(math.sqrt(2 / connections), rel=tolerance)


def test_resnet_halves_the_map_twice_and_averages_it():
    network = make("resnet20", depth=8, width=1, input_shape=COLOUR_32).eval()
    maps = network.blocks(torch.relu(network.stem(batch(COLOUR_32))))
    assert maps.shape == (6, 64, 8, 8)
    torch.testing.assert_close(network.features(batch(COLOUR_32)), maps.mean(dim=3).mean(dim=2))
    assert (maps >= 0).all()  # ReLU comes after the sum


def test_resnet_block_without_branch_is_its_activated_shortcut():
    network = make("resnet20", depth=8, width=1).eval()
    block = network.blocks[0]
    x = batch((16, 8, 8))
    with torch.no_grad():
        block.second[1].weight.zero_()  # the last BatchNorm of the branch
        torch.testing.assert_close(block(x), torch.relu(x))


@pytest.mark.parametrize("activation", get_args(Activation))
def test_resnet_uses_its_activation_everywhere(activation):
    network = make("resnet20", activation=activation)
    kinds = {name: type(make_one()) for name, make_one in ACTIVATIONS.items()}
    found = [m for m in network.modules() if isinstance(m, tuple(kinds.values()))]
    assert len(found) == 1 + 3  # after the stem, and one in each of three blocks
    assert all(type(m) is kinds[activation] for m in found)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
@pytest.mark.parametrize("arch", ARCHS)
def test_an_activation_in_place_changes_no_gradient(arch, activation):
    in_place, apart = (make(arch, activation=activation) for _ in range(2))
    for module in apart.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    gradients = []
    for network in (in_place, apart):
        network(batch(DIGIT)).square().sum().backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    assert any(getattr(module, "inplace", False) for module in in_place.modules())
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_resnet_in_eval_mode_is_deterministic_and_treats_samples_apart():
    network = make("resnet20")
    x = batch(DIGIT)
    network(x)  # moves the running statistics
    network.eval()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    together = network(x)
    assert torch.equal(network(x), together)
    torch.testing.assert_close(torch.cat([network(one[None]) for one in x]), together)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(("arch", "smallest"), [("cnn", 4), ("resnet20", 5)])
def test_convolutions_refuse_vectors(arch, smallest):
    message = f"at least {smallest} x {smallest} pixels; this data set holds 1 x 64. Use --arch mlp"
    with pytest.raises(SpecError, match=message):
        make(arch, input_shape=(1, 1, 64))


def test_smallest_resnet_trains_on_a_batch_of_one():
    network = make("resnet20", depth=8, width=0.25, input_shape=(1, 5, 5))
    network.train()(torch.zeros(1, 1, 5, 5)).sum().backward()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("width", "batch"), [(17, 33), (64, 5), (512, 128), (512, 4096)])
def test_features_without_a_gradient_have_the_bits_of_those_with_one(width, batch, threads):
    network = make("mlp", input_shape=GREY_28, width=width)
    x = torch.randn(batch, *GREY_28, generator=torch.Generator().manual_seed(1))
    for library in {"default", pick_products()}:
        with using_products(library), computing_threads(threads):
            expected = network.features(x).detach()
            with torch.no_grad():
                assert torch.equal(network.features(x), expected)
