import math
from itertools import permutations

import numpy as np
import pytest

from ncdiag.domain.permutations import (
    count_labellings,
    generator_of,
    list_labellings,
    permutation_p,
    permutations_for,
    smallest_p,
)


def test_every_labelling_is_listed_once():
    labels = np.array([0, 0, 1, 2, 2])
    listed = {tuple(row) for row in list_labellings(labels).tolist()}
    assert listed == set(permutations(labels.tolist()))
    assert len(list_labellings(labels)) == count_labellings([2, 1, 2]) == len(listed)


@pytest.mark.parametrize("labels", [[0, 0, 1, 1], [0, 1, 1, 1, 2, 2], [0, 0, 1, 2, 2, 3], [0, 1, 2, 2, 2, 3, 4]])
def test_groups_without_an_order_are_listed_once_for_all_names(labels):
    def nameless(row):
        return frozenset(frozenset(np.flatnonzero(np.array(row) == group).tolist()) for group in set(row))

    sizes = np.bincount(labels).tolist()
    listed = [nameless(row) for row in list_labellings(np.array(labels), ordered=False).tolist()]
    assert set(listed) == {nameless(row) for row in permutations(labels)}
    assert len(set(listed)) == len(listed) == count_labellings(sizes, ordered=False)


def test_groups_without_an_order_have_the_p_of_all_labellings():
    rng = np.random.default_rng(3)
    values, labels = rng.normal(size=9), np.repeat([0, 1, 2], 3)

    def spread(some):
        return sum(((some == group) @ values) ** 2 for group in range(3))

    p, looked_at = permutation_p(spread, labels, rng, ordered=False)
    assert (p, looked_at) == (pytest.approx(permutation_p(spread, labels, rng)[0]), 1680 / 6)
    # 3 groups of 4: 34,650 labellings are too many to look at, but only 5,775 differ in more than names
    labels = np.repeat([0, 1, 2], 4)
    assert permutation_p(lambda some: spread(some[:, :9]), labels, rng, ordered=False)[1] == 5775


@pytest.mark.parametrize(
    ("sizes", "ordered", "expected"),
    [
        ((3, 3), False, 0.1),
        ((4, 4), False, 2 / 70),
        ((5, 5), False, 2 / 252),
        ((1, 1, 1, 1), True, 1 / 24),
        ((3, 3, 3), True, 1 / 1680),
        ((3, 3, 3, 3), True, 1 / 369600),
        ((2, 3), False, 0.1),
    ],
)
def test_the_smallest_p_is_known_before_the_test(sizes, ordered, expected):
    assert smallest_p(sizes, ordered=ordered) == pytest.approx(expected)


def test_the_exact_p_counts_labellings():
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    labels = np.array([0, 0, 0, 1, 1, 1])
    p, looked_at = permutation_p(lambda some: some @ values, labels, np.random.default_rng(0))
    assert (p, looked_at) == (1 / 20, 20)


def test_the_random_p_is_near_the_exact_one_and_never_zero():
    rng = np.random.default_rng(5)
    values = rng.normal(size=24)
    labels = np.repeat([0, 1], 12)
    p, looked_at = permutation_p(lambda some: some @ values, labels, rng)
    sums = np.sort(rng.permuted(np.tile(values, (40000, 1)), axis=1)[:, :12].sum(1))
    assert looked_at == 9999
    assert p == pytest.approx(np.mean(sums >= values[12:].sum()), abs=0.02)
    apart = np.arange(24.0)
    assert permutation_p(lambda some: some @ apart, labels, rng)[0] == 1 / 10000


def test_the_seed_is_the_data():
    first, second = generator_of(np.arange(3.0)), generator_of(np.arange(3.0))
    assert first.random() == second.random()
    assert generator_of(np.arange(4.0)).random() != generator_of(np.arange(3.0)).random()


def test_large_samples_get_fewer_permutations():
    assert permutations_for(100) == 9999
    assert permutations_for(10_000) == 5000
    assert permutations_for(10**6) == 999
    assert math.isclose(count_labellings([2, 2]), 6)
