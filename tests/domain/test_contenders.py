import math

import numpy as np
import pytest
from forecast_worlds import EPS, course, curve, exponential, landmark, world

from ncdiag.domain.contenders import contend, describe, is_of_norm
from ncdiag.domain.course import Course
from ncdiag.domain.landmark import CalibrationRun

RATES = (40.0, 55.0, 63.0, 78.0, 90.0)
ALIVE = ("trend", "trend_phase", "trend_robust", "fn", "fn+25%", "nc1 level", "feature_norm level")


@pytest.mark.parametrize("rule", ALIVE)
@pytest.mark.parametrize("now", [140, 170])
def test_a_world_without_noise_is_forecast_exactly(rule, now):
    found = contend(landmark([exponential(rate) for rate in RATES], now, target=exponential(70).course))[rule]
    assert math.exp(found[-1, -1]) == pytest.approx(70 * math.log(100), rel=1e-3)
    assert np.exp(found[-1, :-1]) == pytest.approx(np.array(RATES)[-len(found[-1]) + 1 :] * math.log(100), rel=1e-3)


def naive_level(runs, target, now, name):
    """The alarm at the level where the target is, by loops over evaluations."""

    def levels(run, until):
        epoch, log = run.curves[name].epoch, run.curves[name].log
        epoch, log = epoch[epoch <= until], log[epoch <= until]
        ends = []
        for row in range(len(epoch)):
            rows = slice(max(row - 9, 0), row + 1)
            fit = np.polyfit(epoch[rows], log[rows], 1) if row > 1 else [0, log[row]]
            ends.append(np.polyval(fit, epoch[row]))
        return epoch, ends

    epoch, ends = levels(target, now)
    wanted, logs = ends[-1], []
    for run in runs:
        there, past = None, None
        for at, level in zip(*levels(run.course, run.onset + 50), strict=True):
            if past is not None and level >= past[1]:
                continue
            if level <= wanted:
                there = at if past is None else past[0] + (at - past[0]) * (past[1] - wanted) / (past[1] - level)
                break
            past = (at, level)
        there = run.onset if there is None else min(there, run.onset)
        logs.append(math.log(run.onset / there))
    return max(epoch[-1] * math.exp(np.mean(logs)), now)


@pytest.mark.parametrize("name", ["nc1", "feature_norm"])
def test_the_alarm_at_the_present_level_equals_a_naive_loop_left_one_condition_out(name):
    conditions = [0, 0, 1, 1, 2, 2, 3]
    runs = world(np.random.default_rng(3), "nc1", conditions)
    found = contend(landmark(runs, 120.0, units=conditions))[f"{name} level"]
    asked = [run for run in runs if run.onset > 120]
    for place, run in enumerate(asked):
        others = [other for other in runs if other.condition != run.condition]
        assert max(math.exp(found[-1, place]), 120) == pytest.approx(naive_level(others, run.course, 120, name))


@pytest.mark.parametrize("kind", ["nc1", "fn"])
def test_every_rule_learns_nothing_from_what_is_left_out(kind):
    """Without two conditions, a forecast is that of a landmark that never knew them."""
    conditions = [0, 0, 1, 1, 2, 2, 3, 3, 4, 5, 6]
    runs = world(np.random.default_rng(4), kind, conditions)
    now = 110.0
    full = contend(landmark(runs, now, units=conditions))
    asked = [run for run in runs if run.onset > now]
    for place, run in enumerate(asked):
        for without in {*conditions, 7} - {run.condition}:
            known = [other for other in runs if other.condition not in (run.condition, without)]
            alone = contend(landmark(known, now, units=[other.condition for other in known], target=run.course))
            for rule, logs in full.items():
                assert logs[without, place] == pytest.approx(alone[rule][-1, -1], nan_ok=True), rule


def test_the_median_is_that_of_the_runs_still_at_risk():
    runs, onsets = [exponential(rate) for rate in RATES], np.array(RATES) * math.log(100)
    early, late = (contend(landmark(runs, now, target=exponential(80).course))["median"] for now in (100, 260))
    assert math.exp(early[-1, -1]) == pytest.approx(np.median(onsets))
    assert math.exp(late[-1, -1]) == pytest.approx(np.median(onsets[2:]))
    assert np.exp(early[-1, :-1]) == pytest.approx([np.median(np.delete(onsets, i)) for i in range(5)])


def test_a_trend_that_leads_nowhere_is_silent():
    t = np.arange(1, 601.0)
    flat = course(t, nc1=np.full(600, 0.5), feature_norm=np.full(600, 9.0))
    found = contend(landmark([exponential(rate) for rate in RATES], 100.0, target=flat))
    assert all(math.isnan(found[rule][-1, -1]) for rule in ("trend", "trend_phase", "trend_robust", "fn"))
    assert math.isfinite(found["median"][-1, -1])


def test_a_run_that_never_came_so_far_says_now():
    """The target is lower than any other run ever was, so by its level it should have collapsed already."""
    lower = course(np.arange(1, 101.0), nc1=np.full(100, EPS / 50))
    found = contend(landmark([exponential(rate) for rate in RATES], 100.0, target=lower))["nc1 level"]
    assert math.exp(found[-1, -1]) == pytest.approx(100, rel=0.05)


def test_a_level_that_runs_had_before_any_training_says_nothing_of_when():
    """At epoch 10 the target is above where those runs began, which no time is a multiple of, and one run was later."""
    t = np.arange(0, 601.0)
    began_lower = [exponential(rate, epoch=t) for rate in (40.0, 55.0, 63.0)]
    onset = 50 * math.log(4 / EPS)
    began_higher = CalibrationRun(course=course(t, nc1=4 * np.exp(-t / 50)), condition=0, onset=onset, feature_norm=1.0)
    target = course(t, nc1=2 * np.exp(-t / 70))
    silent, told = (
        contend(landmark(runs, 10.0, target=target))["nc1 level"][-1, -1]
        for runs in (began_lower, [*began_lower, began_higher])
    )
    assert math.isnan(silent)
    there = 50 * (math.log(4) - math.log(2) + 10 / 70)
    assert math.exp(told) == pytest.approx(10 * onset / there, rel=1e-3)


def test_time_since_the_switch_and_since_learning():
    t = np.arange(1, 401.0)

    def run(switch, learned):
        curves = {
            "nc1": curve(t, np.full(400, 0.1), t == switch),
            "train_accuracy": curve(t, np.where(t >= learned, 1.0, 0.9)),
        }
        return Course(curves=curves)

    runs = [
        CalibrationRun(course=run(50 * k, 20 * k), condition=k, onset=200.0 * k, feature_norm=math.nan) for k in (1, 2)
    ]
    found = contend(landmark(runs, 150.0, target=run(75, 30)))
    assert math.exp(found["phase"][-1, -1]) == pytest.approx(4 * 75)
    assert math.exp(found["learned"][-1, -1]) == pytest.approx(10 * 30)


def test_an_observable_goes_the_way_that_the_other_runs_went():
    t = np.arange(1, 601.0)
    runs = [
        CalibrationRun(
            course=course(t, weight_norm=np.exp(t / rate)), condition=0, onset=rate * 4, feature_norm=math.nan
        )
        for rate in RATES
    ]
    target = course(t[:100], weight_norm=np.exp(t[:100] / 70))
    found = contend(landmark(runs, 100.0, target=target))["weight_norm level"]
    assert math.exp(found[-1, -1]) == pytest.approx(280, rel=1e-3)


def test_level_and_trend_are_a_ridge_regression_with_a_late_trend_cut_off():
    """Lines of ln NC1, so that the level is the last value and the trend the line, 200 to 260 epochs into training."""
    rng = np.random.default_rng(0)
    t, now = np.arange(1, 601.0), 200.0
    slopes, starts = 0.01 + 0.01 * rng.random(9), -1 - rng.random(9)
    courses = [course(t, nc1=np.exp(a - b * t)) for a, b in zip(starts, slopes, strict=True)]
    reached = (starts - math.log(EPS)) / slopes
    onsets = np.maximum(reached, now + 1) * np.exp(0.1 * rng.random(9))
    runs = [
        CalibrationRun(course=each, condition=0, onset=onset, feature_norm=math.nan)
        for each, onset in zip(courses[:8], onsets[:8].tolist(), strict=True)
    ]
    found = contend(landmark(runs, now, target=courses[8]))["level_trend"][-1, -1]
    x = np.column_stack((starts - slopes * now, np.log(np.clip(reached / now, 1, 1.5))))
    centre, scale, y = x[:8].mean(axis=0), x[:8].std(axis=0), np.log(onsets[:8])
    z = np.vstack([(x[:8] - centre) / scale, math.sqrt(0.3 * 8) * np.eye(2)])
    b = np.linalg.lstsq(z, np.concatenate([y - y.mean(), np.zeros(2)]), rcond=None)[0]
    assert found == pytest.approx(y.mean() + (x[8] - centre) / scale @ b)
    assert (reached[:8] > 1.5 * now).any()
    assert (reached[:8] < 1.5 * now).any()


def test_regression_is_ridge():
    rng = np.random.default_rng(0)
    levels = rng.normal(size=(9, 2))
    t = np.arange(1, 11.0)
    onsets = np.exp(5.5 + 0.2 * levels[:, 0] + 0.1 * rng.normal(size=9))
    courses = [course(t, nc1=np.full(10, math.exp(a)), nc3=np.full(10, math.exp(b))) for a, b in levels]
    runs = [
        CalibrationRun(course=each, condition=0, onset=onset, feature_norm=math.nan)
        for each, onset in zip(courses[:8], onsets[:8], strict=True)
    ]
    found = contend(landmark(runs, 10.0, target=courses[8]))["regression"][-1, -1]
    x, y = levels[:8], np.log(onsets[:8])
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    b = np.linalg.lstsq(
        np.vstack([z, math.sqrt(8) * np.eye(2)]), np.concatenate([y - y.mean(), np.zeros(2)]), rcond=None
    )[0]
    assert found == pytest.approx(y.mean() + (levels[8] - x.mean(axis=0)) / x.std(axis=0) @ b)


def test_rules_have_words():
    assert describe("nc1 level") == "how far nc1 has come"
    assert describe("fn+25%") == "fall of the feature norm to 25% above fn*"
    assert [is_of_norm(rule) for rule in ("fn", "fn+5%", "feature_norm level", "regression")] == [True] * 4
    assert not is_of_norm("nc1 level")
    assert not is_of_norm("regression_without_fn")
