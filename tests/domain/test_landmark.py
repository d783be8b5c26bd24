import numpy as np
import pytest
from forecast_worlds import EMPTY, landmark

from ncdiag.domain.landmark import CalibrationRun, folds_of_all, median_of_known


def runs_at(onsets, conditions=None, norms=None):
    conditions = range(len(onsets)) if conditions is None else conditions
    norms = [1.0] * len(onsets) if norms is None else norms
    return [
        CalibrationRun(course=EMPTY, condition=condition, onset=onset, feature_norm=norm)
        for onset, condition, norm in zip(onsets, conditions, norms, strict=True)
    ]


def test_only_runs_with_an_onset_ahead_are_asked_and_the_target_last():
    found = landmark(runs_at([50, 150, 250]), 100.0, target=EMPTY)
    assert found.at_risk.tolist() == [False, True, True]
    assert found.asked_fold.tolist() == [1, 2, 3]


def test_means_leave_out_the_own_fold_and_another():
    rng = np.random.default_rng(0)
    units = np.array([0, 0, 1, 2, 2, 2, 3])
    found = landmark(runs_at([50.0, 200, 210, 220, 230, 240, 250]), 100.0, units=units, target=EMPTY)
    values = rng.normal(size=(7, 7))
    values[2, 4] = np.nan
    means = found.left_out_means(values)
    own = [*units[1:].tolist(), 4]
    for u in range(5):
        for i in range(7):
            kept = (units != u) & (units != own[i])
            assert means[u, i] == pytest.approx(np.nanmean(values[i, kept]))


def test_medians_leave_out_two_folds_of_the_runs_at_risk():
    onsets = np.array([50.0, 200, 210, 225, 250])
    found = landmark(runs_at(onsets), 100.0)
    medians = found.left_out_medians(onsets[1:])
    for u in range(6):
        for v in range(6):
            kept = (np.arange(5) != u) & (np.arange(5) != v) & (onsets > 100)
            assert medians[u, v] == pytest.approx(np.median(onsets[kept]))


def test_the_threshold_is_learned_without_two_folds_and_by_condition():
    norms, conditions = np.array([1.0, 2.0, 4.0, 8.0]), np.array([0, 0, 1, 2])
    found = landmark(runs_at([200.0] * 4, conditions, norms), 100.0, units=conditions).log_fn_star
    logs = np.log(norms)
    assert found[3, 3] == pytest.approx(np.mean([logs[:2].mean(), logs[2], logs[3]]))
    assert found[0, 3] == found[3, 0] == pytest.approx(logs[2:].mean())
    assert found[1, 2] == pytest.approx(logs[:2].mean())


def test_more_than_twenty_units_share_folds():
    folds = folds_of_all(np.arange(45))
    assert folds.max() == 19
    assert np.bincount(folds).max() == 3


def test_a_median_passes_over_what_is_not_known():
    values = np.array([[1.0, np.nan], [3.0, np.nan], [np.nan, np.nan]])
    assert median_of_known(values) == pytest.approx([2.0, np.nan], nan_ok=True)
    assert np.isnan(median_of_known(np.empty((0, 2)))).all()
