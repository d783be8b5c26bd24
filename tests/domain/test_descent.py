import math

import numpy as np
import pytest

from ncdiag.domain.descent import see_descent


def seen(values, epoch=None, phase=None):
    values = np.asarray(values, dtype=float)
    epoch = np.arange(len(values), dtype=float) if epoch is None else np.asarray(epoch, dtype=float)
    return see_descent(epoch, values, np.zeros(len(values)) if phase is None else np.asarray(phase, dtype=float))


def test_a_relaxing_norm_crosses_where_the_formula_says():
    t = np.arange(0, 101, 0.1)
    crossed = seen(1 + 3 * np.exp(-t / 50), t).reach(math.log(2))
    assert crossed == pytest.approx(50 * math.log(3), abs=1e-4)
    assert 100 - crossed == pytest.approx(45.069386, abs=1e-4)


def test_units_of_the_features_do_not_move_the_crossing():
    values = 1 + 3 * np.exp(-np.arange(100) / 20)
    assert seen(7 * values).reach(math.log(14)) == pytest.approx(seen(values).reach(math.log(2)))


def test_leads_against_the_mean_of_the_others_sum_to_zero():
    logs = np.array([0.1, 0.12, 0.05, 0.2])
    t = np.arange(121.0)
    curve = seen(np.exp(1 - 0.01 * t))
    others = (logs.sum() - logs) / 3
    leads = [curve.reach(own) - curve.reach(level) for own, level in zip(logs, others, strict=True)]
    assert leads == pytest.approx([2.3333, -0.3333, 9, -11], abs=1e-4)
    assert sum(leads) == pytest.approx(0, abs=1e-9)


def test_a_log_line_is_extrapolated_exactly():
    t = np.arange(10, 101, 10.0)
    assert seen(np.exp(3 - t / 40), t).reach(0.0) == pytest.approx(120)


def test_the_trend_is_that_of_the_last_fifth():
    t = np.arange(1, 101.0)
    values = np.where(t < 80, np.exp(2.0), np.exp(2 - (t - 80) / 20))
    assert seen(values, t).reach(0.0) == pytest.approx(120)


def test_the_trend_stays_within_the_phase():
    t = np.arange(1, 31.0)
    values = np.where(t <= 27, 50.0, np.exp(2 - (t - 28) / 20))
    assert seen(values, t, np.where(t <= 27, 1, 2)).reach(0.0) == pytest.approx(68)


def test_two_evaluations_of_a_phase_are_no_trend():
    t = np.arange(1, 11.0)
    curve = seen(np.exp(-t), t, np.where(t <= 8, 1, 2))
    assert math.isnan(curve.reach(-50.0))


def test_a_rising_curve_never_reaches_the_level():
    assert math.isnan(seen(np.exp(np.arange(10) / 10)).reach(-1.0))


def test_a_level_that_the_trend_has_passed_lies_ahead():
    values = np.exp([1.0, 0.8, 0.6, 0.4, 0.2, 0.35])
    assert seen(values).reach(0.19) >= 5


def test_a_dip_that_came_back_is_no_arrival():
    t = np.arange(1, 31.0)
    values = np.exp(-t / 10)
    values[19] = math.exp(-4)  # at epoch 20, and before and after it above exp(-3.5)
    curve = see_descent(t[:-1], values[:-1], np.zeros(29), share=0.3)
    assert 19 < curve.reach(-3.5) < 20
    assert curve.head_for(-3.5) == pytest.approx(35)
    assert curve.head_for(-2.9) == 29  # there already
    assert math.isnan(seen(np.exp(np.arange(10) / 10)).head_for(-1.0))
    assert math.isnan(seen([]).head_for(0.0))


def test_a_crossing_at_a_phase_switch_is_put_at_the_evaluation():
    assert seen([14, 14, 1.2, 1.1], phase=[1, 1, 2, 2]).reach(math.log(2)) == 2
    assert 1 < seen([14, 14, 1.2, 1.1]).reach(math.log(2)) < 2


def test_below_from_the_start_is_crossed_at_the_start():
    assert seen([1, 1, 1], [10, 20, 30]).reach(math.log(2)) == 10


def test_what_is_not_positive_or_not_finite_is_passed_over():
    assert seen([8, math.nan, 0, math.inf, 2]).reach(math.log(4)) == pytest.approx(2)


@pytest.mark.parametrize("values", [[], [math.nan] * 4])
def test_nothing_seen_reaches_nothing(values):
    assert math.isnan(seen(values).reach(0.0))
