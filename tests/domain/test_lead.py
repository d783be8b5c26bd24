import numpy as np
import pytest

from ncdiag.domain.lead import fold_levels, judge_alarm, make_folds, match_lead, mean_leads, median_forecast


def test_leads_at_the_mean_cancel():
    """Linear ln fn with slope -.01: the leads are (mean of the others - own) / -.01, and sum to 0 exactly."""
    logs, onset = np.array([0.1, 0.12, 0.05, 0.2]), np.array([100.0, 120, 90, 130])
    folds = make_folds(np.arange(4))
    levels = fold_levels(logs, np.arange(4), folds)
    reached = onset[:, None] - (levels[None, :] - logs[:, None]) / 0.01
    leads = onset - judge_alarm(onset, reached, folds).epoch
    assert leads == pytest.approx([2.3333, -0.3333, 9, -11], abs=1e-4)
    assert leads.mean() == pytest.approx(0, abs=1e-9)
    assert (logs - levels).sum() == pytest.approx(0, abs=1e-12)


def test_many_units_share_folds():
    folds = make_folds(np.repeat(np.arange(50), 3))
    assert folds.max() == 19
    assert len(np.unique(folds[:3])) == 1


def test_conditions_weigh_the_same_in_a_level():
    levels = fold_levels(np.array([0.0, 0, 0, 3, 9]), np.array([0, 0, 0, 1, 2]), np.array([0, 0, 0, 1, 2]))
    assert levels == pytest.approx([6, 4.5, 1.5])


def test_the_forecast_is_the_alarm_and_the_lag_of_the_others():
    onset = np.array([10.0, 20, 30, 40])
    folds = make_folds(np.arange(4))
    reached = np.tile((onset - np.array([5, 6, 7, np.nan]))[:, None], (1, 4))
    alarm = judge_alarm(onset, reached, folds)
    assert alarm.forecast[:3] == pytest.approx([5 + 6.5, 14 + 6, 23 + 5.5])
    assert alarm.forecast[3] == 20  # no alarm: the median onset of the others
    assert alarm.silent.tolist() == [False, False, False, True]
    assert median_forecast(onset, folds) == pytest.approx([30, 30, 20, 20])


def test_a_perfect_alarm_has_no_error_and_a_constant_lag():
    onset = np.array([10.0, 25, 30, 47])
    folds = make_folds(np.arange(4))
    assert judge_alarm(onset, np.tile((onset - 4)[:, None], (1, 4)), folds).forecast == pytest.approx(onset)


def test_an_observable_is_taken_at_the_level_with_the_wanted_lead():
    onset = np.array([50.0, 60, 70])
    folds = make_folds(np.arange(3))
    leads = np.array([0.0, 10, 20, np.nan])  # the last level is never reached
    reached = np.tile(onset[:, None, None] - leads, (1, 3, 1))
    assert mean_leads(onset, reached, folds)[0, :3].tolist() == [0, 10, 20]
    matched = match_lead(onset, reached, folds, np.full(3, 12.0))
    assert matched.epoch == pytest.approx(onset - 10)
    assert match_lead(onset, np.full((3, 3, 2), np.nan), folds, np.zeros(3)) is None
