import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from plotting.drawn import lines_of

from ncdiag.plotting.curves import DrawnCurve, Mark, draw_curves, draw_marks, rows_by_run
from ncdiag.plotting.style import LineStyle, line_style

DASHED: LineStyle = (0, (5, 1.5))


def test_the_rows_of_runs_come_in_the_order_of_the_runs():
    rows = rows_by_run(pd.DataFrame({"run": ["b", "a", "b", "c", "a"]}, index=[9, 8, 7, 6, 5]))
    assert [found.tolist() for found in rows] == [[0, 2], [1, 4], [3]]


def test_curves_keep_their_order_and_their_looks():
    axes = Figure().subplots()
    x = np.arange(3.0)
    looks = [("#0072B2", "solid", 1.0, 0.5), ("#D55E00", DASHED, 2.0, 1.0), ("#009E73", "solid", 3.0, 1.0)]
    draw_curves(axes, [DrawnCurve(x, x + place, *look) for place, look in enumerate(looks)])
    found = lines_of(axes)
    assert [(line.x, line.y) for line in found] == [([0, 1, 2], (x + place).tolist()) for place in range(3)]
    assert [(line.color, line.width, line.alpha) for line in found] == [(c, w, a) for c, _, w, a in looks]
    assert [line.dashes[1] is None for line in found] == [True, False, True]
    assert [lines.get_capstyle() for lines in axes.collections] == ["round", "butt", "round"]


def test_the_axes_fit_curves_as_they_fit_single_lines():
    many, single = Figure().subplots(1, 2)
    curves = [np.array([[0.0, np.nan, 7.0], [1.0, 50.0, np.nan]]), np.array([[2.0, 3.0], [-4.0, 2.0]])]
    draw_curves(many, [DrawnCurve(x, y, *line_style(0), 1.0) for x, y in curves])
    for x, y in curves:
        single.plot(x, y)
    assert many.get_xlim() == pytest.approx(single.get_xlim())
    assert many.get_ylim() == pytest.approx(single.get_ylim())


def test_neighbouring_marks_of_one_look_are_one_artist():
    axes = Figure().subplots()
    draw_marks(axes, [Mark(1, 2, "red", "o"), Mark(3, 4, "red", "o"), Mark(5, 6, "blue", "o"), Mark(7, 8, "blue", "x")])
    found = [(line.get_color(), line.get_marker(), line.get_xydata().tolist()) for line in axes.lines]
    assert found == [("red", "o", [[1, 2], [3, 4]]), ("blue", "o", [[5, 6]]), ("blue", "x", [[7, 8]])]
