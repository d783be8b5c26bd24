import pytest
from small import small_spec

from ncdiag.errors import OutOfMemoryError, SpecError
from ncdiag.execution.planning import Plan, check_plan, find_refusal
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


def test_what_would_be_refused_is_known_without_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ncdiag.training.footprint.memory_of", lambda device: 2**34)
    monkeypatch.setattr("ncdiag.execution.planning.load_dataset", None)
    fits = small_spec(dataset="mnist")
    assert find_refusal([fits, small_spec(dataset="mine", sha256="0" * 64, width=65_536)], "cpu") is None
    refusal = find_refusal([fits, small_spec(dataset="mnist", width=65_536)], "cpu")
    # 785 x 65536 + 65537 x 65536 + 65537 x 10 weights and biases, 28 bytes for each with moments, copies and gradients
    assert refusal is not None
    assert "width 65536 takes 122 GB to train" in refusal
