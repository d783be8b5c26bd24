import math

import numpy as np
import pytest
from forecast_worlds import course, curve

from ncdiag.domain.course import Course, Stage, smooth


def test_a_level_is_the_end_of_the_line_through_ten_evaluations():
    rng = np.random.default_rng(0)
    epoch, values = np.cumsum(rng.uniform(1, 9, 30)), rng.normal(size=30)
    for row, found in enumerate(smooth(epoch, values)):
        rows = slice(max(row - 9, 0), row + 1)
        few = row < 2
        expected = values[row] if few else np.polyval(np.polyfit(epoch[rows], values[rows], 1), epoch[row])
        assert found == pytest.approx(expected)


def test_a_line_is_its_own_level():
    t = np.arange(1, 50.0)
    assert smooth(t, 3 - t / 7) == pytest.approx(3 - t / 7)


def test_a_stage_says_when_it_first_was_as_low_as_a_level():
    stage = Stage(epoch=np.array([10.0, 20.0, 30.0, 40.0]), level=np.array([4.0, 2.0, 3.0, 1.0]))
    levels = np.array([5.0, 4.0, 3.0, 2.0, 1.5, 0.5])
    assert stage.reached(levels, 1.0) == pytest.approx([10, 10, 15, 20, 30, math.nan], nan_ok=True)


def test_rising_is_falling_turned_over():
    stage = Stage(epoch=np.array([10.0, 20.0, 30.0]), level=np.array([1.0, 3.0, 2.0]))
    assert stage.reached(np.array([0.5, 2.0, 3.5]), -1.0) == pytest.approx([10, 15, math.nan], nan_ok=True)


def test_phases_are_smoothed_apart():
    t = np.arange(1, 21.0)
    jump = np.where(t <= 10, 5.0, 1.0)
    found = Course(curves={"nc1": curve(t, np.exp(jump), t == 11)})
    first, second = found.stages("nc1")
    assert (first.level, second.level) == (pytest.approx(np.full(10, 5.0)), pytest.approx(np.full(10, 1.0)))
    assert found.place("nc1", 10.5) == (0, 10.0, pytest.approx(5.0))
    assert found.place("nc1", 15) == (1, 15.0, pytest.approx(1.0))


def test_what_is_known_at_an_epoch_does_not_depend_on_what_follows():
    t = np.arange(1, 41.0)
    values = np.exp(np.random.default_rng(1).normal(size=40))
    whole, begun = course(t, nc1=values), course(t[:25], nc1=values[:25])
    assert whole.place("nc1", 25) == pytest.approx(begun.place("nc1", 25))
    early, late = whole.descent("nc1", 25), begun.descent("nc1", 25)
    assert (early.slope, early.start) == (late.slope, late.start)


def test_an_observable_that_was_never_measured_has_no_level():
    found = course(np.arange(5.0, 9), nc1=np.ones(4))
    assert math.isnan(found.place("nc3", 8)[2])
    assert math.isnan(found.place("nc1", 4)[2])
    assert found.descent("nc3", 8) is None


def test_what_stands_still_is_at_one_level_whatever_rounding_says():
    t = np.arange(1, 301.0)
    shares = np.random.default_rng(0).integers(1, 2000, 12) / 1500
    for share in shares.tolist():
        values = np.where(t < 100, 0.9, share)
        assert len(np.unique(smooth(t, np.log(values))[110:])) == 1


def test_when_a_level_is_reached_is_said_for_each_level_epoch_and_trend():
    """A course remembers what it was asked, so nothing that was asked may be taken for something else."""
    t = np.arange(1, 41.0)
    found = course(t, nc1=np.exp(-t / 10 - np.sin(t) / 20), cdnv=np.exp(-t / 20))
    asked = [
        ("nc1", 20, -3.0, {}),
        ("nc1", 20, -3.5, {}),
        ("nc1", 30, -3.5, {}),
        ("nc1", 30, -3.5, {"share": 1.0}),
        ("nc1", 30, -3.5, {"robust": True}),
        ("cdnv", 30, -3.5, {}),
    ]
    reached = [found.head_for(name, now, level, **how) for name, now, level, how in asked]
    assert reached == [found.descent(name, now, **how).head_for(level) for name, now, level, how in asked]
    assert [found.head_for(name, now, level, **how) for name, now, level, how in asked] == reached
    assert len(set(reached)) == len(asked)
    assert math.isnan(found.head_for("nc3", 30, -3.5))
