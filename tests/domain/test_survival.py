"""Published answers: Freireich's 6-MP trial (R survdiff 16.8, medians 23 and 8); cases 25, 26 and 28."""

import math

import numpy as np
import pytest
from scipy import stats

from ncdiag.domain.survival import (
    kaplan_meier,
    logrank_p,
    logrank_scores,
    median_interval,
    median_time,
    restricted_mean,
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
    assert scores[placebo].sum() ** 2 / variance == pytest.approx(16.792941, abs=1e-6)
    assert logrank_p(time, event, placebo, np.random.default_rng(0)) == pytest.approx(1 / 10000)


def test_three_against_three_reach_a_tenth_and_no_less():
    """scipy's logrank gives .0246 for the same runs, which is no p of six runs."""
    time = np.array([90.0, 100, 120, 200, 200, 200])
    event = np.arange(6) < 3
    p = logrank_p(time, event, ~event, np.random.default_rng(0))
    assert p == pytest.approx(0.1)


@pytest.mark.parametrize(("n", "confidence"), [(3, 0.75), (5, 0.9375), (6, 0.96875), (4, 0.875)])
def test_the_interval_of_the_median_says_how_sure_it_is(n, confidence):
    found, actual = median_interval(np.arange(1.0, n + 1), 0.95)
    assert (found.lo, found.hi) == (1, n)
    assert actual == pytest.approx(confidence)


def test_the_interval_of_the_median_agrees_with_the_quantile_test():
    values = np.random.default_rng(2).exponential(size=30)
    values[:3] = math.inf
    found, actual = median_interval(values, 0.95)
    ordered = np.sort(values)
    ranks = [int(np.flatnonzero(ordered == limit)[0]) for limit in (found.lo, found.hi)]
    assert actual == pytest.approx(sum(math.comb(30, k) for k in range(ranks[0] + 1, ranks[1] + 1)) / 2**30)
    expected = stats.quantile_test(values, p=0.5).confidence_interval(0.95)
    assert found.lo == expected.low
    assert found.hi == expected.high


def test_the_median_of_few_runs():
    assert median_interval(np.array([7.0]), 0.95)[0].estimate == 7
    assert math.isnan(median_interval(np.array([7.0]), 0.95)[0].lo)
    assert median_interval(np.array([7.0, math.inf, math.inf, 8.0]), 0.95)[0].estimate == math.inf
