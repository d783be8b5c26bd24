import pytest
import torch
from small import small_spec

from ncdiag.domain.spec import NetworkSpec, OptimizerName
from ncdiag.errors import OutOfMemoryError
from ncdiag.training.footprint import check_memory, least_bytes, memory_of
from ncdiag.training.networks import build_network, count_parameters

CPU = torch.device("cpu")
SHAPE = (3, 12, 12)
SMALL = (
    NetworkSpec(arch="mlp", depth=3, width=20),
    NetworkSpec(arch="cnn", depth=2, width=12),
    NetworkSpec(arch="resnet20", depth=8, width=0.25),
)


@pytest.mark.parametrize("spec", SMALL, ids=lambda spec: spec.arch)
def test_parameters_are_counted_as_those_of_the_network_that_is_made(spec: NetworkSpec) -> None:
    made = build_network(spec, input_shape=SHAPE, num_classes=7, generator=torch.Generator().manual_seed(0))
    assert count_parameters(spec, input_shape=SHAPE, num_classes=7) == sum(p.numel() for p in made.parameters())


def test_counting_makes_nothing() -> None:
    spec = NetworkSpec(arch="mlp", depth=2, width=65_536)
    # biases, weights of two hidden layers and the head; the second is 17 GB
    expected = (432 + 1) * 65_536 + (65_536 + 1) * 65_536 + (65_536 + 1) * 10
    assert count_parameters(spec, input_shape=SHAPE, num_classes=10) == expected


@pytest.mark.parametrize(("optimizer", "numbers"), [("adam", 7), ("adamw", 7), ("sgd", 5)])
def test_a_parameter_takes_its_state_twice_and_a_gradient(optimizer: OptimizerName, numbers: int) -> None:
    spec = small_spec(depth=1, width=10, optimizer=optimizer)
    assert least_bytes(spec, (1, 2, 2), 3) == 4 * numbers * (5 * 10 + 11 * 3)


def test_what_does_not_fit_is_refused_with_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = small_spec(depth=2, width=65_536)
    needed = least_bytes(spec, (1, 8, 8), 10)
    monkeypatch.setattr("ncdiag.training.footprint.memory_of", lambda device: needed)
    check_memory(spec, (1, 8, 8), 10, CPU)
    monkeypatch.setattr("ncdiag.training.footprint.memory_of", lambda device: needed - 1)
    with pytest.raises(OutOfMemoryError, match=r"takes 120 GB .*\nand this machine has 120\.\d GB.* smaller --width"):
        check_memory(spec, (1, 8, 8), 10, CPU)


def test_this_machine_has_memory() -> None:
    assert 2**28 < memory_of(CPU) < 2**50
