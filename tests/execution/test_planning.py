from pathlib import Path

import numpy as np
import pytest
from small import small_spec

from ncdiag.domain.spec import RunSpec
from ncdiag.errors import OutOfMemoryError, SpecError
from ncdiag.execution.planning import Plan, check_plan, find_refusal, make_plan
from ncdiag.execution.worker import TrainingOptions


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"metric_samples": 201}, "--metric-samples must be from 10"),  # of 200
        ({"metric_samples": 9}, "--metric-samples must be from 10"),
        ({"test_samples": 10_000}, "--test-samples must be from"),
        ({"precision": "tf32"}, "NVIDIA GPUs only"),
        ({"dataset": "digits", "arch": "cnn", "width": 8}, None),
        ({"metric_samples": 50, "test_samples": 30, "precision": "bf16"}, None),
    ],
)
def test_what_cannot_begin_is_refused_before_anything_is_stored(given: dict[str, object], message: str | None) -> None:
    plan = Plan(specs=[small_spec(), small_spec(**given)], paths={}, data_dir=None)
    if message is None:
        check_plan(plan, TrainingOptions(device="cpu"))
    else:
        with pytest.raises(SpecError, match=message):
            check_plan(plan, TrainingOptions(device="cpu"))


def test_a_network_that_no_memory_holds_is_refused_before_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ncdiag.training.footprint.memory_of", lambda device: 2**34)
    plan = Plan(specs=[small_spec(), small_spec(width=65_536)], paths={}, data_dir=None)
    with pytest.raises(OutOfMemoryError, match="width 65536 takes 120 GB to train"):
        check_plan(plan, TrainingOptions(device="cpu"))


@pytest.fixture
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ncdiag.execution.planning.load_dataset", None)


def refusal(*specs: RunSpec) -> str | None:
    return find_refusal(Plan(specs=list(specs), paths={}, data_dir=None), TrainingOptions(device="cpu"))


@pytest.mark.usefixtures("no_data")
def test_a_network_that_is_too_large_is_known_without_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ncdiag.training.footprint.memory_of", lambda device: 2**34)
    fits = small_spec(dataset="mnist")
    assert refusal(fits) is None
    # 785 x 65536 + 65537 x 65536 + 65537 x 10 weights and biases, 28 bytes for each with moments, copies and gradients
    assert "width 65536 takes 122 GB to train" in str(refusal(fits, small_spec(dataset="mnist", width=65_536)))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"precision": "tf32"}, "NVIDIA GPUs only"),
        ({"train_size": 5}, "--train-size must be from 10 (one of each class) to 54210"),
        ({"metric_samples": 201}, "--metric-samples must be from 10 (one of each class) to 200"),
        ({"test_samples": 9}, "--test-samples must be from 12 (one of each class) to 10000"),
    ],
)
@pytest.mark.usefixtures("no_data")
def test_what_would_be_refused_is_known_without_the_data(given: dict[str, object], message: str) -> None:
    assert message in str(refusal(small_spec(dataset="mnist"), small_spec(dataset="mnist", **given)))


def test_data_of_the_users_own_lies_here_and_is_looked_at(tmp_path: Path) -> None:
    images, labels = np.random.default_rng(0).normal(size=(60, 5)), np.arange(60) % 3
    np.savez(tmp_path / "mine.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    plan = make_plan({"dataset": [str(tmp_path / "mine.npz")], "train_size": [2], "depth": [1], "width": [8]})
    assert "--train-size must be from 3" in str(find_refusal(plan, TrainingOptions(device="cpu")))
