from functools import reduce

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from reference import clustered, simplex_etf

from ncdiag.domain.moments import (
    DOUBLE,
    SINGLE,
    ClassMoments,
    Floats,
    between_directions,
    centred_means,
    class_moments,
    project,
)


def naive_moments(features: Floats, labels: NDArray[np.int64], num_classes: int) -> ClassMoments:
    groups = [features[labels == c] for c in range(num_classes)]
    dim = features.shape[1]
    return ClassMoments(
        count=np.array([float(len(g)) for g in groups]),
        mean=np.array([sum(g) / len(g) if len(g) else np.zeros(dim) for g in groups]),
        scatter=np.array([sum(np.sum((h - sum(g) / len(g)) ** 2) for h in g) for g in groups]),
        norm=np.array([sum(np.linalg.norm(h) for h in g) for g in groups]),
    )


def assert_same(moments: ClassMoments, expected: ClassMoments, rtol: float = 1e-12) -> None:
    for name, value in vars(expected).items():
        np.testing.assert_allclose(getattr(moments, name), value, rtol=rtol, atol=1e-13, err_msg=name)


def test_moments_of_a_batch_are_those_of_the_definitions(rng: np.random.Generator) -> None:
    features, labels = clustered(rng, counts=[5, 1, 12], dim=7, ratio=0.5)

    assert_same(class_moments(features, labels, 3), naive_moments(features, labels, 3))


def test_a_class_without_samples_has_zeros(rng: np.random.Generator) -> None:
    features, labels = clustered(rng, counts=[5, 0, 3], dim=4, ratio=0.5)
    moments = class_moments(features, labels, 3)

    assert (moments.count[1], moments.scatter[1], moments.norm[1]) == (0, 0, 0)
    assert not moments.mean[1].any()


def test_equal_features_have_no_scatter_at_all() -> None:
    features = np.full((1000, 3), 0.1)  # the mean of many 0.1 is not 0.1 in floating point
    moments = class_moments(features, np.zeros(1000, dtype=int), 1)

    assert moments.scatter[0] == 0
    assert (moments.mean == 0.1).all()


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**32 - 1),
    counts=st.lists(st.integers(0, 9), min_size=2, max_size=5).filter(any),
    cuts=st.lists(st.floats(0, 1), max_size=6),
    exponent=st.integers(-12, 0),
)
def test_batches_merge_to_the_whole_however_they_are_split_and_ordered(
    seed: int, counts: list[int], cuts: list[float], exponent: int
) -> None:
    rng = np.random.default_rng(seed)
    features, labels = clustered(rng, counts=counts, dim=3, ratio=10.0**exponent, offset=3)
    merged = class_moments(features[:0], labels[:0], len(counts))
    order = rng.permutation(len(labels))
    for part in np.split(order, sorted(int(c * len(labels)) for c in cuts)):
        merged = merged.merge(class_moments(features[part], labels[part], len(counts)))

    expected = naive_moments(features, labels, len(counts))
    assert_same(merged, expected)
    # The scatter is as good in relation to itself, small as it is.
    np.testing.assert_allclose(merged.scatter, expected.scatter, rtol=1e-7, atol=1e-28)


def test_merging_is_commutative_associative_and_has_a_neutral_element(rng: np.random.Generator) -> None:
    parts = [clustered(rng, counts=c, dim=3, ratio=1e-6) for c in ([5, 0, 3], [2, 4, 0], [0, 30, 1])]
    a, b, c = (class_moments(features, labels, 3) for features, labels in parts)
    nothing = class_moments(np.zeros((0, 3)), np.zeros(0, dtype=int), 3)

    assert_same(a.merge(b), b.merge(a))
    assert_same(a.merge(b).merge(c), a.merge(b.merge(c)))
    assert_same(a.merge(nothing), a, rtol=0)
    assert_same(nothing.merge(a), a, rtol=0)


def test_the_same_merge_serves_torch_and_leading_axes(rng: np.random.Generator) -> None:
    features, labels = clustered(rng, counts=[20, 0, 11], dim=4, ratio=0.1)
    whole = class_moments(features, labels, 3)
    halves = [class_moments(features[s], labels[s], 3) for s in (slice(0, 9), slice(9, None))]

    first, second = (
        ClassMoments(**{name: torch.from_numpy(np.stack([value, value])) for name, value in vars(half).items()})
        for half in halves
    )
    merged = first.merge(second)

    assert isinstance(merged.mean, torch.Tensor)
    for run in range(2):
        assert_same(ClassMoments(**{name: value[run].numpy() for name, value in vars(merged).items()}), whole)


def test_the_one_pass_formula_in_float32_is_negative_where_the_merge_is_right(rng: np.random.Generator) -> None:
    # METRICS.md: E|h|^2 - |mu|^2 in float32, as two public codes have it, reports a negative spread near collapse.
    labels = np.repeat(np.arange(10), 200)
    centres = 0.5 + simplex_etf(10, 64) @ np.linalg.qr(rng.normal(size=(64, 64)))[0]
    features = (centres[labels] + 1e-4 / 8 * rng.normal(size=(2000, 64))).astype(np.float32)
    squares = (features**2).mean(axis=0, dtype=np.float32).sum()
    means = np.stack([features[labels == c].mean(axis=0, dtype=np.float32) for c in range(10)])
    one_pass = squares - (means**2).sum(axis=1).mean(dtype=np.float32)
    merged = reduce(ClassMoments.merge, (class_moments(features[i::7], labels[i::7], 10) for i in range(7)))

    expected = naive_moments(features.astype(np.float64), labels, 10).scatter.sum()
    assert expected / 2000 == pytest.approx(1e-8, rel=0.05)
    assert one_pass < 0
    assert merged.scatter.sum() == pytest.approx(expected, rel=1e-9)


def test_class_means_are_centred_on_the_mean_over_samples(rng: np.random.Generator) -> None:
    features, labels = clustered(rng, counts=[50, 5, 10], dim=4, ratio=0.3, offset=2)
    means = centred_means(class_moments(features, labels, 3))

    expected = np.stack([features[labels == c].mean(axis=0) for c in range(3)]) - features.mean(axis=0)
    np.testing.assert_allclose(means, expected, atol=1e-14)
    assert np.abs(means.sum(axis=0)).max() > 0.1  # which it would not be for a centre that is the mean of class means


def test_directions_decompose_the_covariance_of_the_class_means(rng: np.random.Generator) -> None:
    features, labels = clustered(rng, counts=[4, 9, 2, 7, 3], dim=8, ratio=0.3)
    moments = class_moments(features, labels, 5)
    directions = between_directions(moments, DOUBLE)
    means = centred_means(moments)

    Q = directions.vectors
    assert Q.shape == (8, 4)  # K - 1
    np.testing.assert_allclose(Q.T @ Q, np.eye(4), atol=1e-14)
    np.testing.assert_allclose(Q @ np.diag(directions.eigenvalues) @ Q.T, means.T @ means / 5, atol=1e-14)
    np.testing.assert_allclose(directions.coordinates, means @ Q, atol=1e-14)


def test_there_are_at_most_as_many_directions_as_features(rng: np.random.Generator) -> None:
    features, labels = clustered(rng, counts=[4] * 9, dim=3, ratio=0.3)

    assert between_directions(class_moments(features, labels, 9), DOUBLE).vectors.shape == (3, 3)


@pytest.mark.parametrize("size", [3e-3, 1e-6, 1e-9, 1e-11])
def test_a_small_direction_of_the_class_means_is_kept(size: float) -> None:
    # METRICS.md: a float32 pinv drops one at 0.3 % of the others; the Gram matrix in float64 one at 1e-9.
    means = np.diag([1.0, 1.0, 1.0, size]) + 5
    means = np.concatenate([means, 10 - means])  # so that the centre is exactly 5
    directions = between_directions(class_moments(means, np.arange(8), 8), DOUBLE)

    assert directions.eigenvalues == pytest.approx([1 / 4, 1 / 4, 1 / 4, size**2 / 4], rel=1e-3)


def test_a_direction_within_rounding_of_the_class_means_is_dropped(rng: np.random.Generator) -> None:
    means = np.zeros((4, 6))
    means[:, 0] = [1, -1, 2, -2]
    rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    directions = between_directions(class_moments(1e3 + means @ rotation, np.arange(4), 4), DOUBLE)

    assert directions.eigenvalues == pytest.approx([2.5], rel=1e-10)


def test_a_direction_within_rounding_of_the_features_is_dropped(rng: np.random.Generator) -> None:
    flat = rng.normal(size=(600, 3)) + 5 * np.repeat(np.eye(6)[:, :3] + 1, 100, axis=0)
    features = flat @ rng.normal(
        size=(3, 32)
    )  # class means in a plane of three dimensions, whatever they are rounded to
    labels = np.repeat(np.arange(6), 100)
    exact = between_directions(class_moments(features, labels, 6), DOUBLE)
    rounded = class_moments(features.astype(np.float32), labels, 6)

    assert exact.eigenvalues.size == 3
    assert between_directions(rounded, DOUBLE).eigenvalues.size > 3
    assert between_directions(rounded, SINGLE).eigenvalues == pytest.approx(exact.eigenvalues, rel=1e-6)


def test_without_all_class_means_there_are_no_directions(rng: np.random.Generator) -> None:
    features, labels = clustered(rng, counts=[4, 4, 5], dim=3, ratio=0.3)
    broken = features.copy()
    broken[0, 0] = np.inf
    empty = class_moments(features[labels != 1], labels[labels != 1], 3)

    for moments in (empty, class_moments(broken, labels, 3)):
        directions = between_directions(moments, DOUBLE)
        assert np.isnan(directions.eigenvalues).all()
        assert np.isnan(directions.vectors).all()


def test_projections_are_the_spread_along_each_direction_and_add_up(rng: np.random.Generator) -> None:
    features, labels = clustered(rng, counts=[40, 9, 25], dim=5, ratio=2.0)
    predicted = rng.integers(0, 3, size=len(labels))
    moments = class_moments(features, labels, 3)
    directions = between_directions(moments, DOUBLE)
    deviations = features - np.stack([features[labels == c].mean(axis=0) for c in range(3)])[labels]

    parts = [
        project(features[s], labels[s], predicted[s], moments, directions)
        for s in (slice(0, 7), slice(7, 50), slice(50, None))
    ]
    whole = parts[0].merge(parts[1]).merge(parts[2])

    assert whole.count == 74
    for j in range(2):
        expected = sum((d @ directions.vectors[:, j]) ** 2 for d in deviations)
        assert whole.spread[j] == pytest.approx(expected, rel=1e-12)


def test_the_nearest_class_mean_is_that_of_the_full_distances(rng: np.random.Generator) -> None:
    features, labels = clustered(rng, counts=[40, 9, 25, 30], dim=6, ratio=2.0, offset=4)
    predicted = rng.integers(0, 4, size=len(labels))
    moments = class_moments(features, labels, 4)
    means = [features[labels == c].mean(axis=0) for c in range(4)]
    nearest = np.array([np.argmin([np.linalg.norm(h - mu) for mu in means]) for h in features])

    found = project(features, labels, predicted, moments, between_directions(moments, DOUBLE))

    assert found.agree == (nearest == predicted).sum()
    assert 0 < found.agree < len(labels)
