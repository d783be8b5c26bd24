import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from reference import reference_metrics

import ncdiag
from ncdiag.domain.features import measure_features
from ncdiag.errors import DataError

RNG = np.random.default_rng(0)
H, Y = RNG.normal(size=(60, 7)), np.arange(60) % 3
W, B = RNG.normal(size=(3, 7)), RNG.normal(size=3)


@pytest.mark.parametrize("bias", [B, None])
def test_metrics_are_those_of_the_definitions(bias: Any) -> None:
    found = measure_features(H.astype(np.float32).tolist(), Y, W, bias)
    used = np.zeros(3) if bias is None else bias
    expected = reference_metrics(H.astype(np.float32), Y, 3, W, used)
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-9)
    assert found["train_accuracy"] == np.mean(np.argmax(H @ W.T + used, axis=1) == Y)
    assert set(found) == {"train_accuracy", *expected}


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", "i4"])
def test_features_are_taken_in_pieces(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    features = (10 * RNG.normal(size=(30_000, 20))).astype(kind)
    labels, weight = RNG.integers(0, 4, size=30_000), RNG.normal(size=(4, 20))
    monkeypatch.setattr("ncdiag.domain.features._PIECE", 20 * 1_000)
    tracemalloc.start()
    found = measure_features(features, labels, weight)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    expected = reference_metrics(features, labels, 4, weight, np.zeros(4))
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-9)
    in_float64 = features.size * 8
    assert peak < in_float64 * (1.5 if kind == "i4" else 0.5)  # 1,000 rows are a thirtieth


def test_what_float32_makes_of_class_means_in_fewer_dimensions_is_left_out():
    centres = 5 * np.repeat(RNG.normal(size=(6, 3)) + 1, 100, axis=0)
    features, labels = (centres + RNG.normal(size=(600, 3))) @ RNG.normal(size=(3, 32)), np.repeat(np.arange(6), 100)
    weight = RNG.normal(size=(6, 32))
    exact = measure_features(features, labels, weight)
    assert exact["nc1_rank"] == 3
    assert measure_features(features.astype(np.float32), labels, weight) == pytest.approx(exact, rel=1e-5)


def test_features_in_float64_are_not_taken_for_rounded_ones():
    features, labels = np.repeat([[1.0, 0], [-1.0, 0], [0, 1e-9], [0, -1e-9]], 2, axis=0), np.repeat(np.arange(4), 2)
    ranks = [measure_features(features.astype(kind), labels, np.eye(4, 2))["nc1_rank"] for kind in ("f8", "f4")]
    assert ranks == [2, 1]


def test_two_classes_are_enough() -> None:
    expected = reference_metrics(H, Y % 2, 2, W[:2], B[:2])
    assert measure_features(H, Y % 2, W[:2], B[:2]) == pytest.approx(
        {"train_accuracy": np.mean((H @ W[:2].T + B[:2]).argmax(axis=1) == Y % 2), **expected}, rel=1e-9
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e200])
@pytest.mark.parametrize("place", [0, 7])  # of the sample by which its class is shifted, and of another
def test_features_that_are_not_finite_or_overflow_give_nan_and_no_warning(value: float, place: int) -> None:
    features = H.copy()
    features[place] = value
    found = measure_features(features, Y, W, B)
    assert not np.isfinite(found["nc1"])
    assert found["weight_norm"] == pytest.approx(np.sqrt((W**2).sum()))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((H[0], Y, W), r"shapes do not fit: features \(7,\)"),
        ((H, Y, W.T), r"weight \(7, 3\)"),
        ((H, Y[:-1], W), r"labels \(59,\)"),
        ((H, Y, W, np.zeros(4)), r"bias \(4,\)"),
        ((H, Y + 1, W), "whole numbers from 0 to 2"),
        ((H, Y.astype(float), W), "whole numbers from 0 to 2"),
        ((H[:0], Y[:0], W), "whole numbers"),
        ((H, Y * 0, W[:1]), "the weight has 1 row; expected one for each class"),
    ],
)
def test_what_does_not_fit_is_refused(given: tuple[Any, ...], said: str) -> None:
    with pytest.raises(DataError, match=said):
        measure_features(*given)


@pytest.mark.parametrize(
    "weight",
    [
        torch.tensor(W).bfloat16(),
        torch.tensor(W, requires_grad=True),
        torch.empty(3, 7, device="meta"),
        [[1, 2], [3]],
        "a",
    ],
)
def test_what_numpy_cannot_read_is_refused(weight: Any) -> None:
    with pytest.raises(DataError, match=r"numpy cannot read an array: .*\n.* tensor\.detach\(\)\.float\(\)\.cpu\(\)"):
        measure_features(H, Y, weight)


def test_it_is_public() -> None:
    assert ncdiag.measure_features is measure_features
