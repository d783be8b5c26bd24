"""What can be known of a GPU without one: torch's fake tensors have its device, and no numbers.

An operation on tensors of two devices raises, and so does whatever would wait for the device to know a number.
"""

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from ncdiag.domain.defaults import complete_spec
from ncdiag.domain.spec import Loss
from ncdiag.training import measure
from ncdiag.training.datasets import Dataset
from ncdiag.training.measure import _first_stage, _forward
from ncdiag.training.network import as_it_lies
from ncdiag.training.networks import build_network
from ncdiag.training.objectives import LOSSES, WITH_GRADIENT
from ncdiag.training.stack import OneMLP, Stack, StackedMLP, make_stacks

pytestmark = pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < (2, 10),
    reason="before torch 2.10 a fake tensor of a GPU ends the process where there is none",
)

GPU = torch.device("cuda", 0)
MEMBERS, BATCH = 3, 16


@pytest.fixture
def fake() -> Iterator[FakeTensorMode]:
    with FakeTensorMode() as mode:
        yield mode


def on_gpu(data: Dataset) -> Dataset:
    """Give a data set of this one's sizes on a fake GPU, with uint8 images."""
    tensors = {name: value for name, value in vars(data).items() if isinstance(value, Tensor)}
    fakes: dict[str, Any] = {
        name: torch.empty(value.shape, dtype=torch.uint8 if name.endswith("images") else value.dtype, device=GPU)
        for name, value in tensors.items()
    }
    return replace(data, **fakes, is_normalised=False)


def make_stack(data: Dataset, arch: str, activation: str = "relu", members: int = MEMBERS) -> Stack:
    spec = complete_spec({"arch": arch, "activation": activation, "depth": 2, "width": 32}).network
    networks = [
        build_network(spec, input_shape=data.input_shape, num_classes=10, generator=torch.Generator())
        for _ in range(members)
    ]
    for module in (module for network in networks for module in network.modules()):  # `Module.to` knows no fakes
        for name, parameter in module.named_parameters(recurse=False):
            fake = torch.empty_strided(parameter.shape, parameter.stride(), device=GPU)
            setattr(module, name, torch.nn.Parameter(fake))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, torch.empty_like(buffer, device=GPU))
    return make_stacks(networks)[0]


def test_a_wait_and_a_wrong_device_are_found(digits: Dataset, fake: FakeTensorMode) -> None:
    data = on_gpu(digits)
    with pytest.raises(DataDependentOutputException):
        data.train_labels.max().item()
    with pytest.raises(RuntimeError, match=r"two( different)? devices"):
        data.train_labels + torch.ones(len(data.train_labels))


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "gelu", "silu", "tanh"])
@pytest.mark.parametrize("loss", ["ce", "mse"])
@pytest.mark.parametrize(("members", "kind"), [(1, OneMLP), (MEMBERS, StackedMLP)])
def test_a_stack_steps_on_its_device_without_waiting(
    digits: Dataset, fake: FakeTensorMode, members: int, kind: type[Stack], activation: str, loss: Loss
) -> None:
    data = on_gpu(digits)
    stack = make_stack(data, "mlp", activation, members)
    assert isinstance(stack, kind)
    index = torch.empty(members, BATCH, dtype=torch.int64, device=GPU)
    x, labels = data.train_inputs(index), data.train_labels.index_select(0, index.flatten())
    logits, backward = stack.forward(x)
    losses, gradient = WITH_GRADIENT[loss](logits.flatten(0, 1), labels, 1 / BATCH)
    assert losses.device == GPU
    assert losses.shape == (members * BATCH,)
    gradients = stack.by_network(backward(gradient.view_as(logits)))
    for network, found in zip(stack.networks, gradients, strict=True):
        assert [(g.shape, g.stride(), g.device) for g in found] == [
            (p.shape, p.stride(), GPU) for p in map(as_it_lies, network.parameters())
        ]


@pytest.mark.parametrize("arch", ["mlp", "cnn"])  # BatchNorm asks for a driver
def test_a_network_is_measured_on_its_device_without_waiting(digits: Dataset, fake: FakeTensorMode, arch: str) -> None:
    data = on_gpu(digits)
    stack = make_stack(data, arch, members=1)
    network = stack.networks[0].eval()
    with torch.no_grad():
        seen = _first_stage(network, data.train_batches(64), 10, LOSSES["ce"], keep=True)
        assert {tensor.device for tensor in (seen.loss, seen.correct, *vars(seen.moments).values())} == {GPU}
        for block, logits in _forward(network, data.test_batches(64)):
            assert {block.features.device, block.predicted.device, logits.device} == {GPU}


def test_a_network_on_a_device_without_float64_is_summed_on_the_cpu(
    digits: Dataset, fake: FakeTensorMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu, apple = torch.device("cpu"), torch.device("mps", 0)
    layer: Any = SimpleNamespace(head=SimpleNamespace(weight=torch.empty(10, 32, device=apple)))
    assert measure._summing_device(layer) == cpu
    network, data = make_stack(digits, "mlp", members=1).networks[0].eval(), on_gpu(digits)
    monkeypatch.setattr(measure, "_summing_device", lambda network: cpu)  # torch is seldom built for Apple's GPUs here
    with torch.no_grad():
        seen = _first_stage(network, data.train_batches(64), 10, LOSSES["ce"], keep=True)
    kept = [tensor for block in seen.kept for tensor in block]
    assert {tensor.device for tensor in (seen.loss, seen.correct, *vars(seen.moments).values(), *kept)} == {cpu}
