import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from ncdiag.domain.equivalence import MARGIN, each_equivalence, paired_equivalence, pairs_needed, pooled_t_test


def test_three_small_differences_have_the_p_of_the_formula():
    found = paired_equivalence(np.array([-0.02, 0.0, 0.02]))
    t = MARGIN / (0.02 / math.sqrt(3))
    assert found.p == pytest.approx((1 - t / math.sqrt(t**2 + 2)) / 2)
    assert (found.lo, found.hi) == pytest.approx((-0.033717089, 0.033717089), abs=1e-9)
    assert found.outcome == "equivalent"


def test_a_mean_on_the_margin_is_one_half():
    assert paired_equivalence(MARGIN + np.array([-0.01, 0, 0.01])).p == pytest.approx(0.5)


def test_equal_differences_are_not_testable():
    found = paired_equivalence(np.full(3, 0.1))
    assert (found.status, found.outcome) == ("zero_variance", "not testable")
    assert math.isnan(found.p)
    assert math.isnan(found.p_difference)


def test_one_difference_is_a_description():
    found = paired_equivalence(np.array([0.1]))
    assert (found.status, found.estimate, found.n) == ("too_few", 0.1, 1)
    assert math.isnan(found.p)


def test_paired_agrees_with_statsmodels_and_scipy():
    rng = np.random.default_rng(0)
    for n in (3, 5, 12):
        a, b = rng.normal(size=n) * 0.05, rng.normal(size=n) * 0.05
        found = paired_equivalence(a - b)
        assert found.p == pytest.approx(ttost_paired(a, b, -MARGIN, MARGIN)[0])
        assert found.p_difference == pytest.approx(stats.ttest_rel(a, b).pvalue)
        limits = stats.ttest_1samp(a - b, 0).confidence_interval(0.95)
        assert (found.difference_lo, found.difference_hi) == pytest.approx((limits.low, limits.high))


@pytest.mark.parametrize("values", [[0.1, 0.16, 0.13], [-0.1, -0.16, -0.13], [0.01, -0.02, 0.02], [0.08, 0.07, 0.078]])
def test_beyond_the_margin_is_two_one_sided_tests_of_which_the_smaller_p_is_doubled(values):
    above = stats.ttest_1samp(values, MARGIN, alternative="greater").pvalue
    below = stats.ttest_1samp(values, -MARGIN, alternative="less").pvalue
    assert paired_equivalence(np.array(values)).p_beyond == pytest.approx(min(1, 2 * min(above, below)))


@pytest.mark.parametrize(
    ("values", "outcome"),
    [
        ([0.02, 0.021, 0.019], "equivalent but different"),
        ([0.3, 0.31, 0.29], "different"),
        ([0.3, -0.3, 0.1], "inconclusive"),
    ],
)
def test_there_are_three_outcomes_and_a_small_real_difference(values, outcome):
    assert paired_equivalence(np.array(values)).outcome == outcome


def test_each_group_is_tested_by_its_own_spread():
    values, group = np.array([0.01, 0.03, -0.02, 0.1, 0.11, 0.13]), np.array([0, 0, 0, 1, 1, 1])
    for number, found in enumerate(each_equivalence(values, group)):
        own = paired_equivalence(values[group == number])
        for name in ("estimate", "n", "sd", "p", "lo", "hi", "p_difference", "p_beyond"):
            assert getattr(found, name) == pytest.approx(getattr(own, name))


def test_a_single_difference_borrows_the_spread_of_the_others_and_is_never_beyond():
    """By hand: the pooled variance of the others over one value, with Satterthwaite's degrees of freedom."""
    values, group = np.array([0.01, 0.03, -0.02, 0.1, 0.12, 0.5]), np.array([0, 0, 0, 1, 1, 2])
    *_, alone = each_equivalence(values, group)
    shares = values[:3].var() * 3 / 3, values[3:5].var() * 2 / 3
    sd, df = math.sqrt(sum(shares)), sum(shares) ** 2 / (shares[0] ** 2 / 2 + shares[1] ** 2 / 1)
    assert alone.p == pytest.approx(max(stats.t.cdf((0.5 - MARGIN) / sd, df), stats.t.cdf(-(0.5 + MARGIN) / sd, df)))
    assert (alone.lo, alone.hi) == pytest.approx(stats.t.interval(0.9, df, 0.5, sd))
    assert math.isnan(alone.p_beyond)


@pytest.mark.parametrize(("values", "status"), [((0.1, 0.2), "too_few"), ((0.1, 0.1, 0.2, 0.2), "zero_variance")])
def test_groups_that_do_not_vary_are_described(values, status):
    group = np.repeat([0, 1], len(values) // 2)
    found = each_equivalence(np.array(values), group)
    assert [(test.estimate, test.status) for test in found] == [(values[0], status), (values[-1], status)]
    assert all(math.isnan(test.p) for test in found)


def test_the_published_test_is_students():
    a, b = np.array([290.0, 310, 290]), np.array([320.0, 330, 300])
    for first in (a, a[:2]):
        assert pooled_t_test(first, b) == pytest.approx(stats.ttest_ind(first, b).pvalue)
    assert math.isnan(pooled_t_test(a[:1], b))
    assert math.isnan(pooled_t_test(np.full(3, 110.0), np.full(3, 110.0)))


@pytest.mark.parametrize(("percent", "pairs"), [(1, 2), (2, 3), (3, 4), (4, 5), (6, 7), (8, 11), (10, 16), (12, 23)])
def test_pairs_for_a_power_of_four_fifths(percent, pairs):
    """The table of the specification, by exact integration."""
    assert pairs_needed(percent / 100, alpha=0.05) == pairs


def test_pairs_are_needed_for_the_confidence_that_is_asked_for():
    """At 1 %, by simulation: so many pairs reach a power of four fifths, and one fewer do not."""
    sd, rng = 0.04, np.random.default_rng(0)
    pairs = pairs_needed(sd, alpha=0.01)
    power = {}
    for n in (pairs - 1, pairs):
        values = rng.normal(0, sd, (40_000, n))
        half = stats.t.ppf(0.99, n - 1) * values.std(axis=1, ddof=1) / math.sqrt(n)
        power[n] = np.mean(np.abs(values.mean(axis=1)) + half < MARGIN)
    assert power[pairs - 1] < 0.8 <= power[pairs]


def test_a_spread_that_no_number_of_pairs_overcomes():
    assert pairs_needed(10.0, alpha=0.05) is None


@pytest.mark.parametrize("alpha", [0.2, 0.05, 0.01])
def test_the_limits_and_the_outcome_follow_alpha(alpha):
    """Case 14: d = (-.02, 0, .02); at alpha the limits are those of a t interval at 1 - 2 alpha."""
    found = paired_equivalence(np.array([-0.02, 0.0, 0.02]), alpha)
    half = stats.t.ppf(1 - alpha, 2) * 0.02 / math.sqrt(3)
    assert (found.lo, found.hi) == pytest.approx((-half, half))
    assert found.p == paired_equivalence(np.array([-0.02, 0.0, 0.02])).p
    assert found.outcome == ("equivalent" if half < MARGIN else "inconclusive")
