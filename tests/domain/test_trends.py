"""Published answers: Hollander and Wolfe (piece rate), Page (scipy's documentation); analytic cases 23 and 24."""

import math
from collections import Counter, defaultdict
from itertools import permutations

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import isotonic_regression

from ncdiag.domain.trends import (
    isotonic,
    isotonic_p,
    jonckheere,
    jonckheere_distribution,
    line_slope,
    monotone_distance,
    page_trend,
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


def test_isotonic_curves():
    assert isotonic(np.array([[3.0, 1.0, 2.0]]), np.ones(3))[0] == pytest.approx([2, 2, 2])
    random = np.random.default_rng(3).normal(size=(20, 6))
    weights = np.array([1.0, 2, 1, 3, 1, 2])
    expected = [stats_isotonic(row, weights) for row in random]
    assert isotonic(random, weights) == pytest.approx(np.array(expected))


def stats_isotonic(row, weights):
    return isotonic_regression(row, weights=weights).x


def test_the_null_of_the_distance_is_chi_bar_squared():
    """Three equal means: P(D > c) = P(chi2_2 > c) / 3 + P(chi2_1 > c) / 2, and D = 0 in a sixth."""
    worlds = np.random.default_rng(4).normal(size=(40000, 3))
    distance = monotone_distance(worlds, np.ones(3))
    assert np.mean(distance < 1e-12) == pytest.approx(1 / 6, abs=0.006)
    for c in (1.0, 3.0, 6.0):
        expected = stats.chi2.sf(c, 2) / 3 + stats.chi2.sf(c, 1) / 2
        assert np.mean(distance > c) == pytest.approx(expected, abs=0.008)


@pytest.mark.parametrize(("n", "critical"), [(3, 10.77), (5, 8.88), (10, 8.25)])
def test_the_critical_values_at_five_levels(n, critical):
    """STATISTICS.md Q11: five levels of n runs."""
    level = np.repeat(np.arange(5), n)
    shape = np.array([1.0, 0, 0, 0, 1])[level]
    noise = np.tile(np.linspace(-1, 1, n), 5)
    noise /= math.sqrt(noise @ noise / (5 * n - 5))

    def distance(height):
        return isotonic_p(height * shape + noise, level, rng(), NO_LEVEL)

    lo, hi = 0.0, 20.0
    for _ in range(40):
        middle = (lo + hi) / 2
        lo, hi = (middle, hi) if distance_only(middle * shape + noise, level) < critical else (lo, middle)
    assert distance(hi)[1] == pytest.approx(0.05, abs=0.008)


def distance_only(values, level):
    sizes = np.bincount(level).astype(float)
    means = np.bincount(level, weights=values) / sizes
    return min(monotone_distance(sign * means[None], sizes)[0] for sign in (1, -1))


def test_isotonic_distance_without_variance_is_no_test():
    assert math.isnan(isotonic_p(*grouped([5, 5], [1, 1], [5, 5]), rng(), NO_LEVEL)[1])
    assert math.isnan(isotonic_p(*grouped([5], [1], [5]), rng(), NO_LEVEL)[1])


def test_levels_at_the_budget_lend_no_quiet_to_the_others():
    groups = [5.0, 5.0, 5.0], [1.0, 1.4, 1.1], [3.0, 3.6, 3.1]
    values, level = grouped(*groups)
    distance, p = isotonic_p(values, level, rng(), np.array([0]))
    assert distance == pytest.approx(distance_only(values, level) / np.mean([np.var(g, ddof=1) for g in groups[1:]]))
    assert p > isotonic_p(values, level, rng(), NO_LEVEL)[1]


def test_the_slope_is_that_of_linregress():
    x, y = np.array([7.0, 7, 8, 8, 9, 9]), np.array([1.0, 1.2, 0.8, 0.9, 0.7, 0.5])
    expected = stats.linregress(x, y)
    found = line_slope(x, y, 0.9)
    assert found.estimate == pytest.approx(expected.slope)
    assert found.hi - found.estimate == pytest.approx(stats.t.ppf(0.95, 4) * expected.stderr)
    assert math.isnan(line_slope(x[:2], y[:2], 0.9).estimate)
    assert math.isnan(line_slope(x[[0, 2]], y[[0, 2]], 0.9).lo)


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
