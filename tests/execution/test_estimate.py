from dataclasses import replace
from pathlib import Path

import pytest
from small import small_spec

from ncdiag.domain.spec import DataSpec, PhaseSpec
from ncdiag.execution import estimate as module
from ncdiag.execution.estimate import MEASURING, estimate
from ncdiag.training.builtin_sets import BUILTINS
from ncdiag.training.datasets import load_dataset, shape_seen_by

PHASES = (PhaseSpec.parse("ce:4"), PhaseSpec.parse("mse:6"))


@pytest.fixture
def trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step takes a millisecond, and runs train twice as fast together."""
    monkeypatch.setattr(module, "step_seconds", lambda *args: 0.001)
    monkeypatch.setattr(module, "speedup", lambda *args: 2.0)


@pytest.mark.usefixtures("trial")
def test_it_counts_steps_and_evaluations() -> None:
    spec = small_spec(dataset="mnist", batch_size=100, phases=PHASES, eval_every=5, train_size=None)
    # 10 us an image: 10 epochs, evaluated after the last epochs of both phases, and after the fifth
    assert estimate([spec], 1).seconds == pytest.approx(1e-5 * (60_000 * 10 + MEASURING * 70_000 * 3))
    part = replace(spec, metric_samples=6000, test_samples=1000)
    assert estimate([part], 1).seconds == pytest.approx(1e-5 * (60_000 * 10 + MEASURING * 7000 * 3))


@pytest.mark.usefixtures("trial")
def test_runs_of_one_shape_gain_and_processes_share() -> None:
    specs = [
        small_spec(dataset="digits", batch_size=32, phases=PHASES, seed=seed, train_size=None) for seed in range(4)
    ]
    trained, measured = 1437 / 32 * 0.001 * 10, (1437 + 360) / 32 * 0.001 * 10
    assert estimate(specs, 2).seconds == pytest.approx(4 * (trained / 2 + MEASURING * measured) / 2)


def test_a_batch_that_is_larger_than_the_data_is_tried_as_large_as_it_comes() -> None:
    assert estimate([small_spec(batch_size=100_000_000)] * 2, 1).unknown == 0  # it would take 28 GB for its images


@pytest.mark.usefixtures("trial")
def test_more_processes_than_runs_are_no_faster() -> None:
    specs = [small_spec(dataset="digits", batch_size=32, phases=PHASES, seed=seed) for seed in range(3)]
    assert estimate(specs, 8) == estimate(specs, 3)
    assert estimate(specs, 8).jobs == 3


@pytest.mark.usefixtures("trial")
def test_data_that_is_not_known_by_name_is_not_counted() -> None:
    own = small_spec(dataset="mine", sha256="0" * 64, phases=PHASES)
    found = estimate([own], 2)
    assert (found.seconds, found.unknown) == (0, 1)
    known = small_spec(dataset="digits", batch_size=32, phases=PHASES)
    assert estimate([own, known], 2).seconds == estimate([known], 1).seconds  # nothing is known to share with it


def test_a_trial_takes_time() -> None:
    assert estimate([small_spec(), small_spec(arch="cnn", depth=2, width=8)], 1).seconds > 0


def test_what_is_known_of_digits_beforehand_is_so() -> None:
    data = load_dataset(DataSpec(dataset="digits"), arch="mlp", data_dir=Path(), path=None)
    known = BUILTINS["digits"]
    assert known.image == data.input_shape
    assert known.train_counts == tuple(data.train_labels.bincount().tolist())
    assert known.test_counts == tuple(data.test_labels.bincount().tolist())


@pytest.mark.parametrize(
    ("arch", "image", "seen"),
    [
        ("mlp", (1, 28, 28), (1, 28, 28)),
        ("resnet20", (1, 28, 28), (3, 32, 32)),
        ("resnet20", (3, 32, 32), (3, 32, 32)),
        ("resnet20", (1, 8, 8), (3, 8, 8)),
    ],
)
def test_a_resnet_sees_mnist_as_published(arch: str, image: tuple[int, int, int], seen: tuple[int, int, int]) -> None:
    assert shape_seen_by(arch, image) == seen  # type: ignore[arg-type]


def test_what_is_too_large_for_this_machine_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ncdiag.training.footprint.memory_of", lambda device: 2**34)
    found = estimate([small_spec(width=65_536)], 1)
    assert (found.seconds, found.unknown) == (0, 1)
