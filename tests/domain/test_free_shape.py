"""Tables without replication: STATISTICS section 4, the values of the R package additivityTests among them."""

import math

import numpy as np
import pytest
from scipy import integrate

from ncdiag.domain.free_shape import free_shape

HEADS = [
    [68, 65, 75, 57, 32, 70],
    [56, 52, 55, 48, 65, 47],
    [40, 51, 52, 36, 49, 45],
    [84, 87, 88, 73, 34, 70],
    [50, 52, 52, 50, 45, 61],
]
MVGH = [[17.6, 10.6, 3.0], [5.6, 5.4, 16.2], [8.9, 4.8, 4.2]]


def near(p):
    """Two p-values from 100,000 random tables each."""
    return pytest.approx(p, abs=4 * math.sqrt(2 * p / 1e5))


@pytest.mark.parametrize(("table", "statistic", "p"), [(HEADS, 0.33792, 0.0039), (MVGH, 0.50012, 0.0225)])
def test_boiks_statistic_finds_what_tukeys_misses(table, statistic, p):
    found = free_shape(np.array(table, dtype=float), np.random.default_rng(0))
    assert found.boik == pytest.approx(statistic, abs=5e-6)
    assert found.p_boik == near(p)


def test_johnson_and_graybills_statistic_of_the_heads():
    found = free_shape(np.array(HEADS, dtype=float), np.random.default_rng(1))
    assert found.largest == pytest.approx(0.85402, abs=5e-6)
    assert found.p_largest == near(0.0037)


def test_the_null_distribution_with_three_rows_and_columns_is_the_exact_one():
    """Of a 2 x 2 matrix of noise the density of u = max(l) / sum(l) is proportional to (2u - 1) / sqrt(u (1 - u))."""
    rng = np.random.default_rng(2)
    for table in rng.normal(size=(5, 3, 3)):
        found = free_shape(table, rng)
        area = [integrate.quad(lambda u: (2 * u - 1) / math.sqrt(u * (1 - u)), at, 1)[0] for at in (found.largest, 0.5)]
        assert found.p_largest == pytest.approx(area[0] / area[1], abs=0.008)


def test_both_statistics_are_those_of_the_singular_values_and_free_of_the_additive_part():
    rng = np.random.default_rng(1)
    table = rng.normal(size=(6, 4))
    shifted = 10 * table + rng.normal(size=(6, 1)) + rng.normal(size=4)
    found, again = (free_shape(values, np.random.default_rng(0)) for values in (table, shifted))
    centring = [np.eye(n) - 1 / n for n in (6, 4)]
    squared = np.linalg.svd(centring[0] @ table @ centring[1], compute_uv=False) ** 2
    assert found.boik == pytest.approx(squared.sum() ** 2 / (3 * np.sum(squared**2)))
    assert found.largest == pytest.approx(squared.max() / squared.sum())
    assert (again.boik, again.p_boik, again.largest) == pytest.approx((found.boik, found.p_boik, found.largest))


def test_a_single_product_has_all_of_its_size_in_one_direction():
    rng = np.random.default_rng(3)
    product = np.outer(rng.normal(size=4), rng.normal(size=5))
    found = free_shape(product, rng)
    assert (found.boik, found.largest) == pytest.approx((1 / 3, 1))
    assert (found.p_boik, found.p_largest) == (1e-5, 1e-5)


@pytest.mark.parametrize("shape", [(3, 3), (3, 6), (7, 3)])
def test_with_two_directions_both_are_one_test(shape):
    found = free_shape(np.random.default_rng(4).normal(size=shape), np.random.default_rng(0))
    assert found.p_boik == pytest.approx(found.p_largest, abs=2e-5)


@pytest.mark.parametrize("table", [np.ones((3, 3)), np.arange(6.0).reshape(2, 3), np.arange(9.0).reshape(3, 3)])
def test_a_shape_needs_a_residual_of_two_dimensions(table):
    found = free_shape(table, np.random.default_rng(0))
    assert all(map(math.isnan, (found.boik, found.p_boik, found.largest, found.p_largest)))
