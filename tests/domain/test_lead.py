import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ncdiag.domain.lead import (
    concordance,
    fold_directions,
    fold_levels,
    folds_of_known,
    judge_alarm,
    match_leads,
    mean_leads,
    median_forecast,
)


def folds_of(units):
    return folds_of_known(np.asarray(units), np.ones(len(units), dtype=bool))


def test_leads_at_the_mean_cancel():
    """Linear ln fn with slope -.01: the leads are (mean of the others - own) / -.01, and sum to 0 exactly."""
    logs, onset = np.array([0.1, 0.12, 0.05, 0.2]), np.array([100.0, 120, 90, 130])
    folds = folds_of(range(4))
    levels = fold_levels(logs, np.arange(4), folds)
    reached = onset[:, None] - (levels[None, :] - logs[:, None]) / 0.01
    leads = onset - judge_alarm(onset, reached, folds, median_forecast(onset, folds)).epoch
    assert leads == pytest.approx([2.3333, -0.3333, 9, -11], abs=1e-4)
    assert leads.mean() == pytest.approx(0, abs=1e-9)
    assert (logs - levels).sum() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("n", [2, 3, 60, 61])
def test_the_guess_is_the_median_of_the_others(n):
    onset = np.random.default_rng(n).normal(100, 20, n)
    folds = folds_of(range(n))
    expected = [np.median(onset[folds != fold]) for fold in folds]
    assert median_forecast(onset, folds) == pytest.approx(expected)


def test_units_are_folds_of_their_own_up_to_twenty():
    assert sorted(folds_of(range(20)).tolist()) == list(range(20))
    folds = folds_of(np.repeat(np.arange(50), 3))
    assert folds.max() == 9
    assert len(np.unique(folds[:3])) == 1


def test_runs_without_an_onset_leave_out_their_own_condition_or_nothing():
    units, known = np.array([4, 4, 7, 9, 9, 2]), np.array([True, True, True, True, False, False])
    assert folds_of_known(units, known).tolist() == [0, 0, 1, 2, 2, 3]


def test_conditions_weigh_the_same_in_a_level():
    levels = fold_levels(np.array([0.0, 0, 0, 3, 9]), np.array([0, 0, 0, 1, 2]), np.array([0, 0, 0, 1, 2]))
    assert levels == pytest.approx([6, 4.5, 1.5])


@given(st.integers(0, 500))
def test_levels_directions_and_leads_are_what_a_loop_over_folds_finds(seed):
    rng = np.random.default_rng(seed)
    n, offsets = int(rng.integers(3, 9)), 4
    condition = rng.integers(0, 3, n)
    folds = np.unique(rng.integers(0, n, n), return_inverse=True)[1]
    logs = np.where(rng.random(n) < 0.2, np.nan, rng.integers(-2, 3, n).astype(float))
    falls = rng.integers(-1, 2, n).astype(float)
    onset = np.where(rng.random(n) < 0.2, np.nan, rng.integers(10, 60, n).astype(float))
    count = int(folds.max()) + 1
    reached = np.where(rng.random((n, count, offsets)) < 0.4, np.nan, rng.integers(0, 60, (n, count, offsets)))
    levels, directions, leads = fold_levels(logs, condition, folds), fold_directions(falls, folds), []
    for fold in range(count):
        outside = [i for i in range(n) if folds[i] != fold]
        means = [
            np.mean([logs[i] for i in outside if condition[i] == c and not math.isnan(logs[i])])
            for c in sorted({condition[i] for i in outside if not math.isnan(logs[i])})
        ]
        assert levels[fold] == pytest.approx(np.mean(means) if means else math.nan, nan_ok=True)
        assert directions[fold] == (1 if sum(falls[i] for i in outside) >= 0 else -1)
        row = []
        for place in range(offsets):
            values = [onset[i] - reached[i, fold, place] for i in outside]
            heard = [value for value in values if not math.isnan(value)]
            of = sum(not math.isnan(onset[i]) for i in outside)
            row.append(np.mean(heard) if heard and 2 * len(heard) >= of else math.nan)
        leads.append(row)
    assert mean_leads(onset, reached, folds) == pytest.approx(np.array(leads), nan_ok=True)


def test_the_forecast_is_the_alarm_and_the_lag_of_the_others():
    onset = np.array([10.0, 20, 30, 40, np.nan])
    folds = folds_of_known(np.arange(5), np.isfinite(onset))
    reached = np.tile(np.array([5.0, 14, 23, np.nan, 100])[:, None], (1, 5))
    alarm = judge_alarm(onset, reached, folds, median_forecast(onset, folds))
    assert alarm.forecast[:3] == pytest.approx([5 + 6.5, 14 + 6, 23 + 5.5])
    assert alarm.forecast[3] == 20  # no alarm: the median onset of the others
    assert alarm.forecast[4] == 100 + 6  # no onset: it teaches nothing, and is forecast from all the others
    assert alarm.silent.tolist() == [False, False, False, True, False]
    assert median_forecast(onset, folds) == pytest.approx([30, 30, 20, 20, 25])


def test_a_perfect_alarm_has_no_error_and_a_constant_lag():
    onset = np.array([10.0, 25, 30, 47])
    folds = folds_of(range(4))
    alarm = judge_alarm(onset, np.tile((onset - 4)[:, None], (1, 4)), folds, median_forecast(onset, folds))
    assert alarm.forecast == pytest.approx(onset)


def test_an_observable_is_taken_at_the_level_with_the_wanted_lead():
    leads = np.array([[0.0, 10, 20, np.nan], [0, 10, 10, 30]])
    assert match_leads(leads, np.array([12.0, 9.0])).tolist() == [1, 1]
    assert match_leads(leads, np.array([15.0, 20.0])).tolist() == [1, 1]  # equally near: the first
    assert match_leads(np.full((2, 3), np.nan), np.zeros(2)) is None


def test_concordance_by_hand():
    """Onsets 10, 20, 30, and a run watched until 25 without one: 5 pairs have a known order."""
    onset, end = np.array([10.0, 20, 30, np.nan]), np.array([np.nan, np.nan, np.nan, 25])
    assert concordance(np.array([1.0, 2, 3, 4]), onset, end) == (1.0, 5)
    assert concordance(np.array([4.0, 3, 2, 1]), onset, end) == (0.0, 5)
    assert concordance(np.full(4, np.nan), onset, end) == (0.5, 5)
    share, pairs = concordance(np.array([np.nan]), np.array([3.0]), np.array([np.nan]))
    assert (math.isnan(share), pairs) == (True, 0)


@given(st.integers(0, 300))
def test_concordance_is_what_counting_pairs_gives(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 9))
    time, open_ended = rng.integers(1, 5, n).astype(float), rng.random(n) < 0.4
    reading = np.where(rng.random(n) < 0.2, np.nan, rng.integers(0, 4, n).astype(float))
    score, pairs = 0.0, 0
    for i, j in [pair for both in combinations(range(n), 2) for pair in (both, both[::-1])]:
        if not open_ended[i] and (time[i] < time[j] or (time[i] == time[j] and open_ended[j])):
            a, b = (math.inf if math.isnan(reading[k]) else reading[k] for k in (i, j))
            score, pairs = score + (a < b) + 0.5 * (a == b), pairs + 1
    found = concordance(reading, np.where(open_ended, np.nan, time), np.where(open_ended, time, np.nan))
    assert found[1] == pairs
    assert found[0] == pytest.approx(score / pairs if pairs else math.nan, nan_ok=True)
