import math
from itertools import combinations, permutations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.oneway import anova_oneway

from ncdiag.domain.group_tests import (
    fewer_collapse,
    geometric_mean,
    largest_gain,
    largest_shift,
    one_way,
    pairwise_welch,
    welch_to_first,
)

GROUPS = ([5.0, 5.2, 5.1, 5.4], [5.5, 5.9, 5.6], [6.3, 6.0, 6.6])
EVEN = ([5.0, 5.2, 5.4], *GROUPS[1:])


def grouped(groups=GROUPS):
    return np.concatenate([np.asarray(g) for g in groups]), np.repeat(np.arange(len(groups)), [len(g) for g in groups])


def rng():
    return np.random.default_rng(3)


def test_one_way_agrees_with_statsmodels():
    found = one_way(*grouped(), rng())
    expected = anova_oneway(GROUPS, use_var="unequal")
    assert (found.df1, found.df2) == (2, pytest.approx(expected.df[1]))
    assert (found.statistic, found.p_normal) == pytest.approx((expected.statistic, expected.pvalue))
    assert one_way(*grouped(([7.0], *GROUPS)), rng()) == found  # one value says nothing of how much its group varies


def test_a_value_that_stands_alone_is_no_evidence_of_a_difference():
    """Two groups of five and one value of three times their sd: with the classical F this errs in 24 %."""
    generator, worlds = np.random.default_rng(5), 200
    sizes, sds = (1, 5, 5), (3.0, 1.0, 1.0)
    samples = ([generator.normal(0, sd, n) for n, sd in zip(sizes, sds, strict=True)] for _ in range(worlds))
    wrong = sum(one_way(*grouped(groups), rng()).p <= 0.05 for groups in samples)
    assert wrong <= stats.binom.ppf(0.999, worlds, 0.05)


def test_relabelling_counts_every_statistic_that_is_as_large():
    """Oracle: all ways of dealing seven values to groups of two, two and three, each by Welch's F of statsmodels."""
    values, group = grouped(([1.0, 2.0], [2.5, 4.0], [3.0, 7.0, 8.5]))
    found = anova_oneway([values[group == g] for g in range(3)], use_var="unequal")
    observed = found.statistic
    every = set(permutations(group.tolist()))
    as_large = sum(
        anova_oneway([values[np.array(labels) == g] for g in range(3)], use_var="unequal").statistic >= observed - 1e-9
        for labels in every
    )
    assert one_way(values, group, rng()).p == pytest.approx(max(as_large / len(every), found.pvalue))
    assert as_large / len(every) != pytest.approx(found.pvalue, rel=0.1)
    even, group = grouped(([1.0, 2.0], [2.5, 4.0], [3.0, 7.0]))
    found = one_way(even, group, rng())
    assert found.p < found.p_normal  # of equal sizes relabelling is as good whatever varies


def test_relabelling_two_equal_groups_is_that_of_the_difference_of_means():
    values, group = grouped(([1.0, 2.0, 4.0], [3.0, 7.0, 8.0]))
    exact = one_way(values, group, rng())
    centred = values - values.mean()
    everyone = [abs(centred[list(pick)].sum()) for pick in combinations(range(6), 3)]
    assert exact.p == pytest.approx(np.mean(np.array(everyone) >= abs(centred[:3].sum()) - 1e-12))
    assert exact.p_min == pytest.approx(0.1)


def test_beyond_200_values_p_is_that_of_the_distribution():
    groups = np.random.default_rng(0).normal(size=(3, 67))
    found = one_way(*grouped(groups), rng())
    assert (found.p, found.relabellings) == (pytest.approx(anova_oneway(groups, use_var="unequal").pvalue), 0)


@pytest.mark.parametrize(
    ("groups", "status"),
    [
        (([1.0, 2.0],), "not_testable"),
        (([1.0], [2.0]), "not_testable"),
        (([1.0], [2.0, 3.0]), "not_testable"),
        (([1.0, 1.0], [2.0, 2.0]), "zero_variance"),
        (([1.0, 1.0], [1.0, 1.0]), "zero_variance"),
    ],
)
def test_groups_without_a_test(groups, status):
    found = one_way(*grouped(groups), rng())
    assert found.status == status
    assert math.isnan(found.p)


def test_pairs_are_compared_by_welch_and_holm():
    found = pairwise_welch(*grouped(EVEN), 0.9)
    expected = [stats.ttest_ind(EVEN[b], EVEN[a], equal_var=False) for a, b in ((0, 1), (0, 2), (1, 2))]
    assert [pair.p for pair in found] == pytest.approx([test.pvalue for test in expected])
    limits = expected[1].confidence_interval(0.9)
    assert (found[1].difference.lo, found[1].difference.hi) == pytest.approx((limits.low, limits.high))
    assert found[1].p_holm == pytest.approx(min(3 * min(test.pvalue for test in expected), 1))


@pytest.mark.parametrize(
    "few", [[1.0, 1.3, 1.1, 1.2], [1.0, 1.3], [1.0, 1.0]]
)  # the last have no variance of their own
def test_beside_more_values_few_have_their_own_degrees_of_freedom(few):
    many = [1.5, 1.9, 1.6, 1.7, 1.4, 1.8]
    (pair,) = pairwise_welch(*grouped((few, many)), 0.9)
    t = (np.mean(few) - np.mean(many)) / math.hypot(np.std(few, ddof=1) / len(few) ** 0.5, stats.sem(many))
    assert pair.p == pytest.approx(2 * stats.t.sf(abs(t), len(few) - 1))
    (enough,) = pairwise_welch(*grouped((many[:5], EVEN[0] + EVEN[1])), 0.9)
    assert enough.p == pytest.approx(stats.ttest_ind(many[:5], EVEN[0] + EVEN[1], equal_var=False).pvalue)


def test_limits_that_hold_for_all_comparisons_with_the_first_are_sidaks():
    found = welch_to_first(*grouped(EVEN), 2, 0.9)
    limits = stats.ttest_ind(EVEN[2], EVEN[0], equal_var=False).confidence_interval(math.sqrt(0.9))
    assert (found.lo, found.hi) == pytest.approx((limits.low, limits.high))


def test_pairs_without_spread_have_no_p():
    found = pairwise_welch(*grouped(([1.0, 1.0], [2.0, 2.0], [3.0])), 0.95)
    assert all(math.isnan(pair.p) for pair in found)
    assert [pair.difference.estimate for pair in found] == [1, 2, 1]


def test_the_simultaneous_bound_is_the_furthest_of_sidaks_limits():
    found, largest = largest_shift(*grouped(EVEN), 0, 0.95)
    each = [stats.ttest_ind(g, EVEN[0], equal_var=False).confidence_interval(math.sqrt(0.95)) for g in EVEN[1:]]
    assert largest == 2
    assert found.estimate == pytest.approx(abs(np.mean(EVEN[2]) - np.mean(EVEN[0])))
    assert found.hi == pytest.approx(max(max(-limits.low, limits.high) for limits in each))


def test_no_bound_from_single_values():
    found, _ = largest_shift(*grouped(([1.0], [2.0, 2.1])), 0, 0.95)
    assert found.estimate == pytest.approx(1.05)
    assert math.isnan(found.hi)


@pytest.mark.parametrize(("n", "expected"), [(3, 0.031), (4, 0.0078), (5, 0.0020), (6, 0.0005)])
def test_boschloo_of_all_against_none(n, expected):
    """The table of smallest p in STATISTICS.md Q14 is two-sided: twice the one-sided p."""
    p, p_min = fewer_collapse((0, n), (n, n))
    assert p == p_min
    assert 2 * p == pytest.approx(expected, abs=6e-4)
    assert stats.boschloo_exact([[n, 0], [0, n]]).pvalue == pytest.approx(2 * p, rel=0.02)


def test_boschloo_of_three_against_three_is_a_power_of_two():
    """Six runs, each as likely to collapse as not, which is the worst case: 1 / 64, two-sided 1 / 32."""
    assert fewer_collapse((0, 3), (3, 3))[0] == pytest.approx(1 / 64, rel=1e-6)


def test_many_runs_are_compared_by_fishers_exact_test():
    expected = stats.fisher_exact([[40, 50], [20, 10]], alternative="less").pvalue
    assert fewer_collapse((40, 50), (60, 60))[0] == pytest.approx(expected)


@pytest.mark.parametrize(("collapsed", "runs"), [((1, 4), (5, 6)), ((2, 2), (3, 7)), ((3, 3), (4, 3))])
def test_boschloos_p_is_the_largest_over_the_common_share(collapsed, runs):
    """Of all tables whose Fisher p is no larger, the chance, at whichever common share it is largest."""

    def fisher(a, b):
        return stats.hypergeom.cdf(a, sum(runs), a + b, runs[0])

    shares = np.linspace(0, 1, 4001)
    chance = sum(
        stats.binom.pmf(a, runs[0], shares) * stats.binom.pmf(b, runs[1], shares)
        for a in range(runs[0] + 1)
        for b in range(runs[1] + 1)
        if fisher(a, b) <= fisher(*collapsed) * (1 + 1e-9)
    )
    assert fewer_collapse(collapsed, runs)[0] == pytest.approx(chance.max(), rel=1e-4)


def test_boschloo_is_one_sided():
    assert fewer_collapse((3, 3), (3, 3))[0] == 1
    assert fewer_collapse((3, 0), (3, 3))[0] > 0.9


def test_the_best_of_several_levels_pays_for_the_choice():
    scores = -np.log([400.0, 410, 420, 300, 310, 320, 330, 340, 350, 360])
    level = np.array([0, 0, 0, 2, 2, 2, 5, 5, 5, 5])
    welch = {
        other: stats.ttest_ind(scores[level == other], scores[:3], equal_var=False, alternative="greater").pvalue
        for other in (2, 5)
    }
    p, best = largest_gain(scores, level)
    assert best == min(welch, key=welch.__getitem__)
    assert p == pytest.approx(2 * min(welch.values()))
    assert largest_gain(-scores, level)[0] == 1.0


def test_without_any_variance_there_is_no_gain_to_test():
    level = np.repeat([0, 1], 2)
    assert math.isnan(largest_gain(np.array([1.0, 1.0, 2.0, 2.0]), level)[0])
    assert largest_gain(np.array([1.0, 1.0, 2.0, 2.1]), level)[0] < 0.05


def test_a_geometric_mean_has_a_t_interval_on_logs():
    logs = np.log([0.95, 1.0, 1.05])
    found = geometric_mean(logs, 0.95)
    assert (found.estimate, found.lo, found.hi) == pytest.approx((0.999165971, 0.882357583, 1.131437705))
    assert math.isnan(geometric_mean(logs[:1], 0.95).lo)


@pytest.mark.parametrize(
    ("n", "sds"), [(3, (0.13, 0.03, 0.03)), (3, (0.03, 0.13, 0.03)), (5, (0.03, 0.13, 0.13, 0.13))]
)
def test_the_choice_of_the_best_level_keeps_the_size_whichever_level_varies_most(n, sds):
    """At 5 %, and at what Holm's correction leaves the smallest of four; relabelling errs in .09 to .12, .04 to .05."""
    generator = np.random.default_rng(8)
    level = np.repeat(np.arange(len(sds)), n)
    worlds = generator.normal(size=(1000, len(level))) * np.array(sds)[level]
    ps = np.array([largest_gain(world, level)[0] for world in worlds])
    assert np.mean(ps < 0.05) < 0.07
    assert np.mean(ps < 0.0125) < 0.024
