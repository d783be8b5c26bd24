import math

import numpy as np
import pytest

from ncdiag.domain.onset import OnsetRule, Trajectory, find_onset
from ncdiag.domain.predictor import (
    CalibrationRun,
    choose_rule,
    held_out_predictions,
    predict,
    says_something,
    score_rules,
    see_landmark,
)

T = np.arange(1, 601.0)
RATES = (40.0, 55.0, 63.0, 78.0, 90.0)


def smooth_run(rate, *, norm_rate=None, condition=0):
    """NC1 = exp(-t / rate) with onset at rate ln 100, where fn = 100^(-rate / norm_rate)."""
    trajectory = Trajectory(
        epoch=T, metric=np.exp(-T / rate), feature_norm=20 * np.exp(-T / (norm_rate or rate)), phase=np.ones(len(T))
    )
    onset = find_onset(trajectory, OnsetRule())
    return CalibrationRun(
        trajectory=trajectory, condition=condition, onset=onset.epoch, feature_norm=onset.feature_norm
    )


def landmark_of(runs, target, now, **options):
    options = {"eps": 0.01, "by_condition": False, **options}
    return see_landmark(target.trajectory.until(now), runs, now=now, **options)


@pytest.mark.parametrize("rule", ["nc1", "fn"])
@pytest.mark.parametrize("now", [20, 100, 170])
def test_a_world_without_noise_is_forecast_exactly(rule, now):
    target = smooth_run(70)
    landmark = landmark_of([smooth_run(rate) for rate in RATES], target, now)
    assert predict(landmark, rule) == pytest.approx(70 * math.log(100))
    assert held_out_predictions(landmark, rule) == pytest.approx(landmark.onset)


def test_the_norm_rule_learns_how_far_onset_lies_beyond_the_crossing():
    """With fn halved at fn*, the crossing comes earlier by a constant factor, which the ratio makes good."""
    runs = [smooth_run(rate) for rate in RATES]
    raised = [
        CalibrationRun(trajectory=r.trajectory, condition=0, onset=r.onset, feature_norm=2 * r.feature_norm)
        for r in runs
    ]
    assert predict(landmark_of(raised, smooth_run(70), 100), "fn") == pytest.approx(70 * math.log(100))


def test_the_median_is_that_of_the_runs_still_at_risk():
    runs = [smooth_run(rate) for rate in RATES]
    onsets = [rate * math.log(100) for rate in RATES]
    target = smooth_run(80)
    assert predict(landmark_of(runs, target, 100), "median") == pytest.approx(np.median(onsets))
    assert predict(landmark_of(runs, target, 260), "median") == pytest.approx(np.median(onsets[2:]))


def test_held_out_runs_are_forecast_by_the_others_only():
    runs = [smooth_run(rate) for rate in RATES]
    held = held_out_predictions(landmark_of(runs, smooth_run(70), 100), "median")
    onsets = np.array([rate * math.log(100) for rate in RATES])
    assert held == pytest.approx([np.median(np.delete(onsets, i)) for i in range(5)])


def test_held_out_conditions_leave_together():
    runs = [smooth_run(rate, condition=i // 2) for i, rate in enumerate([40, 45, 60, 65, 90, 95])]
    held = held_out_predictions(landmark_of(runs, smooth_run(70, condition=9), 100, by_condition=True), "median")
    onsets = np.array([40, 45, 60, 65, 90, 95]) * math.log(100)
    assert held == pytest.approx([np.median(np.delete(onsets, [i - i % 2, i - i % 2 + 1])) for i in range(6)])


def test_a_held_out_run_does_not_teach_its_own_threshold():
    """Only the first run has an unusual fn*; its own forecast must not know it."""
    runs = [smooth_run(rate, norm_rate=rate) for rate in RATES]
    odd = CalibrationRun(trajectory=runs[0].trajectory, condition=0, onset=runs[0].onset, feature_norm=1e-3)
    plain = held_out_predictions(landmark_of(runs, smooth_run(70), 100), "fn")
    taught = held_out_predictions(landmark_of([odd, *runs[1:]], smooth_run(70), 100), "fn")
    assert taught[0] == pytest.approx(plain[0])
    assert taught[1] != pytest.approx(plain[1])


def test_the_rule_that_errs_least_is_chosen_and_the_simplest_of_equals():
    runs = [smooth_run(rate) for rate in RATES]
    landmark = landmark_of(runs, smooth_run(70), 100)
    scores = score_rules(landmark)
    assert [score.rule for score in scores] == ["median", "nc1", "fn"]
    assert choose_rule(landmark, scores).rule == "nc1"
    same = landmark_of([smooth_run(60) for _ in RATES], smooth_run(60), 100)
    assert choose_rule(same, score_rules(same)).rule == "median"


def test_scores_are_mean_absolute_errors_in_epochs():
    runs = [smooth_run(rate) for rate in (40, 60, 80)]
    score = score_rules(landmark_of(runs, smooth_run(70), 100))[0]
    onsets = np.array([40, 60, 80]) * math.log(100)
    expected = np.abs(onsets - [onsets[[1, 2]].mean(), onsets[[0, 2]].mean(), onsets[[0, 1]].mean()]).mean()
    assert score.mae == pytest.approx(expected)


def test_a_rule_is_silent_about_a_run_whose_curve_does_not_fall():
    flat = Trajectory(epoch=T, metric=np.full(len(T), 0.5), feature_norm=np.full(len(T), 9.0), phase=np.ones(len(T)))
    runs = [smooth_run(rate) for rate in RATES]
    landmark = see_landmark(flat.until(100), runs, now=100, eps=0.01, by_condition=False)
    assert [says_something(landmark, rule) for rule in ("median", "nc1", "fn")] == [True, False, False]
    assert [score.rule for score in score_rules(landmark)] == ["median"]


def test_a_flat_calibration_run_counts_against_the_rule():
    flat = Trajectory(epoch=T, metric=np.full(len(T), 0.5), feature_norm=np.full(len(T), 9.0))
    stuck = CalibrationRun(trajectory=flat, condition=0, onset=300.0, feature_norm=math.nan)
    with_it, without = (
        score_rules(landmark_of([*(smooth_run(rate) for rate in RATES), *more], smooth_run(70), 100))
        for more in ([stuck], [])
    )
    assert with_it[1].mae > without[1].mae + 10


def test_a_forecast_is_never_before_now():
    runs = [smooth_run(rate) for rate in RATES]
    slow = Trajectory(epoch=T, metric=np.exp(-T / 70), feature_norm=np.full(len(T), 1e-3))
    landmark = see_landmark(slow.until(200), runs, now=200, eps=0.01, by_condition=False)
    assert predict(landmark, "fn") >= 200


def test_before_the_first_evaluation_only_the_median_speaks():
    empty = Trajectory(epoch=np.empty(0), metric=np.empty(0))
    landmark = see_landmark(empty, [smooth_run(rate) for rate in RATES], now=0, eps=0.01, by_condition=False)
    assert [score.rule for score in score_rules(landmark)] == ["median"]
    assert predict(landmark, "median") == pytest.approx(63 * math.log(100))
