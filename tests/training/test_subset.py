import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from ncdiag.errors import SpecError
from ncdiag.training.subset import balanced_subset, proportional_subset

LABELS = np.repeat(np.arange(4), [30, 12, 25, 40])[np.random.RandomState(0).permutation(107)]


def by_the_description(labels, size, seed):
    """The documented procedure in plain Python: smallest 64-bit keys of each class."""
    source = np.random.PCG64(seed)
    keyed = [(int(source.random_raw()), place, label) for place, label in enumerate(labels.tolist())]
    classes = range(max(labels) + 1)
    share = {c: size // len(classes) + (1 if c < size % len(classes) else 0) for c in classes}
    chosen = []
    for c in classes:
        chosen += [place for _, place, _ in sorted(k for k in keyed if k[2] == c)[: share[c]]]
    return sorted(chosen)


@pytest.mark.parametrize("size", [4, 7, 20, 48])
@pytest.mark.parametrize("seed", [0, 12345])
def test_follows_the_documented_procedure(size, seed):
    assert balanced_subset(LABELS, size, seed).tolist() == by_the_description(LABELS, size, seed)


@pytest.mark.parametrize(("size", "counts"), [(4, [1, 1, 1, 1]), (10, [3, 3, 2, 2]), (48, [12, 12, 12, 12])])
def test_first_classes_get_one_more(size, counts):
    assert np.bincount(LABELS[balanced_subset(LABELS, size, 0)]).tolist() == counts


def test_smaller_subset_is_part_of_a_larger_one():
    for size in range(4, 48):
        assert set(balanced_subset(LABELS, size, 7)) < set(balanced_subset(LABELS, size + 1, 7))


def test_depends_on_its_seed_and_on_no_global_generator():
    first = balanced_subset(LABELS, 20, 1)
    np.random.seed(9)
    torch.manual_seed(9)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    assert balanced_subset(LABELS, 20, 1).tolist() == first.tolist()
    assert np.array_equal(np.random.get_state()[1], before[0])
    assert torch.equal(torch.get_rng_state(), before[1])
    assert balanced_subset(LABELS, 20, 2).tolist() != first.tolist()


def test_every_sample_of_a_class_is_equally_likely():
    draws = 2000
    hits = np.zeros(len(LABELS))
    for seed in range(draws):
        hits[balanced_subset(LABELS, 24, seed)] += 1
    expected = draws * 6 / np.array([30, 12, 25, 40])[LABELS]
    p = expected / draws
    z = (hits - expected) / np.sqrt(draws * p * (1 - p))
    assert np.abs(z).max() < 4.5  # 107 places: a chance of about 7e-4 to fail for a fair draw, and the seeds are fixed


@pytest.mark.parametrize("size", [3, 49, 107])
def test_refuses_sizes_that_cannot_be_balanced(size):
    with pytest.raises(SpecError, match=rf"from 4 \(one of each class\) to 48 \(4 classes times 12.*not {size}"):
        balanced_subset(LABELS, size, 0)


def test_proportional_part_keeps_the_shares_of_the_classes() -> None:
    labels = np.repeat([0, 1, 2], [700, 200, 100]).astype(np.int64)
    places = proportional_subset(labels, 100, "")
    assert np.bincount(labels[places]).tolist() == [70, 20, 10]
    assert np.array_equal(places, np.unique(places))
    assert not np.array_equal(places[:70], np.arange(70))  # drawn, not the first ones
    # 7, 2, 1 of 10 scaled to 11: 7.7, 2.2, 1.1
    assert np.bincount(labels[proportional_subset(labels, 11, "")]).tolist() == [8, 2, 1]
    assert np.array_equal(proportional_subset(labels, 1000, ""), np.arange(1000))


def by_largest_remainder(counts: list[int], size: int) -> list[int]:
    """The documented rounding in exact fractions: the lower class first among equals."""
    exact = [Fraction(count * size, sum(counts)) for count in counts]
    shares = [math.floor(share) for share in exact]
    by_remainder = sorted(range(len(counts)), key=lambda c: (shares[c] - exact[c], c))
    return [share + (c in by_remainder[: size - sum(shares)]) for c, share in enumerate(shares)]


@pytest.mark.parametrize(
    ("counts", "size"),
    [
        ([5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949], 40_000),  # MNIST, where remainders are thirds
        ([980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009], 4640),
        ([50, 30, 20, 50], 75),
        ([3, 3, 3], 5),
    ],
)
def test_shares_are_rounded_by_largest_remainder_the_lower_class_first(counts: list[int], size: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    found = np.bincount(labels[proportional_subset(labels, size, "")]).tolist()
    assert found == by_largest_remainder(counts, size)


@pytest.mark.parametrize("size", [0, 4, 1001])
def test_part_that_misses_a_class_or_is_too_large_is_refused(size: int) -> None:
    labels = np.repeat([0, 1, 2], [700, 200, 100]).astype(np.int64)
    with pytest.raises(SpecError, match=r"--test-samples must be from 10 .* to 1000"):
        proportional_subset(labels, size, "--test-samples")


def test_a_class_that_is_not_there_needs_no_sample() -> None:
    labels = np.repeat([0, 2], [30, 10]).astype(np.int64)  # a test set may lack a class
    assert np.bincount(labels[proportional_subset(labels, 8, "--test-samples")]).tolist() == [6, 0, 2]
    with pytest.raises(SpecError, match=r"--test-samples must be from 4 \(one of each class\) to 40"):
        proportional_subset(labels, 1, "--test-samples")
