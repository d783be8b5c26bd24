"""Published answers: Hollander and Wolfe (piece rate), Page (scipy's documentation); analytic cases 23 and 24."""

import itertools
import math
from collections import Counter, defaultdict
from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from ncdiag.domain.trends import (
    jonckheere,
    jonckheere_distribution,
    page_trend,
    reversals,
    trend_slope,
    two_lines,
)

NO_LEVEL = np.array([], dtype=np.int64)
PIECE_RATE = ([40, 35, 38, 43, 44, 41], [38, 40, 47, 44, 40, 42], [48, 40, 45, 43, 46, 44])
PAGE = [
    [3, 4, 3],
    [2, 2, 4],
    [3, 3, 5],
    [1, 3, 2],
    [2, 3, 2],
    [2, 4, 5],
    [1, 2, 4],
    [3, 4, 4],
    [2, 4, 5],
    [1, 3, 4],
]


def grouped(*groups):
    return np.concatenate([np.asarray(g, dtype=float) for g in groups]), np.repeat(
        np.arange(len(groups)), [len(g) for g in groups]
    )


def rng():
    return np.random.default_rng(7)


def test_the_published_example_with_ties():
    found = jonckheere(*grouped(*PIECE_RATE), rng())
    assert found.j == 79
    assert found.z == pytest.approx(2.039293, abs=1e-6)
    assert stats.norm.sf(found.z) == pytest.approx(0.0207104, abs=1e-7)
    assert found.p == pytest.approx(0.0207, abs=0.005)


def test_j_is_kendalls_tau():
    values, level = grouped(*PIECE_RATE)
    expected = stats.kendalltau(level, values, alternative="greater", method="asymptotic").pvalue
    assert stats.norm.sf(jonckheere(values, level, rng()).z) == pytest.approx(expected, abs=1e-12)


def test_the_analytic_cases():
    perfect = jonckheere(*grouped([1, 2, 3], [4, 5, 6], [7, 8, 9]), rng())
    assert (perfect.j, perfect.method) == (27, "exact")
    assert perfect.p == perfect.p_min == pytest.approx(1 / 1680)
    assert jonckheere(*grouped([1], [2], [3], [4]), rng()).p == pytest.approx(1 / 24)
    assert jonckheere(*grouped([-4], [-3], [-2], [-1]), rng()).p == pytest.approx(1 / 24)
    assert jonckheere_distribution([2, 2]) == pytest.approx(np.array([1, 1, 2, 1, 1]) / 6)


@pytest.mark.parametrize("sizes", [(2, 3), (1, 2, 2), (3, 1, 2), (2, 2, 2)])
def test_the_exact_distribution_counts_orders(sizes):
    n, level = sum(sizes), np.repeat(np.arange(len(sizes)), sizes)
    counts = np.zeros(len(jonckheere_distribution(list(sizes))))
    for order in permutations(range(n)):
        counts[sum(order[i] < order[j] for i in range(n) for j in range(n) if level[i] < level[j])] += 1
    assert jonckheere_distribution(list(sizes)) == pytest.approx(counts / math.factorial(n))


def test_runs_that_never_collapsed_are_the_latest():
    values, level = grouped([math.inf, math.inf, 300], [math.inf, 210, 220], [100, 110, 230])
    found = jonckheere(-values, level, rng())

    def count(order):
        pairs = [(i, j) for i in range(9) for j in range(9) if level[i] < level[j]]
        return sum(1.0 if order[i] > order[j] else 0.5 if order[i] == order[j] else 0 for i, j in pairs)

    orders = set(permutations(level.tolist()))
    observed = count(values)
    assert found.j == observed
    everyone = []
    for labels in orders:
        dealt = values[np.argsort(labels, kind="stable")]
        everyone.append(count(dealt))
    assert found.p == pytest.approx(np.mean(np.array(everyone) >= observed))
    assert found.method == "1680 relabellings"


def test_no_trend_without_levels_or_differences():
    assert jonckheere(*grouped([1, 2, 3]), rng()).status == "not_testable"
    flat = jonckheere(*grouped([math.inf] * 2, [math.inf] * 2), rng())
    assert flat.status == "zero_variance"
    assert math.isnan(flat.p)


def test_large_samples_use_the_normal_approximation():
    values, level = grouped(*np.random.default_rng(1).normal(size=(4, 20)))
    found = jonckheere(values, level, rng())
    expected = stats.kendalltau(level, values, alternative="greater", method="asymptotic").pvalue
    assert (found.method, found.p) == ("normal approximation", pytest.approx(expected))


def test_with_three_levels_two_lines_are_two_t_tests():
    groups = [[3.0, 3.2, 3.3], [1.0, 1.1, 1.3], [2.0, 2.3, 2.2]]
    values, level = grouped(*groups)
    means = [np.mean(g) for g in groups]
    arms = [stats.ttest_ind(groups[end], groups[1], equal_var=False, alternative="greater") for end in (0, 2)]
    decides = max(arms, key=lambda test: test.pvalue)
    expected = 2 * decides.pvalue
    found = two_lines(values, level, 0.95)
    assert found.p == pytest.approx(expected)
    assert two_lines(values, level, 0.95, declared="valley").p == pytest.approx(expected / 2)
    assert (found.shape, found.turn, found.df) == ("valley", 1, pytest.approx(decides.df))
    assert found.left.estimate == pytest.approx(means[1] - means[0])
    interval = stats.ttest_ind(groups[2], groups[1], equal_var=False).confidence_interval(0.95)
    assert (found.right.lo, found.right.hi) == pytest.approx((interval.low, interval.high))
    peak = two_lines(-values, level, 0.95)
    assert (peak.shape, peak.p) == ("peak", pytest.approx(expected))
    assert two_lines(-values, level, 0.95, declared="valley").p > 0.999


def test_the_number_of_turns_is_paid_for():
    values, level = grouped([5, 5.1], [3, 3.2], [1, 1.1], [3, 3.1], [5, 5.2])
    found = two_lines(values, level, 0.95)
    arms = [stats.ttest_ind(values[level == end], values[level == 2], equal_var=False) for end in (0, 4)]
    assert found.turn == 2  # a slope over three levels, the middle one of which has no weight, is that of its ends
    assert found.p == pytest.approx(2 * 3 * max(arm.pvalue / 2 for arm in arms))


def test_levels_that_vary_more_do_not_lend_their_noise_to_others():
    """The steps of the last arm are as clear as its own levels are quiet, whatever the first level does."""
    quiet = two_lines(*grouped([5.0, 5.1, 5.2], [3.0, 3.1, 3.2], [4.0, 4.1, 4.2]), 0.95, declared="valley")
    loud = two_lines(*grouped([50.0, 5.1, 5.2], [3.0, 3.1, 3.2], [4.0, 4.1, 4.2]), 0.95, declared="valley")
    assert (loud.right.lo, loud.right.hi) == pytest.approx((quiet.right.lo, quiet.right.hi))
    assert loud.p > 0.1 > quiet.p


@pytest.mark.parametrize(
    ("groups", "status"),
    [
        (([1, 2], [2, 3]), "not_testable"),
        (([1], [2], [1]), "not_testable"),
        (([5, 5], [1, 1], [5, 5]), "zero_variance"),
    ],
)
def test_two_lines_without_a_test(groups, status):
    found = two_lines(*grouped(*groups), 0.95)
    assert found.status == status
    assert math.isnan(found.p)


def test_a_reversal_is_the_clearest_rise_of_any_two_levels():
    groups = [5.0, 5.3, 5.1], [2.0, 2.2, 2.5], [3.4, 3.0, 3.3], [1.0, 1.9, 1.2]
    found = reversals(*grouped(*groups), NO_LEVEL)
    pairs = list(itertools.combinations(range(4), 2))
    rises = [stats.ttest_ind(groups[b], groups[a], equal_var=False, alternative="greater").pvalue for a, b in pairs]
    falls = [stats.ttest_ind(groups[b], groups[a], equal_var=False, alternative="less").pvalue for a, b in pairs]
    assert found.rise == pairs[int(np.argmin(rises))] == (1, 2)
    assert (found.p_rise, found.p_fall) == pytest.approx((6 * min(rises), 6 * min(falls)))
    assert found.p_unsteady == found.p_rise
    fewer = reversals(*grouped(*groups[:2], groups[2][:2]), NO_LEVEL)
    t = stats.ttest_ind(groups[2][:2], groups[1], equal_var=False).statistic
    assert fewer.p_rise == pytest.approx(3 * stats.t.sf(t, 1))  # as many degrees of freedom as two values have
    back = reversals(*grouped(*groups[::-1]), NO_LEVEL)
    assert (back.p_rise, back.p_fall) == pytest.approx((found.p_fall, found.p_rise))


def test_reversals_without_variance_are_no_test():
    for groups in (([5, 5], [1, 1], [5, 5]), ([5], [1], [5])):
        found = reversals(*grouped(*groups), NO_LEVEL)
        assert math.isnan(found.p_rise)
        assert math.isnan(found.p_unsteady)
        assert found.rise is None


def test_a_level_at_the_budget_is_given_the_variance_of_the_others():
    """Half of what it is given comes from either of the others: no degree of freedom is used twice."""
    groups = [5.0, 5.0, 5.0], [1.0, 1.4, 1.1], [4.0, 4.6, 4.1]
    own = np.array([np.var(g, ddof=1) / 3 for g in groups[1:]])
    parts = own * [1.5, 0.5]
    t = (np.mean(groups[1]) - 5) / math.sqrt(parts.sum())
    expected = 3 * stats.t.cdf(t, parts.sum() ** 2 / np.sum(parts**2 / 2))
    assert reversals(*grouped(*groups), np.array([0])).p_fall == pytest.approx(expected)


def test_the_slope_is_that_of_linregress_with_the_variance_within_levels():
    x, values = np.array([7.0, 8.0, 9.0]), [np.array([1.0, 1.2]), np.array([0.8, 0.9, 0.4]), np.array([0.7, 0.5])]
    found = trend_slope(x, *grouped(*values), 0.9, NO_LEVEL)
    each = np.repeat(x, [2, 3, 2])
    assert found.estimate == pytest.approx(stats.linregress(each, np.concatenate(values)).slope)
    weights = [(at - each.mean()) * len(v) / np.sum((each - each.mean()) ** 2) for at, v in zip(x, values, strict=True)]
    parts = [w**2 * np.var(v, ddof=1) / len(v) for w, v in zip(weights, values, strict=True)]
    df = sum(parts) ** 2 / sum(part**2 / (len(v) - 1) for part, v in zip(parts, values, strict=True))
    assert found.hi - found.estimate == pytest.approx(stats.t.ppf(0.95, df) * math.sqrt(sum(parts)))
    single = trend_slope(x, *grouped(*values[:2], values[2][:1]), 0.9, NO_LEVEL)
    assert math.isfinite(single.estimate)
    assert math.isnan(single.lo)
    assert math.isnan(trend_slope(x, *grouped([1, 1], [2, 2], [1, 1]), 0.9, NO_LEVEL).lo)


def test_pages_example():
    """The data of scipy's documentation, L = 133.5; its exact p is for ranks without ties, where they are not few."""
    statistic, p = page_trend(np.array(PAGE, dtype=float))
    assert statistic == 133.5
    assert p == pytest.approx(naive_page(PAGE)[1])
    assert p < 0.0018191161948
    assert page_trend(np.array([[1.0, 2, 3]] * 3)) == (42, pytest.approx(1 / 216))
    for nothing in (np.ones((3, 3)), np.array([[1.0, 2, 3]]), np.ones((3, 2))):
        assert math.isnan(page_trend(nothing)[1])


@pytest.mark.parametrize(("blocks", "columns"), [(2, 3), (4, 5), (3, 8), (14, 4), (3, 9)])
def test_pages_test_without_ties_is_that_of_scipy(blocks, columns):
    table = rng().normal(size=(blocks, columns)) + 0.3 * np.arange(columns)
    method = "exact" if columns < 9 else "asymptotic"
    expected = stats.page_trend_test(table, method=method)
    assert page_trend(table) == pytest.approx((expected.statistic, expected.pvalue))


@pytest.mark.parametrize("seed", range(6))
def test_pages_p_allows_for_ties(seed):
    """Values at the budget are equal within a block: without them such an L is rarer than among ranks of its size."""
    table = np.minimum(np.random.default_rng(seed).integers(3, 9, (4, 4)), 6) + np.arange(4)[None, :] // 2
    assert page_trend(table.astype(float)) == pytest.approx(naive_page(table))


def test_means_at_the_budget_tie_whatever_rounding_says():
    budget = math.log(250)
    means = [sum([budget] * n) / n for n in (3, 6, 7, 10)]
    assert len(set(means)) > 1
    table = np.array([[4.0, *means], [3.9, 4.2, *means[1:]]])
    assert page_trend(table) == pytest.approx(naive_page([[1, 2, 2, 2, 2], [1, 2, 3, 3, 3]]))


def naive_page(blocks):
    """Page's L and its p, by the chances of every L over all orders of every block, one after the other."""
    observed, chances = 0.0, {0.0: 1.0}
    for block in blocks:
        ranked = stats.rankdata(block)
        observed += sum(rank * (place + 1) for place, rank in enumerate(ranked))
        orders = list(permutations(ranked))
        sums = Counter(sum(rank * (place + 1) for place, rank in enumerate(order)) for order in orders)
        after = defaultdict(float)
        for so_far, chance in chances.items():
            for more, count in sums.items():
                after[so_far + more] += chance * count / len(orders)
        chances = after
    return observed, sum(chance for total, chance in chances.items() if total >= observed)


@pytest.mark.parametrize("n", [3, 5])
@pytest.mark.parametrize("shape", [np.zeros(5), np.array([0, 0, 1, 1, 1]), np.array([0, 0.7, 0.9, 0.97, 1])])
def test_a_monotone_world_is_not_called_a_turn(n, shape):
    generator = np.random.default_rng(n)
    level = np.repeat(np.arange(5), n)
    p = [two_lines(4 * shape[level] + generator.normal(size=5 * n), level, 0.95).p for _ in range(1000)]
    assert np.mean(np.array(p) < 0.05) < 0.04


@pytest.mark.parametrize("n", [2, 3])
def test_the_size_of_the_trend_test(n):
    generator = np.random.default_rng(n)
    level = np.repeat(np.arange(4), n)
    p = [jonckheere(generator.normal(size=4 * n), level, generator).p for _ in range(2000)]
    assert 0.03 < np.mean(np.array(p) < 0.05) < 0.06


@pytest.mark.parametrize("budget", [1.0, 2.0])
def test_a_budget_that_caps_the_slow_end_makes_no_turn(budget):
    """A steady fall whose first levels do not collapse in time, or partly: no sign of a rise may come of it."""
    generator = np.random.default_rng(11)
    level = np.repeat(np.arange(5), 3)
    hits, worlds = 0, 600
    for _ in range(worlds):
        values = np.minimum(np.array([3.0, 2, 1, 0, 0])[level] + generator.normal(0, 0.3, 15), budget)
        capped = np.setdiff1d(level, level[values < budget])
        hits += two_lines(values, level, 0.95, capped=capped).p < 0.05
    assert hits / worlds < 0.05
