import math

import numpy as np
import pytest
from scipy.optimize import curve_fit

from ncdiag.domain.relaxation import fit_relaxation

T = np.arange(0.0, 61.0)
HALVING = math.log(2) * 2 ** (-T / 10)


@pytest.mark.parametrize("offset", [0.0, 0.05])
def test_a_halving_every_ten_epochs(offset):
    found = fit_relaxation(T, HALVING + offset)
    assert found.half_life == pytest.approx(10, rel=1e-4)
    assert found.start == pytest.approx(math.log(2), rel=1e-4)
    assert found.offset == pytest.approx(offset, abs=1e-4)
    assert found.flags == ()


@pytest.mark.parametrize("values", [np.full(61, 0.3), 0.1 * np.exp(T / 40), 0.1 + T / 100, 0.1 + 0.01 * (-1) ** T])
def test_what_does_not_shrink_has_no_half_life(values):
    found = fit_relaxation(T, values)
    assert "no_relaxation_seen" in found.flags
    assert math.isnan(found.half_life)


def test_what_grows_is_called_so():
    assert "growing" in fit_relaxation(T, 0.1 * np.exp(T / 40)).flags
    assert "growing" not in fit_relaxation(T, HALVING).flags
    late = np.append(0.001, HALVING[1:])  # a small first value alone makes no growth of what falls
    assert fit_relaxation(T, late).contraction > 1
    assert "growing" not in fit_relaxation(T, late).flags


@pytest.mark.parametrize("sign", [1, -1])
def test_a_difference_that_widens_towards_a_limit_is_no_return(sign):
    widening = sign * (1.16 - 0.52 * np.exp(-T / 20))
    after_a_spike = np.concatenate([[sign * 1.5], widening[1:]])  # its last value is below its first
    for values in (widening, after_a_spike):
        found = fit_relaxation(T, values)
        assert "growing" in found.flags
        assert math.isnan(found.half_life)
    beyond_zero = sign * (0.4 * np.exp(-T / 20) - 0.2)  # it shrinks, and ends on the other side
    assert fit_relaxation(T, beyond_zero).half_life == pytest.approx(20 * math.log(2), rel=1e-3)


def test_a_disturbance_from_below_is_the_same_with_the_other_sign():
    up, down = fit_relaxation(T, HALVING), fit_relaxation(T, -HALVING)
    assert (down.half_life, down.start) == pytest.approx((up.half_life, -up.start))
    assert down.contraction == pytest.approx(2**-6)


def test_a_return_between_two_evaluations_is_marked():
    time = np.arange(0.0, 100, 10)
    found = fit_relaxation(time, np.exp(-time / 3))
    assert "faster_than_sampling" in found.flags


@pytest.mark.parametrize(("half_life", "seen"), [(232, True), (248, False)])  # of 60 epochs watched
def test_a_return_slower_than_four_times_what_was_watched_is_none(half_life, seen):
    found = fit_relaxation(T, 2 ** (-T / half_life))
    assert found.half_life == pytest.approx(half_life, rel=1e-3) if seen else math.isnan(found.half_life)


def test_a_fast_curve_is_none_where_a_line_fits_better():
    drawn = np.random.default_rng(417)
    bend, drop = drawn.uniform(1, 3), drawn.uniform(0, 4)
    values = 1 - 0.1 * (T / 60) ** bend + 0.1 * drop * np.exp(-T) + 0.03 * drawn.standard_normal(61)

    def curve(t, c, a, rate):
        return c + a * np.exp(-rate * t)

    fast, _ = curve_fit(curve, T, values, p0=(0.95, 0.1, 0.7))
    line = np.polynomial.Polynomial.fit(T, values, 1)
    assert math.log(2) / fast[2] < 1
    assert np.sum((values - line(T)) ** 2) < np.sum((values - curve(T, *fast)) ** 2)
    assert math.isnan(fit_relaxation(T, values).half_life)


def test_few_points_are_no_fit():
    assert fit_relaxation(T[:4], HALVING[:4]).flags == ("no_relaxation_seen",)


def test_noisy_data_agree_with_curve_fit():
    values = HALVING + 0.02 * np.random.default_rng(0).normal(size=len(T))
    (offset, start, rate), _ = curve_fit(lambda t, c, a, k: c + a * np.exp(-k * t), T, values, p0=(0, 0.5, 0.05))
    found = fit_relaxation(T, values)
    assert (found.half_life, found.offset, found.start) == pytest.approx((math.log(2) / rate, offset, start), rel=1e-3)
