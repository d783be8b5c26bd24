import doctest
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from reference import clustered, reference_metrics, simplex_etf

from ncdiag.domain import metrics
from ncdiag.domain.moments import DOUBLE, Floats, between_directions, class_moments, project
from ncdiag.domain.records import METRICS

Labels = NDArray[np.int64]


def metrics_of(
    features: Floats,
    labels: Labels,
    weight: Floats,
    bias: Floats,
    batches: list[Labels] | None = None,
) -> dict[str, float]:
    """All metrics, with the samples taken batch by batch in both stages."""
    num_classes = len(weight)
    batches = batches or [np.arange(len(labels))]
    predicted = (features @ weight.T + bias).argmax(axis=1)
    moments = class_moments(features[:0], labels[:0], num_classes)
    for batch in batches:
        moments = moments.merge(class_moments(features[batch], labels[batch], num_classes))
    directions = between_directions(moments, DOUBLE)
    projections = [project(features[b], labels[b], predicted[b], moments, directions) for b in batches]
    total = projections[0]
    for more in projections[1:]:
        total = total.merge(more)
    return metrics.collapse_metrics(moments, directions, total, weight)


def noisy_etf(
    *, num_classes: int = 10, dim: int = 16, radius: float = 1.0, noise: float = 0.1, offset: float = 3.0
) -> tuple[Floats, Labels]:
    """A simplex with noise of covariance exactly noise^2 I: each class has samples on both sides along every axis."""
    axes = noise * math.sqrt(dim) * np.concatenate([np.eye(dim), -np.eye(dim)])
    centres = offset + simplex_etf(num_classes, dim, radius)
    return (centres[:, None] + axes).reshape(-1, dim), np.repeat(np.arange(num_classes), 2 * dim)


def test_the_examples_in_the_docstrings_are_right() -> None:
    results = doctest.testmod(metrics)

    assert results.attempted > 10
    assert results.failed == 0


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    counts=st.lists(st.integers(1, 12), min_size=2, max_size=6),
    dim=st.integers(1, 8),
    exponent=st.integers(-12, 0),
    cuts=st.lists(st.floats(0, 1), max_size=5),
)
def test_every_metric_is_that_of_the_definitions(
    seed: int, counts: list[int], dim: int, exponent: int, cuts: list[float]
) -> None:
    rng = np.random.default_rng(seed)
    num_classes = len(counts)
    features, labels = clustered(rng, counts=counts, dim=dim, ratio=10.0**exponent, offset=1)
    weight, bias = rng.normal(size=(num_classes, dim)), rng.normal(size=num_classes)
    batches = np.split(rng.permutation(len(labels)), sorted(int(c * len(labels)) for c in cuts))

    found = metrics_of(features, labels, weight, bias, batches=batches)

    expected = reference_metrics(features, labels, num_classes, weight, bias)
    assert tuple(found) == METRICS
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-6, abs=1e-20 if name.startswith("nc1") else 1e-9), name


def test_a_simplex_has_no_nc2_and_no_nc3() -> None:
    features, labels = noisy_etf()
    weight = 7 * simplex_etf(10, 16)  # W = c M

    found = metrics_of(features, labels, weight, np.zeros(10))

    for name in ("nc2_equinorm", "nc2_equiangular", "nc2_etf", "nc3", "nc3_duality"):
        assert found[name] == pytest.approx(0, abs=1e-14), name
    assert found["weight_norm"] == pytest.approx(7 * math.sqrt(10))


def test_rows_along_the_class_means_never_have_an_nc3_below_0(rng: np.random.Generator) -> None:
    """Rounding takes the cosine of many a pair of parallel rows above 1, and a negative NC3 could not be stored."""
    for _ in range(200):
        means = rng.normal(size=(3, 7))
        assert 0 <= metrics.nc3(means, 3 * means) < 1e-15
        assert 2 - 1e-15 < metrics.nc3(means, -3 * means) <= 2


def test_a_head_that_points_away_has_nc3_of_2() -> None:
    features, labels = noisy_etf()

    found = metrics_of(features, labels, -simplex_etf(10, 16), np.zeros(10))

    assert found["nc3"] == pytest.approx(2)
    assert found["nc3_duality"] == pytest.approx(2)


@pytest.mark.parametrize(
    ("dim", "radius", "noise"), [(16, 1.0, 0.1), (16, 5.0, 0.1), (40, 1.0, 1.0), (16, 1.0, 1e-4), (16, 1.0, 1e-6)]
)
def test_nc1_of_a_simplex_with_isotropic_noise(dim: int, radius: float, noise: float) -> None:
    features, labels = noisy_etf(dim=dim, radius=radius, noise=noise)

    found = metrics_of(features, labels, simplex_etf(10, dim), np.zeros(10))

    share = (noise / radius) ** 2
    assert found["nc1"] == pytest.approx(dim * share, rel=1e-8)  # 0.16 for the first
    assert found["nc1_pinv"] == pytest.approx(share * 9**2 / 10, rel=1e-8)  # 0.081
    assert found["nc1_rank"] == 9
    # every v is d s^2, every squared distance 2 r^2 K / (K - 1)
    assert found["cdnv"] == pytest.approx(dim * share * 9 / 20, rel=1e-8)
    assert found["feature_norm_centred"] == pytest.approx(radius)


def test_orthonormal_directions_miss_the_simplex_by_a_ninth() -> None:
    assert metrics.nc2_equiangular(np.eye(10)) == pytest.approx(1 / 9, rel=1e-14)


def test_two_classes_are_always_a_simplex(rng: np.random.Generator) -> None:
    features, labels = clustered(rng, counts=[9, 9], dim=5, ratio=1)

    found = metrics_of(features, labels, rng.normal(size=(2, 5)), np.zeros(2))

    assert found["nc2_equiangular"] == pytest.approx(0, abs=1e-14)
    assert found["nc2_etf"] == pytest.approx(0, abs=1e-14)


def test_equinorm_divides_by_one_less_than_the_classes() -> None:
    lengths = np.arange(1.0, 11.0)

    # squares about 5.5 sum to 82.5
    assert metrics.nc2_equinorm(np.diag(lengths)) == pytest.approx(math.sqrt(82.5 / 9) / 5.5, rel=1e-14)


def test_exact_collapse_is_exactly_zero() -> None:
    labels = np.arange(1000) % 10
    weight = simplex_etf(10, 16)
    features = (0.1 + weight)[labels]
    bias = -weight @ np.full(16, 0.1)

    found = metrics_of(features, labels, weight, bias, batches=list(np.arange(1000).reshape(25, 40)))

    assert (found["nc1"], found["nc1_pinv"], found["cdnv"], found["nc4"]) == (0, 0, 0, 0)


def test_nc4_uses_the_bias() -> None:
    # METRICS.md: a collapsed, self-dual, perfectly accurate classifier whose scores without the bias are the same
    # class everywhere; a public library reports an agreement of 1/3 for it.
    weight = simplex_etf(3, 4)
    centre = 10 * weight[0]
    labels = np.arange(30) % 3
    features = (centre + weight)[labels]

    with_bias = metrics_of(features, labels, weight, -weight @ centre)
    without = metrics_of(features, labels, weight, np.zeros(3))

    assert with_bias["nc3"] == pytest.approx(0, abs=1e-14)
    assert with_bias["nc4"] == 0
    assert without["nc4"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("value", [0.1, 0.0])
def test_equal_features_have_no_collapse_to_speak_of(value: float) -> None:
    features, labels = np.full((600, 4), value), np.arange(600) % 3

    found = metrics_of(features, labels, np.eye(3, 4), np.zeros(3), batches=list(np.arange(600).reshape(6, 100)))

    defined = {name: value for name, value in found.items() if not math.isnan(value)}
    assert defined == {
        "feature_norm": pytest.approx(2 * value, rel=1e-14),
        "feature_norm_centred": 0,
        "nc1_rank": 0,
        "weight_norm": pytest.approx(math.sqrt(3)),
    }


def test_equal_class_means_with_a_spread_are_infinitely_far_from_collapse() -> None:
    features = np.array([[1.0, 2], [3, 2], [2, 1], [2, 3]])

    found = metrics_of(features, np.array([0, 0, 1, 1]), np.eye(2), np.zeros(2))

    assert (found["nc1"], found["nc1_pinv"], found["cdnv"]) == (math.inf, math.inf, math.inf)
    assert found["nc1_rank"] == 0
    assert math.isnan(found["nc4"])


def test_without_samples_of_a_class_only_the_norms_are_defined(rng: np.random.Generator) -> None:
    features, labels = clustered(rng, counts=[5, 0, 8], dim=4, ratio=0.2)

    found = metrics_of(features, labels, np.eye(3, 4), np.zeros(3))

    defined = {name: value for name, value in found.items() if not math.isnan(value)}
    expected_norm = np.mean([np.linalg.norm(h) for h in features])
    assert defined == {"feature_norm": pytest.approx(expected_norm), "weight_norm": pytest.approx(math.sqrt(3))}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_features_that_are_not_finite_give_nan_and_no_error(rng: np.random.Generator, value: float) -> None:
    features, labels = clustered(rng, counts=[5, 6, 8], dim=4, ratio=0.2)
    features[3, 1] = value

    with np.errstate(invalid="ignore"):  # the logits of the test itself
        found = metrics_of(features, labels, np.eye(3, 4), np.zeros(3), batches=[np.arange(9), np.arange(9, 19)])

    assert all(math.isnan(found[name]) for name in METRICS if name not in {"feature_norm", "weight_norm"})
    assert not math.isfinite(found["feature_norm"])


def test_turning_and_scaling_the_features_changes_only_their_length(rng: np.random.Generator) -> None:
    features, labels = clustered(rng, counts=[30, 20, 11, 5], dim=6, ratio=0.5)
    weight, bias = rng.normal(size=(4, 6)), rng.normal(size=4)
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]

    found = metrics_of(features, labels, weight, bias)
    turned = metrics_of(7 * features @ turn, labels, weight @ turn, 7 * bias)

    for name, value in found.items():
        factor = 7 if name.startswith("feature_norm") else 1
        assert turned[name] == pytest.approx(factor * value, rel=1e-12), name


def test_metrics_stay_in_their_ranges(rng: np.random.Generator) -> None:
    for _ in range(20):
        counts = rng.integers(1, 20, size=rng.integers(2, 7)).tolist()
        features, labels = clustered(rng, counts=counts, dim=3, ratio=3)
        num_classes = len(counts)
        found = metrics_of(features, labels, rng.normal(size=(num_classes, 3)), np.zeros(num_classes))

        assert all(value >= 0 for value in found.values())
        assert found["nc2_equinorm"] <= math.sqrt(num_classes)
        assert found["nc2_equiangular"] <= 1 + 1 / (num_classes - 1)
        assert found["nc2_etf"] <= math.sqrt(2)
        assert max(found["nc3"], found["nc3_duality"]) <= 2
        assert found["nc4"] <= 1
