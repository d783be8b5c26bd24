from itertools import accumulate, chain
from types import SimpleNamespace

import pytest
import torch
from small import small_spec

from ncdiag.domain.defaults import complete_spec
from ncdiag.domain.spec import Arch
from ncdiag.training import calibration
from ncdiag.training.calibration import group_size, speedup, step_seconds
from ncdiag.training.footprint import least_bytes


def test_what_cannot_gain_or_does_not_fit_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def tried(*args: object, **options: object) -> None:
        raise AssertionError("tried")

    monkeypatch.setattr("ncdiag.training.calibration.Steps", tried)
    spec = small_spec(width=64)
    nine = 9 * least_bytes(spec, (1, 28, 28), 10)  # a network alone, and eight together
    monkeypatch.setattr("ncdiag.training.calibration.memory_of", lambda device: nine)
    assert speedup(small_spec(arch="cnn"), (1, 8, 8), 10) == 1
    assert speedup(small_spec(width=512, batch_size=256), (1, 28, 28), 10) == 1
    with pytest.raises(AssertionError, match="tried"):
        speedup(spec, (1, 28, 28), 10)
    monkeypatch.setattr("ncdiag.training.calibration.memory_of", lambda device: nine - 1)
    assert speedup(spec, (1, 28, 28), 10) == 1


@pytest.mark.parametrize(
    ("arch", "device", "size"), [("mlp", "cpu", 8), ("mlp", "cuda", 8), ("cnn", "cpu", 1), ("resnet20", "cuda", 4)]
)
def test_convolutional_networks_are_tried_together_on_a_gpu_only(arch: Arch, device: str, size: int) -> None:
    network = complete_spec({"arch": arch}).network
    assert group_size(network, torch.device(device)) == size


def test_trying_gives_a_ratio_and_leaves_nothing_behind() -> None:
    before = torch.get_rng_state(), torch.get_num_threads()
    assert speedup(small_spec(batch_size=32, metric_samples=2000), (1, 8, 8), 10) > 0
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.get_num_threads() == before[1]


def test_the_gain_is_that_of_a_network_by_the_fastest_rounds_but_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    alone, eight = (1.0, 9.0, 6.0, 7.0), (2.0, 40.0, 30.0, 16.0)  # seconds; the first ones warm up
    parts = [(0.0, seconds) for pair in zip(alone, eight, strict=True) for seconds in pair]
    clock = iter(accumulate(chain.from_iterable(parts)))
    taken: list[int] = []

    def take(orders: list[torch.Tensor], rates: list[float]) -> torch.Tensor:
        taken.append(len(orders))
        return torch.zeros(len(orders))

    monkeypatch.setattr(calibration, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    monkeypatch.setattr(calibration, "Steps", lambda *_, **__: SimpleNamespace(take=take))
    assert speedup(small_spec(), (1, 8, 8), 10) == 6 / (16 / 8)
    assert taken == [1, 8] * 4


@pytest.mark.parametrize(("arch", "seconds"), [("mlp", 3.0), ("cnn", 6.0)])
def test_a_step_is_half_of_two_and_scaled_to_the_batch_where_fewer_images_were_tried(
    monkeypatch: pytest.MonkeyPatch, arch: Arch, seconds: float
) -> None:
    clock = iter([0.0, 100.0, 200.0, 206.0])  # the first try warms up, the second takes 6 seconds
    monkeypatch.setattr(calibration, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    monkeypatch.setattr(calibration, "Steps", lambda *_, **__: SimpleNamespace(take=lambda *_: None))
    assert step_seconds(small_spec(arch=arch, batch_size=128), (1, 8, 8), 10) == seconds


@pytest.mark.gpu
@pytest.mark.parametrize("arch", ["mlp", "cnn", "resnet20"])
def test_trying_works_on_a_gpu(arch: Arch) -> None:
    spec = small_spec(arch=arch, batch_size=32, **({"depth": 8, "width": 0.25} if arch == "resnet20" else {}))
    assert speedup(spec, (3, 32, 32), 10, torch.device("cuda")) > 0
    assert not torch.backends.cudnn.deterministic  # the caller's flags are back
