import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ncdiag.domain.course import Course
from ncdiag.domain.crossing import Curve
from ncdiag.domain.own_course import OwnCourse, read_course


def read(log, epoch=None, switched=(), eps: float = 0.01) -> OwnCourse:
    log = np.asarray(log, dtype=float)
    epoch = np.arange(1.0, len(log) + 1) if epoch is None else np.asarray(epoch, dtype=float)
    curve = Curve(epoch=epoch, log=log, switched=np.isin(np.arange(len(log)), switched))
    return read_course(Course(curves={"nc1": curve}), "nc1", now=float(epoch[-1]), log_level=math.log(eps))


def test_an_exponential_is_read_exactly_as_steady():
    t = np.arange(1, 61.0)
    found = read(-t / 20)  # e^-3 = .0498 at the end
    assert found.steady == pytest.approx(20 * math.log(100))
    assert found.slowing > found.steady


def test_a_power_of_time_is_read_exactly_as_slowing():
    t = np.arange(1, 101.0)
    found = read(-0.75 * np.log(t))  # t^-.75 is .0316 at 100, and .01 at 100^(2 / 1.5)
    assert found.slowing == pytest.approx(100 ** (4 / 3))
    assert 100 < found.steady < found.slowing
    late = np.where(t < 50, 2.0, -0.75 * np.log(t))  # only the last half of the time is looked at
    assert read(late).slowing == pytest.approx(100 ** (4 / 3))
    few = read(-3 - 0.75 * np.log([1, 2, 3]))  # t^-.75 / e^3 is .01 at (100 / e^3)^(1 / .75)
    assert few.slowing == pytest.approx((100 * math.exp(-3)) ** (4 / 3))


def test_time_counts_from_the_beginning_of_the_phase():
    t = np.arange(1, 101.0)
    log = np.where(t <= 40, 1.0, -0.75 * np.log(np.maximum(t - 40, 1)))  # t' ^ -.75 is .0464 at t' = 60
    assert read(log, switched=[40]).slowing == pytest.approx(40 + 100 ** (4 / 3))


def test_an_evaluation_before_the_first_step_is_no_time_of_training():
    t = np.arange(0, 101.0)
    log = np.concatenate(([3.0], -0.75 * np.log(t[1:])))
    assert read(log, epoch=t).slowing == pytest.approx(100 ** (4 / 3))
    assert math.isfinite(read([3.0, -3.0, -4.0, -4.3], epoch=[0, 1, 2, 3]).slowing)


def test_what_lies_beyond_ten_times_the_epochs_so_far_is_out_of_sight():
    t = np.arange(1, 101.0)
    assert read(-2.5 - t / 10_000) == OwnCourse(steady=math.inf, slowing=math.inf)
    found = read(-3.0 - 0.2 * np.log(t / 100))  # 1.6 to go, at .002 an epoch
    assert math.isfinite(found.steady)
    assert found.slowing == math.inf


@pytest.mark.parametrize(
    "log",
    [
        [],
        [-4.0, -4.1],  # two evaluations are no course
        [-3.0, -2.9, -2.8, -2.7, -2.6, -2.5],  # rises
        [0.0, -0.5, -1.0, -1.5, -2.0, -2.2],  # .11: more than ten times .01 away
        [-3.0, -3.5, -4.0, -4.5, -5.0],  # .0067: there already, at an epoch that lies behind
        [*[-4.0] * 60, *np.linspace(-4.0, -2.6, 15), *np.linspace(-2.6, -2.8, 25)],  # falls, after a rise
    ],
)
def test_a_course_that_tells_nothing_is_not_read(log: list[float]):
    found = read(log) if log else read_course(Course(curves={}), "nc1", now=3.0, log_level=math.log(0.01))
    assert math.isnan(found.steady)
    assert math.isnan(found.slowing)


@given(st.lists(st.floats(-4.6, -2.4), min_size=3, max_size=40))
def test_slowing_is_never_before_steady_nor_before_now(log: list[float]):
    found = read(log)
    assert math.isnan(found.steady) or len(log) <= found.steady <= found.slowing
