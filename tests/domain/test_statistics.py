import itertools
import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.api import OLS

from ncdiag.domain.statistics import (
    clopper_pearson,
    conformal_minimum,
    group_means,
    group_spread,
    grouped_share,
    grouped_t_interval,
    is_constant,
    jackknife_plus,
    log_cv,
    log_sd,
    prediction_half_width,
    t_interval,
    total_variance_interval,
    total_variance_lower,
    total_variance_upper,
    variance_components,
    variance_factor,
    variance_interval,
    variance_upper,
)

X = np.array([1.2, 0.7, 1.9, 1.4, 0.3])


def held_out_errors(values, groups):
    """Value minus the mean of the means of the other groups."""
    errors = []
    for value, group in zip(values, groups, strict=True):
        others = [values[groups == other].mean() for other in np.unique(groups) if other != group]
        errors.append(value - np.mean(others))
    return np.array(errors)


def test_t_interval_agrees_with_scipy():
    found = t_interval(X, 0.9)
    expected = stats.ttest_1samp(X, 0).confidence_interval(0.9)
    assert (found.estimate, found.lo, found.hi) == pytest.approx((X.mean(), expected.low, expected.high))


@pytest.mark.parametrize("values", [[0.4], [0.1, 0.1, 0.1], [0.0, 0.0]])
def test_one_value_or_equal_values_have_no_t_interval(values):
    found = t_interval(np.array(values), 0.95)
    assert found.estimate == pytest.approx(values[0])
    assert math.isnan(found.lo)
    assert math.isnan(found.hi)


def test_rounding_is_no_variance():
    assert is_constant(np.array([0.1 + 0.2, 0.3, 0.3]))
    assert not is_constant(np.array([1.0, 1.0 + 1e-8]))


def test_cv_of_a_lognormal_sample():
    assert log_cv(0.4) == pytest.approx(stats.lognorm.std(0.4) / stats.lognorm.mean(0.4))
    assert log_sd(log_cv(0.3)) == pytest.approx(0.3)
    assert log_cv(100) == math.inf


def test_upper_bound_factor_of_three_values():
    assert math.sqrt(variance_factor(2, 0.05)) == pytest.approx(math.sqrt(-1 / math.log(0.95)))
    assert math.sqrt(variance_factor(2, 0.05)) == pytest.approx(4.415396443)


def test_variance_bounds_are_those_of_chi_square():
    found, df = variance_interval(X, 0.95), len(X) - 1
    squares = ((X - X.mean()) ** 2).sum()
    assert found.lo == pytest.approx(squares / stats.chi2.ppf(0.975, df))
    assert found.hi == pytest.approx(squares / stats.chi2.ppf(0.025, df))
    assert variance_upper(X, 0.95) == pytest.approx(squares / stats.chi2.ppf(0.05, df))


def test_group_means_follow_the_group_numbers():
    assert group_means(np.array([1.0, 5.0, 3.0]), np.array([2, 0, 2])).tolist() == [5, 2]


def test_components_are_the_mean_squares_of_a_balanced_analysis_of_variance():
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(4), 3)
    values = rng.normal(size=12) + groups
    parts = variance_components(values, groups)
    table = values.reshape(4, 3)
    between = 3 * ((table.mean(1) - values.mean()) ** 2).sum() / 3
    within = ((table - table.mean(1, keepdims=True)) ** 2).sum() / 8
    assert stats.f_oneway(*table).statistic == pytest.approx(between / within)
    assert (3 * parts.of_means, parts.within, parts.size) == pytest.approx((between, within, 3))
    assert parts.total == pytest.approx(between / 3 + (1 - 1 / 3) * within)


def test_graybill_wang_bound_is_the_published_formula():
    groups = np.repeat(np.arange(4), 3)
    values = np.random.default_rng(2).normal(size=12) + groups
    parts = variance_components(values, groups)
    h1, h2 = (df / stats.chi2.ppf(0.05, df) - 1 for df in (3, 8))
    expected = parts.total + math.hypot(h1 * parts.of_means, h2 * (2 / 3) * parts.within)
    assert total_variance_upper(parts, 0.95) == pytest.approx(expected)
    g1, g2 = (1 - df / stats.chi2.ppf(0.95, df) for df in (3, 8))
    least = parts.total - math.hypot(g1 * parts.of_means, g2 * (2 / 3) * parts.within)
    assert total_variance_lower(parts, 0.95) == pytest.approx(least)


def test_one_value_per_group_falls_back_to_chi_square():
    parts = variance_components(X, np.arange(5))
    assert parts.total == pytest.approx(X.var(ddof=1))
    assert total_variance_upper(parts, 0.95) == pytest.approx(variance_upper(X, 0.95))
    interval, plain = total_variance_interval(parts, 0.95), variance_interval(X, 0.95)
    assert (interval.lo, interval.hi) == pytest.approx((plain.lo, plain.hi))


def test_bound_of_grouped_variance_covers_and_the_naive_one_does_not():
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(4), 3)
    grouped, naive, inside = 0, 0, 0
    for _ in range(1500):
        values = np.repeat(rng.normal(size=4), 3) + rng.normal(size=12)
        parts = variance_components(values, groups)
        grouped += total_variance_upper(parts, 0.95) > 2
        naive += variance_upper(values, 0.95) > 2
        interval = total_variance_interval(parts, 0.95)
        inside += interval.lo < 2 < interval.hi
    assert grouped / 1500 > 0.94
    assert inside / 1500 > 0.94
    assert naive / 1500 < 0.93


def test_prediction_interval_of_a_mean_is_the_textbook_one():
    values, groups = np.array([1.0, 2, 3, 4]), np.arange(4)
    half = prediction_half_width(held_out_errors(values, groups), groups, 0.8, of_a_mean=True)
    assert half == pytest.approx(2.36389, abs=1e-5)
    assert half == pytest.approx(stats.t.ppf(0.9, 3) * values.std(ddof=1) * math.sqrt(1.25))


def test_prediction_interval_of_a_new_group_is_two_level():
    groups = np.repeat(np.arange(3), 4)
    values = np.random.default_rng(4).normal(size=12) + groups
    table = values.reshape(3, 4)
    variance = table.mean(1).var(ddof=1) * (1 + 1 / 3) + table.var(axis=1, ddof=1).mean() * (1 - 1 / 4)
    half = prediction_half_width(held_out_errors(values, groups), groups, 0.9, of_a_mean=True)
    assert half == pytest.approx(stats.t.ppf(0.95, 2) * math.sqrt(variance))


def test_a_bias_widens_the_prediction_interval():
    groups, errors = np.arange(5), np.array([0.1, -0.1, 0.05, -0.05, 0.0])
    straight = prediction_half_width(errors, groups, 0.8, of_a_mean=False)
    assert prediction_half_width(errors + 1, groups, 0.8, of_a_mean=False) > 5 * straight


@pytest.mark.parametrize(("level", "expected"), [(0.8, (0, 5)), (0.9, (-math.inf, math.inf))])
def test_jackknife_plus_of_a_mean(level, expected):
    values = np.array([1.0, 2, 3, 4])
    without = (values.sum() - values) / 3
    assert jackknife_plus(without, np.abs(values - without), level, np.arange(4)) == pytest.approx(expected)


def test_jackknife_plus_of_a_new_group_equals_drawing_one_value_of_each_group():
    """The limits have the share `level` of all ways to draw one value of each group, and an infinite one, inside."""
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(5), [1, 2, 3, 4, 2])
    predictions, errors = rng.normal(size=12), np.abs(rng.normal(size=12))
    ways = itertools.product(*(np.flatnonzero(groups == group).tolist() for group in range(5)))
    drawn = np.array(list(ways))
    beyond = np.full((len(drawn), 1), math.inf)
    highs = np.sort(np.hstack([(predictions + errors)[drawn], beyond]).ravel())
    lows = np.sort(np.hstack([(errors - predictions)[drawn], beyond]).ravel())
    row = math.ceil(0.8 * len(highs)) - 1
    assert jackknife_plus(predictions, errors, 0.8, groups) == (-lows[row], highs[row])


@pytest.mark.parametrize(("level", "smallest"), [(0.8, 4), (0.9, 9), (0.95, 19)])
def test_conformal_minimum(level, smallest):
    assert conformal_minimum(level) == smallest
    for n, finite in ((smallest - 1, False), (smallest, True)):
        assert math.isfinite(jackknife_plus(np.zeros(n), np.ones(n), level, np.arange(n))[1]) is finite


GROUPS = np.array([0, 0, 4, 4, 4, 7, 7])
OF_GROUPS = np.array([1.0, 1.4, 2.2, 2.9, 2.4, 0.3, 0.8])


def test_groups_of_unequal_size_weigh_alike_in_the_variance_within_them():
    found = variance_components(OF_GROUPS, GROUPS)
    own = np.array([OF_GROUPS[group == GROUPS].var(ddof=1) for group in (0, 4, 7)])
    assert found.within == pytest.approx(own.mean())
    assert found.df_within == pytest.approx(own.sum() ** 2 / np.sum(own**2 / [1, 2, 1]))
    alike = variance_components(OF_GROUPS[:6], np.repeat([3, 1, 2], 2))
    assert alike.df_within == 3  # pooled: of one size the mean is that


def test_the_interval_over_groups_agrees_with_statsmodels():
    ols = OLS(OF_GROUPS, np.ones((7, 1)))
    (error,) = ols.fit(cov_type="cluster", cov_kwds={"groups": GROUPS}, use_t=True).bse
    half = stats.t.ppf(0.95, 49 / 17 - 1) * error  # 2, 3 and 2 values tell as much as 49 / 17 groups of one size
    found = grouped_t_interval(OF_GROUPS, GROUPS, 0.9)
    mean = OF_GROUPS.mean()
    assert (found.estimate, found.lo, found.hi) == pytest.approx((mean, mean - half, mean + half))


@pytest.mark.parametrize("sizes", [(10, 1, 1, 1), (10, 10, 1, 1, 1), (1, 2, 3, 10), (3, 3, 3, 3)], ids=str)
def test_the_interval_over_groups_holds_what_it_says_whatever_their_sizes(sizes):
    """With as many degrees of freedom as groups 95 % would hold in .70, .80, .86 and .94."""
    rng, groups, worlds = np.random.default_rng(1), np.repeat(np.arange(len(sizes)), sizes), 600
    inside = 0
    for _ in range(worlds):
        values = rng.normal(size=len(sizes))[groups] + 0.5 * rng.normal(size=len(groups))
        found = grouped_t_interval(values, groups, 0.95)
        inside += found.lo <= 0 <= found.hi
    assert inside >= stats.binom.ppf(0.001, worlds, 0.94)


def test_the_interval_over_groups_of_one_size_is_that_of_their_means():
    groups = np.repeat([3, 1, 2], 2)
    expected = t_interval(group_means(OF_GROUPS[:6], groups), 0.95)
    found = grouped_t_interval(OF_GROUPS[:6], groups, 0.95)
    assert (found.lo, found.hi) == pytest.approx((expected.lo, expected.hi))


def test_two_groups_leave_the_values_as_the_sample():
    groups = np.array([0, 0, 0, 0, 1, 1, 1])
    assert grouped_t_interval(OF_GROUPS, groups, 0.95) == t_interval(OF_GROUPS, 0.95)
    share = grouped_share(OF_GROUPS > 1.2, groups, 0.95)
    assert (share.lo, share.hi) == pytest.approx(stats.binomtest(4, 7).proportion_ci(0.95, "exact"))


def test_groups_that_agree_have_no_interval():
    found = grouped_t_interval(np.tile([1.0, 2.0], 3), np.repeat([0, 1, 2], 2), 0.95)
    assert found.estimate == 1.5
    assert math.isnan(found.lo)
    assert math.isnan(found.hi)


def test_a_share_over_groups_is_as_sure_as_so_many_values():
    share = grouped_share(np.repeat([True, False, True, True], 5), np.repeat(np.arange(4), 5), 0.95)
    assert (share.lo, share.hi) == pytest.approx(stats.binomtest(3, 4).proportion_ci(0.95, "exact"))
    assert share.estimate == 0.75


def test_values_of_no_weight_have_no_part_in_a_share():
    groups, weights = np.array([0, 0, 1, 2, 3]), np.array([1.0, 1.0, 2.0, 2.0, 0.0])
    share = grouped_share(np.array([True, False, False, True, True]), groups, 0.95, weights)
    assert share.estimate == 0.5
    limits = stats.beta.ppf([0.025, 0.975], [1.5, 2.5], [2.5, 1.5])  # of three groups of the weight 2
    assert (share.lo, share.hi) == pytest.approx(limits)


@pytest.mark.parametrize("sizes", [(10, *[1] * 9), (12, 1, 1, 1, 1), (20, 3, 3, 3), (5, 5, 5, 5)])
@pytest.mark.parametrize("share", [0.1, 0.2, 0.4])
def test_a_share_of_groups_that_hit_or_miss_as_a_whole_is_held_whatever_their_sizes(sizes, share):
    """Of all that can happen, each with its probability; with as many trials as groups 95 % would hold in 80 to 95."""
    groups, inside = np.repeat(np.arange(len(sizes)), sizes), 0.0
    for each in itertools.product([True, False], repeat=len(sizes)):
        found = grouped_share(np.array(each)[groups], groups, 0.95)
        inside += math.prod(share if hit else 1 - share for hit in each) * (found.lo <= share <= found.hi)
    assert inside > 0.95


@pytest.mark.parametrize(("count", "n"), [(0, 3), (3, 3), (2, 7)])
def test_clopper_pearson_agrees_with_scipy(count, n):
    found = clopper_pearson(count, n, 0.95)
    expected = stats.binomtest(count, n).proportion_ci(0.95, "exact")
    assert (found.estimate, found.lo, found.hi) == pytest.approx((count / n, expected.low, expected.high))


def test_clopper_pearson_of_none_in_three():
    assert clopper_pearson(0, 3, 0.95).hi == pytest.approx(1 - 0.025 ** (1 / 3))
    assert clopper_pearson(0, 3, 0.95).hi == pytest.approx(0.707598, abs=1e-6)


def test_nothing_observed_leaves_every_share_possible():
    found = clopper_pearson(0, 0, 0.95)
    assert math.isnan(found.estimate)
    assert (found.lo, found.hi) == (0, 1)


def test_a_contrast_of_two_groups_is_welchs_t():
    rng = np.random.default_rng(5)
    a, b = rng.normal(0, 1, 4), rng.normal(1, 3, 7)
    spread = group_spread(np.concatenate([a, b]), np.repeat([0, 1], [4, 7]))
    error, df = spread.of_contrast(np.array([1.0, -1.0]), np.array([4, 7]))
    welch = stats.ttest_ind(a, b, equal_var=False)
    assert (a.mean() - b.mean()) / error == pytest.approx(welch.statistic)
    assert df == pytest.approx(welch.df)


def test_groups_of_one_value_add_no_degrees_of_freedom():
    # two groups of two values with one variance, two of a single value: the pooled t with its two degrees of freedom
    values = np.array([0.0, 2.0, 5.0, 7.0, 1.0, 9.0])
    spread = group_spread(values, np.array([0, 0, 1, 1, 2, 3]))
    error, df = spread.of_contrast(np.array([1.0, -1.0, -1.0, 1.0]), np.array([2, 2, 1, 1]))
    assert error == pytest.approx(math.sqrt(2.0 * (1 / 2 + 1 / 2 + 1 + 1)))
    assert df == pytest.approx(2.0)
    # and never more than all the values can give
    uneven = group_spread(np.array([0.0, 2.0, 5.0, 5.5, 1.0, 9.0]), np.array([0, 0, 1, 1, 2, 3]))
    assert uneven.of_contrast(np.array([1.0, -1.0, -1.0, 1.0]), np.array([2, 2, 1, 1]))[1] <= 2.0
