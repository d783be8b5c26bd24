import math
from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from ncdiag.domain.comparison import associated, less_variable, ranks, sign_test, smallest_pairing_p


def test_half_the_spread_is_a_correlation_of_minus_one():
    u = np.array([0.1, -0.3, 0.4, 0.2])
    found = less_variable(u, 2 * u)
    assert found.r == pytest.approx(-1)
    assert found.p == smallest_pairing_p(4) == pytest.approx(1 / 24)


@pytest.mark.parametrize(("n", "oracle"), [(5, stats.pearsonr), (9, stats.spearmanr)])
def test_it_is_the_correlation_of_sum_and_difference(n, oracle):
    u, v = np.random.default_rng(n).normal(size=(2, n))
    found, expected = less_variable(u, v), oracle(u + v, u - v, alternative="less")
    assert (found.r, found.p) == pytest.approx((expected.statistic, max(expected.pvalue, 1 / math.factorial(n))))


@pytest.mark.parametrize("n", [6, 7])
@pytest.mark.parametrize("digits", [0, 3])  # with equals among the ranks, and without
def test_up_to_eight_ranks_are_paired_in_every_way(n, digits):
    u, v = np.random.default_rng(n).normal(size=(2, n)).round(digits)
    # the mean is taken out of either, as a sum of two rounded numbers has other equals
    total, difference = (u - u.mean()) + (v - v.mean()), (u - u.mean()) - (v - v.mean())
    a, b = (stats.rankdata(part.round(9)) for part in (total, difference))
    found = less_variable(u, v)
    for alternative, p in (("less", found.p), ("greater", found.p_other)):
        oracle = stats.permutation_test(
            (a,), lambda x: stats.pearsonr(x, b).statistic, permutation_type="pairings", alternative=alternative,
            n_resamples=math.factorial(n), batch=None,
        )  # fmt: skip
        assert p == pytest.approx(oracle.pvalue, abs=1e-12)


@pytest.mark.parametrize("n", [5, 9])
def test_the_other_side_has_the_other_p(n):
    u, v = np.random.default_rng(n).normal(size=(2, n))
    there, back = less_variable(u, v), less_variable(v, u)
    assert (there.p, there.p_other) == pytest.approx((back.p_other, back.p))


def test_without_spread_or_with_three_units_there_is_no_p():
    same = np.array([1.0, 2.0, 3.0, 4.0])
    for second in (same, same + 0.1, 0.1 - same):  # difference or sum are equal but for rounding
        assert less_variable(same, second).status == "zero_variance"
    few = less_variable(same[:3], 2 * same[:3])
    assert (few.status, few.n) == ("too_few", 3)
    assert math.isnan(few.p)
    assert few.p_min == pytest.approx(1 / 6)


def test_the_size_of_the_comparison_is_nominal():
    rng = np.random.default_rng(1)
    rejected = [less_variable(*rng.normal(size=(2, 10))).p < 0.05 for _ in range(2000)]
    assert np.mean(rejected) == pytest.approx(0.05, abs=0.02)


def test_pairings_are_counted_exactly():
    a, b = np.array([1.0, 2, 3, 4, 5]), np.array([2.0, 1, 3, 5, 4])
    found = associated(a, b)
    better = [
        stats.spearmanr(a, order).statistic >= stats.spearmanr(a, b).statistic - 1e-9 for order in permutations(b)
    ]
    assert found.p == pytest.approx(np.mean(better))
    assert associated(a, a).p == pytest.approx(1 / 120)
    assert associated(a, np.ones(5)).status == associated(np.ones(5), b).status == "zero_variance"
    assert associated(a[:3], b[:3]).status == "too_few"


def test_many_pairings_are_sampled_from_a_fixed_seed():
    a, b = np.random.default_rng(3).normal(size=(2, 12))
    oracle = stats.permutation_test(
        (a,), lambda x: stats.spearmanr(x, b).statistic, permutation_type="pairings", alternative="greater",
        n_resamples=4000, rng=np.random.default_rng(0),
    )  # fmt: skip
    assert associated(a, b).p == pytest.approx(oracle.pvalue, abs=0.03)
    assert associated(a, b).p == associated(a, b).p
    assert associated(a, a).p == associated(a, a).p_min == 1 / 20_001


@pytest.mark.parametrize(("positive", "n"), [(3, 3), (4, 5), (1, 4), (0, 2)])
def test_signs(positive, n):
    assert sign_test(positive, n) == pytest.approx(stats.binomtest(positive, n, alternative="greater").pvalue)


def test_no_signs_are_no_test():
    assert math.isnan(sign_test(0, 0))


def test_equal_values_share_their_rank():
    values = np.array([3.0, 1.0, 3.0, 2.0])
    assert ranks(values).tolist() == stats.rankdata(values).tolist()


def test_rounding_decides_no_rank():
    """Differences are exactly -1, 0 and 1 here, up to what 0.1 + 0.2 leaves over."""
    plain = np.array([1.0, 2, 3, 4, 5, 6, 7, 8])
    other = plain + np.array([0, 1, 0, -1, 0, 1, 0, -1])
    shifted = less_variable(plain / 10 + 0.2, other / 10 + 0.7)
    assert shifted.p == pytest.approx(less_variable(plain, other).p)


def test_many_units_are_tested_by_students_t():
    rng = np.random.default_rng(0)
    first = rng.normal(size=150)
    second = 0.2 * first + rng.normal(size=150)
    expected = stats.spearmanr(first, second, alternative="greater")
    found = associated(first, second)
    assert (found.r, found.p) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue))
