import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes

from ncdiag.plotting.axes import draw_interval, lanes, log_axis, log_ticks, plain_axis, shifted
from ncdiag.plotting.style import PAGES, figure_style, new_figure


@pytest.fixture
def axes() -> Axes:
    with figure_style(PAGES["page"]):
        found: Axes = new_figure(4, 3).subplots()
    return found


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.8, 60, [1, 2, 5, 10, 20, 50]),
        (0.8, 6000, [1, 3, 10, 30, 100, 300, 1000, 3000]),
        (1e-6, 2, [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1]),
        (1.1, 1.7, [1.2, 1.4, 1.6]),
        (3.1, 8.2, [4, 6, 8]),
    ],
)
def test_ticks_of_a_logarithmic_axis_are_round(low: float, high: float, ticks: list[float]):
    assert log_ticks(low, high, 8) == pytest.approx(ticks)


@given(st.floats(1e-12, 1e12), st.floats(1.005, 1e9))
def test_a_logarithmic_axis_always_has_ticks_and_not_too_many(low: float, ratio: float):
    ticks = log_ticks(low, low * ratio, 8)
    assert 2 <= len(ticks) <= 9
    assert all(low <= tick * (1 + 1e-5) and tick <= low * ratio * (1 + 1e-5) for tick in ticks)
    assert ticks == sorted(set(ticks))


@pytest.mark.parametrize("values", [[], [math.nan], [0.0, -1.0], [2.0], [1e-300, 1e300]])
def test_any_values_make_an_axis(axes: Axes, values: list[float]):
    log_axis(axes.yaxis, values)
    low, high = axes.get_ylim()
    assert 0 < low < high < math.inf


def test_values_that_are_near_are_side_by_side():
    assert lanes([1.0, 1.05, 1.1, 2.0], 0.1).tolist() == [0, 1, 0, 0]
    assert lanes([5.0, 5.0, 5.0], 0.1).tolist() == [0, 1, 2]
    assert lanes([], 0.1).tolist() == []


def test_lanes_are_taken_in_the_order_given_and_do_not_climb_with_the_values():
    assert lanes([1.3, 1.0, 1.2, 1.1], 1.0).tolist() == [0, 1, 2, 3]


@given(st.lists(st.floats(-10, 10), max_size=30), st.floats(0.01, 5))
def test_values_of_one_lane_are_apart(values: list[float], apart: float):
    places = lanes(values, apart)
    for lane in set(places.tolist()):
        own = np.sort(np.array(values)[places == lane])
        assert (np.diff(own) >= apart).all()


def test_an_interval_ends_at_its_limits(axes: Axes):
    axes.set(xlim=(0, 10), ylim=(0, 1))
    draw_interval(axes, 0.5, (2, 4), color="black", points=8)
    assert [list(axes.lines[0].get_xdata()), list(axes.lines[0].get_ydata())] == [[2, 4], [0.5, 0.5]]
    assert len(axes.lines) == 1


def test_an_interval_without_a_bound_ends_in_an_arrow_at_the_edge(axes: Axes):
    axes.set(xlim=(0, 10), ylim=(0, 1))
    draw_interval(axes, 7, (0.2, math.inf), color="black", points=8, upright=True)
    assert list(axes.lines[0].get_ydata()) == [0.2, 1]
    assert [(line.get_marker(), *line.get_xydata()[0]) for line in axes.lines[1:]] == [("^", 7, 1)]


@pytest.mark.parametrize(("span", "arrow", "edge"), [((-3, -2), "<", 0), ((11, math.inf), ">", 10)])
def test_an_interval_beyond_an_edge_points_to_where_it_is(
    axes: Axes, span: tuple[float, float], arrow: str, edge: float
):
    axes.set(xlim=(0, 10), ylim=(0, 1))
    draw_interval(axes, 0.5, span, color="black", points=8)
    assert {(line.get_marker(), *line.get_xydata()[0]) for line in axes.lines[1:]} == {(arrow, edge, 0.5)}


def test_an_interval_that_is_not_known_is_not_drawn(axes: Axes):
    draw_interval(axes, 0.5, (math.nan, math.nan), color="black", points=8)
    assert len(axes.lines) == 0


def test_what_is_put_aside_stays_where_it_is_in_the_data(axes: Axes):
    (line,) = axes.plot([3], [4], "o", transform=shifted(axes, -36))
    assert line.get_xydata().tolist() == [[3, 4]]
    dpi = axes.get_figure().dpi  # type: ignore[union-attr]
    off = line.get_transform().transform([3, 4]) - axes.transData.transform([3, 4])
    assert off.tolist() == pytest.approx([0, -dpi / 2])


def test_an_axis_may_reach_to_the_end_of_what_numbers_hold(axes: Axes) -> None:
    axes.set_xlim(0, 1e306)
    plain_axis(axes.xaxis)
    labels = [axes.xaxis.get_major_formatter()(value) for value in axes.xaxis.get_major_locator()()]
    assert labels[:2] == ["0", "2e305"]
    assert all(float(label) <= 1e306 for label in labels)
