import math

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from ncdiag.domain.statistics import (
    total_variance_lower,
    total_variance_upper,
    variance_components,
)
from ncdiag.domain.threshold import estimate_threshold

ONE = np.zeros(3, dtype=int)


def test_three_runs_with_a_spread_of_five_percent():
    found = estimate_threshold(np.array([0.95, 1, 1.05]), ONE, 0.95)
    assert found.fn_star.estimate == pytest.approx(0.9975 ** (1 / 3))
    assert found.fn_star.estimate == pytest.approx(0.999165971, abs=1e-9)
    assert (found.fn_star.lo, found.fn_star.hi) == pytest.approx((0.882357583, 1.131437705), abs=1e-9)
    assert (found.mean, found.sd, found.sample_cv) == pytest.approx((1, 0.05, 0.05))
    assert found.cv.estimate == pytest.approx(0.0500783, abs=1e-7)
    assert (found.cv.lo, found.cv.hi) == pytest.approx((0.0260618, 0.3224737), abs=1e-7)
    assert found.cv_upper == pytest.approx(0.2237024, abs=1e-7)
    lower = math.sqrt(math.expm1(2 * 0.0500470**2 / 5.9914645))  # s^2 of the logs, and chi-square's 95 % quantile
    assert found.cv_lower == pytest.approx(lower, abs=1e-6)
    assert found.status == "ok"


@pytest.mark.parametrize(
    ("n", "percent"),
    [(3, 1.8), (4, 2.7), (5, 3.4), (6, 3.8), (8, 4.4), (10, 4.9), (15, 5.5), (20, 5.8), (30, 6.2)],
)
def test_largest_sample_cv_that_shows_a_cv_below_eight_percent(n, percent):
    norms = np.random.default_rng(n).lognormal(sigma=0.2, size=n)  # whatever they are
    found = estimate_threshold(norms, np.zeros(n, dtype=int), 0.95)
    assert 100 * found.cv_needed == pytest.approx(percent, abs=0.06)


def test_needed_cv_is_where_the_bound_meets_the_claim():
    rng = np.random.default_rng(0)
    logs, condition = 0.1 * rng.normal(size=12), np.repeat(np.arange(4), 3)
    found = estimate_threshold(np.exp(logs), condition, 0.95)
    shrink = math.sqrt(math.log1p(found.cv_needed**2) / math.log1p(found.cv.estimate**2))
    again = estimate_threshold(np.exp(shrink * logs), condition, 0.95)
    assert again.cv.estimate == pytest.approx(found.cv_needed)
    assert again.cv_upper == pytest.approx(0.08)


def test_a_factor_on_the_features_scales_fn_star_and_nothing_else():
    norms, condition = np.array([0.9, 1.0, 1.2, 1.1, 0.8, 1.3]), np.array([0, 0, 1, 1, 2, 2])
    small, large = (estimate_threshold(factor * norms, condition, 0.95) for factor in (1, 7))
    assert large.fn_star.estimate == pytest.approx(7 * small.fn_star.estimate)
    assert large.fn_star.hi == pytest.approx(7 * small.fn_star.hi)
    assert (large.cv.estimate, large.cv_upper, large.sample_cv) == pytest.approx(
        (small.cv.estimate, small.cv_upper, small.sample_cv)
    )


def test_conditions_weigh_the_same_whatever_their_seeds():
    norms = np.array([1.0, 1.0, 1.0, 1.0, 4.0, 16.0])
    found = estimate_threshold(norms, np.array([0, 0, 0, 0, 1, 2]), 0.95)
    assert found.fn_star.estimate == pytest.approx(4)
    expected = stats.ttest_1samp(np.log([1.0, 4.0, 16.0]), 0).confidence_interval(0.95)
    assert (found.fn_star.lo, found.fn_star.hi) == pytest.approx((math.exp(expected.low), math.exp(expected.high)))
    assert (found.over, found.n_conditions) == ("conditions", 3)


def test_two_conditions_have_an_interval_over_their_runs():
    found = estimate_threshold(np.array([1.0, 1.1, 1.2, 1.3]), np.array([0, 0, 1, 1]), 0.95)
    logs = np.log([1.0, 1.1, 1.2, 1.3])
    expected = stats.ttest_1samp(logs, 0).confidence_interval(0.95)
    assert (found.fn_star.lo, found.fn_star.hi) == pytest.approx((math.exp(expected.low), math.exp(expected.high)))
    assert found.over == "runs"


@pytest.mark.parametrize(("sizes", "pooled"), [((1, 10), 0.78), ((2, 10), 0.88), ((1, 5), 0.91), ((3, 3), 0.95)])
def test_the_interval_of_two_alike_conditions_covers_their_mean_however_many_runs_each_has(sizes, pooled):
    """The standard error of a mean of all runs, about the mean of the conditions, covers what `pooled` says."""
    rng = np.random.default_rng(sum(sizes))
    condition = np.repeat([0, 1], sizes)
    draws = np.exp(0.05 * rng.normal(size=(2000, len(condition))))
    found = [estimate_threshold(draw, condition, 0.95).fn_star for draw in draws]
    assert np.mean([f.lo < 1 < f.hi for f in found]) == pytest.approx(0.955, abs=0.015)
    t = stats.t.ppf(0.975, len(condition) - 1)
    halves = t * np.log(draws).std(axis=1, ddof=1) / math.sqrt(len(condition))
    assert np.mean(np.abs([math.log(f.estimate) for f in found]) < halves) == pytest.approx(pooled, abs=0.025)


def test_one_run_has_an_estimate_and_no_interval():
    found = estimate_threshold(np.array([1.3]), np.zeros(1, dtype=int), 0.95)
    assert found.fn_star.estimate == pytest.approx(1.3)
    assert found.status == "too_few"
    undefined = (found.fn_star.lo, found.sd, found.cv.estimate, found.cv_upper, found.p_below, found.p_above)
    assert all(map(math.isnan, undefined))


def test_limits_beyond_what_a_number_can_be_are_infinite_and_no_error():
    """Two runs at 99.99 %: t is 6366, and the upper limit exp(1825)."""
    found = estimate_threshold(np.array([1.0, 1.5]), np.zeros(2, dtype=int), 0.9999)
    assert (found.fn_star.lo, found.fn_star.hi) == (0, math.inf)


def test_equal_norms_have_no_interval():
    for condition in (np.array([0, 0, 1, 1]), np.zeros(4, dtype=int)):
        found = estimate_threshold(np.full(4, 1.3), condition, 0.95)
        assert found.status == "zero_variance"
        assert found.cv.estimate == 0
        undefined = (found.fn_star.lo, found.fn_star.hi, found.cv_upper, found.p_below, found.p_above)
        assert all(map(math.isnan, undefined))


@pytest.mark.parametrize("n", [3, 5])
def test_t_interval_on_logs_covers(n):
    """The specification's figure is .943 to .955; a percentile bootstrap at n = 3 would cover about .75."""
    rng = np.random.default_rng(n)
    draws = np.exp(0.08 * rng.normal(size=(2000, n)))
    condition = np.zeros(n, dtype=int)
    found = [estimate_threshold(draw, condition, 0.95).fn_star for draw in draws]
    assert np.mean([f.lo < 1 < f.hi for f in found]) == pytest.approx(0.95, abs=0.015)


def test_the_upper_bound_of_the_cv_covers():
    rng = np.random.default_rng(9)
    draws = np.exp(0.08 * rng.normal(size=(2000, 4)))
    true_cv = math.sqrt(math.expm1(0.08**2))
    bounds = [estimate_threshold(draw, np.zeros(4, dtype=int), 0.95).cv_upper for draw in draws]
    assert np.mean(np.array(bounds) > true_cv) == pytest.approx(0.95, abs=0.015)


def test_the_effect_of_conditions_is_what_their_means_vary_beyond_the_seeds():
    logs = np.array([[0.0, 0.02], [0.1, 0.12], [-0.1, -0.06]])
    found = estimate_threshold(np.exp(logs.ravel()), np.repeat(np.arange(3), 2), 0.95)
    within = logs.var(axis=1, ddof=1).mean()
    between = logs.mean(1).var(ddof=1) - within / 2
    assert found.cv_conditions == pytest.approx(math.sqrt(math.expm1(between)))
    assert found.icc == pytest.approx(between / (between + within))


def test_conditions_that_vary_less_than_their_seeds_have_no_effect_of_their_own():
    found = estimate_threshold(np.array([0.9, 1.1, 0.9, 1.1]), np.array([0, 0, 1, 1]), 0.95)
    assert (found.cv_conditions, found.icc) == (0, 0)


def test_without_several_seeds_or_conditions_the_effect_is_not_known():
    for condition in (np.arange(3), ONE):
        found = estimate_threshold(np.array([0.9, 1.0, 1.2]), condition, 0.95)
        assert math.isnan(found.cv_conditions)
        assert math.isnan(found.icc)


def test_the_p_of_the_claim_is_that_of_chi_square_in_one_condition():
    norms = np.exp(np.random.default_rng(1).normal(0, 0.05, 8))
    found = estimate_threshold(norms, np.zeros(8, dtype=np.int64), 0.95)
    statistic = 7 * np.log(norms).var(ddof=1) / math.log1p(0.08**2)
    assert found.p_below == pytest.approx(stats.chi2.cdf(statistic, 7))
    assert found.p_above == pytest.approx(stats.chi2.sf(statistic, 7))


@pytest.mark.parametrize("sd", [0.01, 0.04, 0.1])
def test_the_p_of_the_claim_is_the_level_at_which_its_bound_meets_eight_percent(sd):
    conditions = np.repeat(np.arange(4), 3)
    generator = np.random.default_rng(2)
    norms = np.exp(generator.normal(0, sd, 4)[conditions] + generator.normal(0, sd / 2, 12))
    found = estimate_threshold(norms, conditions, 0.95)
    smaller = min(found.p_below, found.p_above)
    parts = variance_components(np.log(norms), conditions)
    if found.p_below < 0.5:
        assert total_variance_upper(parts, 1 - smaller) == pytest.approx(math.log1p(0.08**2), rel=1e-4)
    else:
        assert smaller == pytest.approx(p_above(parts), rel=1e-3)
    assert (found.p_below < 0.05) == (found.cv_upper < 0.08)
    assert found.p_below + found.p_above == pytest.approx(1)


def p_above(parts):
    """The larger of the tail whose bound meets 8 %, if there is one, and the generalised p, integrated."""
    claimed, df = math.log1p(0.08**2), (parts.groups - 1, parts.df_within)
    squares = df[0] * parts.of_means, (1 - 1 / parts.size) * df[1] * parts.within

    def over(tail):
        return total_variance_lower(parts, 1 - tail) - claimed

    def chance(u):
        return stats.chi2.pdf(u, df[1]) * stats.chi2.sf(squares[0] / (claimed - squares[1] / u), df[0])

    bound = optimize.brentq(over, 1e-12, 0.5) if over(1e-12) < 0 else 0.0
    return max(bound, integrate.quad(chance, squares[1] / claimed * (1 + 1e-12), 200)[0])


def test_a_spread_of_about_eight_percent_speaks_for_neither_side():
    """Where the claim lies between the bounds of a tail of one half, no smaller one meets it."""
    logs = np.random.default_rng(2).normal(0, 0.1, (4, 1)) + np.random.default_rng(3).normal(0, 0.1, (4, 3))
    conditions = np.repeat(np.arange(4), 3)
    total = variance_components(logs.ravel(), conditions).total
    found = estimate_threshold(np.exp(logs.ravel() * math.sqrt(math.log1p(0.08**2) / total)), conditions, 0.95)
    assert found.cv.estimate == pytest.approx(0.08)
    assert (found.p_below, found.p_above) == (0.5, 0.5)


def test_one_run_of_a_condition_does_not_refute_a_small_spread():
    norms = np.exp(np.random.default_rng(0).normal(0, 0.02, 12))
    condition = np.repeat(np.arange(4), 3)
    alone = estimate_threshold(np.append(norms, 3.0), np.append(condition, 4), 0.95)
    several = estimate_threshold(np.append(norms, [3.0, 3.1, 2.9]), np.append(condition, [4, 4, 4]), 0.95)
    assert alone.cv.estimate > 0.4
    assert alone.p_above > 0.5
    assert several.p_above < 0.001


def test_one_run_of_a_condition_does_not_stand_in_the_way_of_the_others():
    """Conditions that refute the claim by themselves do so beside a single run, and p is the larger of both ways."""
    condition = np.append(np.repeat(np.arange(4), 3), 4)
    logs = np.random.default_rng(0).normal(0, 0.17, 13)
    logs[12] = logs[:12].mean() + 0.5
    found = estimate_threshold(np.exp(logs), condition, 0.95).p_above
    ways = [p_above(variance_components(logs[kept], condition[kept])) for kept in (condition < 5, condition < 4)]
    assert found == pytest.approx(max(ways), rel=2e-3)
    assert ways[0] < ways[1] < 0.05


def test_far_out_in_the_tail_few_runs_are_not_too_sure():
    """Three conditions with two seeds: the bound of Graybill and Wang stays above 8 %, however small its tail."""
    condition = np.repeat(np.arange(3), 2)
    logs = np.random.default_rng(0).normal(0, 0.4, 6)
    parts = variance_components(logs, condition)
    found = estimate_threshold(np.exp(logs), condition, 0.95).p_above
    assert total_variance_lower(parts, 1 - 1e-12) > math.log1p(0.08**2)
    assert found == pytest.approx(p_above(parts), rel=2e-3)
    assert found > 1e-4


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95, 0.99])
def test_the_lower_bound_of_the_spread_is_where_its_test_just_refutes(level):
    """One condition: (n - 1) s^2 over the chi-square quantile at the level."""
    logs = np.random.default_rng(3).normal(0, 0.2, 8)
    found = estimate_threshold(np.exp(logs), np.zeros(8, dtype=np.int64), level)
    variance = 7 * logs.var(ddof=1) / stats.chi2.ppf(level, 7)
    assert found.cv_lower == pytest.approx(math.sqrt(math.expm1(variance)))
    assert (found.cv_lower > 0.08) == (found.p_above < 1 - level)
