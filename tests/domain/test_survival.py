"""Published answers: Freireich's 6-MP trial (R survdiff 16.8, medians 23 and 8); cases 25, 26 and 28."""

import math

import numpy as np
import pytest
from scipy import stats

from ncdiag.domain.survival import (
    kaplan_meier,
    logrank_of_groups,
    logrank_p,
    logrank_scores,
    median_interval,
    median_time,
    restricted_mean,
    weights_to_the_right,
)

TREATED = np.array([6, 6, 6, 7, 10, 13, 16, 22, 23, 6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35], dtype=float)
RELAPSED = np.arange(21) < 9
PLACEBO = np.array([1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23], dtype=float)
EVERY = np.ones(21, dtype=bool)


def test_the_medians_of_the_trial():
    assert median_time(TREATED, RELAPSED) == 23
    assert median_time(PLACEBO, EVERY) == 8


def test_kaplan_meier_agrees_with_scipy():
    expected = stats.ecdf(stats.CensoredData.right_censored(TREATED, ~RELAPSED)).sf
    epochs, surviving = kaplan_meier(TREATED, RELAPSED)
    at = np.isin(expected.quantiles, epochs)
    assert surviving == pytest.approx(expected.probabilities[at])


def test_the_weights_of_runs_are_the_steps_of_the_curve():
    """And what those keep that outlasted the last onset, one week in the trial, is its end."""
    weights = weights_to_the_right(TREATED, RELAPSED, np.ones(21))
    epochs, surviving = kaplan_meier(TREATED, RELAPSED)
    steps = [weights[RELAPSED & (epoch == TREATED)].sum() for epoch in epochs]
    assert steps == pytest.approx(-21 * np.diff(surviving, prepend=1.0))
    lasted = ~RELAPSED & (epochs[-1] < TREATED)
    assert weights[lasted] == pytest.approx(21 * surviving[-1] / lasted.sum())
    assert not weights[~RELAPSED & ~lasted].any()


def test_weights_go_to_the_right_in_proportion():
    found = weights_to_the_right(np.array([3.0, 1, 2, 2]), np.array([True, False, True, False]), np.arange(1.0, 5))
    assert found == pytest.approx([(1 + 4) * 10 / 8, 0, 3 * 10 / 8, 0])


def test_uncensored_onsets_fall_by_steps():
    epochs, surviving = kaplan_meier(np.arange(1.0, 6.0), np.ones(5, dtype=bool))
    assert surviving == pytest.approx([0.8, 0.6, 0.4, 0.2, 0])
    assert median_time(epochs, np.ones(5, dtype=bool)) == 3


def test_without_an_onset_nothing_falls():
    never = np.zeros(3, dtype=bool)
    assert median_time(np.full(3, 100.0), never) == math.inf
    assert math.isnan(logrank_p(np.full(3, 100.0), never, np.array([False, True, True]), np.random.default_rng(0)))


def test_a_run_without_onset_counts_with_its_budget():
    assert restricted_mean(np.array([50, 100, math.inf]), 200) == pytest.approx(350 / 3)


def test_the_logrank_statistic_of_the_trial():
    """chi2 = 16.792941: the numerator is the sum of the scores, the variance is that of scipy and R."""
    time, event = np.concatenate([TREATED, PLACEBO]), np.concatenate([RELAPSED, EVERY])
    scores = logrank_scores(time, event)
    placebo = np.arange(42) >= 21
    variance = 0.0
    for epoch in np.unique(time[event]):
        n, n1 = np.sum(time >= epoch), np.sum((time >= epoch) & placebo)
        d = np.sum(event & (time == epoch))
        variance += d * n1 / n * (1 - n1 / n) * (n - d) / (n - 1)
    assert scores.sum() == pytest.approx(0, abs=1e-12)
    chi2 = scores[placebo].sum() ** 2 / variance
    assert chi2 == pytest.approx(16.792941, abs=1e-6)
    assert stats.chi2.sf(chi2, 1) == pytest.approx(4.16881e-5, rel=1e-5)
    assert logrank_p(time, event, placebo, np.random.default_rng(0)) == pytest.approx(1 / 10000)


def test_three_against_three_reach_a_tenth_and_no_less():
    """scipy's logrank gives .0246 for the same runs, which is no p of six runs."""
    time = np.array([90.0, 100, 120, 200, 200, 200])
    event = np.arange(6) < 3
    p = logrank_p(time, event, ~event, np.random.default_rng(0))
    assert p == pytest.approx(0.1)


@pytest.mark.parametrize(("n", "confidence"), [(3, 0.75), (5, 0.9375), (6, 0.96875), (4, 0.875)])
def test_the_interval_of_the_median_says_how_sure_it_is(n, confidence):
    found, actual = median_interval(np.arange(1.0, n + 1), np.ones(n, dtype=bool), 0.95)
    assert (found.lo, found.hi) == (1, n)
    assert actual == pytest.approx(confidence)


def test_the_interval_of_the_median_agrees_with_the_quantile_test():
    """Where all budgets are alike, ends come after onsets, and the order statistics are those of whole samples."""
    values = np.random.default_rng(2).exponential(size=30)
    event = np.arange(30) > 2
    found, actual = median_interval(np.where(event, values, 10.0), event, 0.95)
    never = np.where(event, values, math.inf)
    ordered = np.sort(never)
    ranks = [int(np.flatnonzero(ordered == limit)[0]) for limit in (found.lo, found.hi)]
    assert actual == pytest.approx(sum(math.comb(30, k) for k in range(ranks[0] + 1, ranks[1] + 1)) / 2**30)
    expected = stats.quantile_test(never, p=0.5).confidence_interval(0.95)
    assert found.lo == expected.low
    assert found.hi == expected.high


def test_the_interval_of_the_trials_medians():
    """Between the sixth and the sixteenth of 21; of those given the drug, ends count as they are, and as never."""
    found, level = median_interval(TREATED, RELAPSED, 0.95)
    assert (found.estimate, found.lo) == (23, np.sort(TREATED)[5])
    assert found.hi == np.sort(np.where(RELAPSED, TREATED, math.inf))[15] == math.inf
    assert 0.95 <= level < 0.98
    found, level = median_interval(PLACEBO, EVERY, 0.95)
    assert (found.estimate, found.lo, found.hi) == (8, 4, 12)


def test_the_interval_holds_what_it_says_whenever_runs_ended():
    """Of 12 runs half ended before the median: the interval of the Kaplan-Meier curve would hold in .87."""
    rng, inside = np.random.default_rng(1), []
    for _ in range(600):
        onset, end = np.exp(0.3 * rng.normal(size=12)), 0.72 * np.exp(0.3 * rng.normal(size=12))
        found, _ = median_interval(np.minimum(onset, end), onset <= end, 0.95)
        inside.append(found.lo <= 1 <= found.hi)
    assert np.mean(inside) >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / 600)


def test_a_run_that_ended_early_widens_the_interval_and_does_not_hide_the_others():
    """It may have collapsed at any epoch after its end: nothing is said of it that is not known."""
    time, event = np.array([50.0, 80, 90, 100, 120]), np.array([False, True, True, True, True])
    found, level = median_interval(time, event, 0.95)
    assert (found.estimate, found.lo, found.hi) == (95, 50, math.inf)
    assert level == 0.9375
    never, _ = median_interval(np.full(5, 400.0), np.zeros(5, dtype=bool), 0.95)
    assert (never.estimate, never.lo, never.hi) == (math.inf, 400, math.inf)


def test_the_median_of_few_runs():
    one, none = np.array([True]), np.array([False])
    assert median_interval(np.array([7.0]), one, 0.95)[0].estimate == 7
    assert median_interval(np.array([7.0]), none, 0.95)[0].estimate == math.inf
    assert math.isnan(median_interval(np.array([7.0]), one, 0.95)[0].lo)
    assert median_time(np.array([7.0, 8, 10, 20]), np.ones(4, dtype=bool)) == 9
    assert median_time(np.array([7.0, 8, 20, 20]), np.array([True, True, False, False])) == 8  # as in R


def test_two_groups_by_the_test_of_several_are_those_of_the_test_of_two():
    time = np.array([5.0, 8, 12, 20, 20, 9, 15, 20, 20, 20])
    event = time < 20
    second = np.arange(10) > 4
    both = [f(time, event, second.astype(int), np.random.default_rng(0)) for f in (logrank_p, logrank_of_groups)]
    assert both[0] == both[1]


def test_all_of_one_group_and_one_of_the_other():
    """6 of 6 against 1 of 6: of the 924 ways to deal twelve runs, only this one and its mirror are as far apart."""
    time = np.array([*np.arange(50.0, 56.0), 70.0, *[100.0] * 5])
    p = logrank_of_groups(time, time < 100, np.repeat([0, 1], 6), np.random.default_rng(0))
    assert p == pytest.approx(2 / math.comb(12, 6))


def test_beyond_200_runs_it_agrees_with_the_logrank_test():
    """The chi-square beyond 200 runs is near scipy's of two groups, squared, where sizes are equal."""
    rng = np.random.default_rng(4)
    time = np.minimum(rng.exponential(np.repeat([30.0, 40.0], 150)), 60.0)
    event = time < 60
    p = logrank_of_groups(time, event, np.repeat([0, 1], 150), rng)
    first, second = (
        stats.CensoredData.right_censored(time[half], ~event[half]) for half in (slice(150), slice(150, None))
    )
    assert p == pytest.approx(stats.logrank(first, second).pvalue, rel=0.1)


def test_a_run_that_stands_alone_takes_no_part():
    time, group = np.array([9.0, 30.0, 35.0, 40.0, 50.0, 52.0, 54.0]), np.array([2, 0, 0, 0, 1, 1, 1])
    event = time < 54
    every = [logrank_of_groups(time[n:], event[n:], group[n:], np.random.default_rng(0)) for n in (0, 1)]
    assert every[0] == every[1] == pytest.approx(0.1)  # 3 against 3: 2 of 20 ways


@pytest.mark.parametrize(
    ("time", "event", "group"),
    [
        ([1.0, 2.0, 3.0], [True] * 3, [0, 0, 0]),
        ([1.0, 2.0, 3.0], [True] * 3, [0, 1, 2]),
        ([5.0, 6.0, 9.0], [True] * 3, [0, 0, 1]),
        ([5.0] * 4, [False] * 4, [0, 0, 1, 1]),
        ([5.0] * 4, [True] * 4, [0, 0, 1, 1]),
    ],
)
def test_several_groups_without_a_test_have_no_p(time, event, group):
    found = logrank_of_groups(np.array(time), np.array(event), np.array(group), np.random.default_rng(0))
    assert math.isnan(found)
