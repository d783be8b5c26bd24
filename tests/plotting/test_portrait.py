import math

import numpy as np
import pytest
from matplotlib.figure import Figure
from plotting.drawn import curves_of

from ncdiag.errors import AnalysisError
from ncdiag.plotting.layout import Sheet
from ncdiag.plotting.portrait import draw_portrait, portrait_table
from ncdiag.plotting.style import line_style

EPS = 0.01


def marks_of(figure: Figure, marker: str, panel: int = 0):
    found = [line for line in figure.axes[panel].lines if line.get_marker() == marker]
    return [(float(x), float(y)) for line in found for x, y in line.get_xydata()]


def legend_of(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_the_table_has_the_evaluations_at_which_both_are_above_zero(make_asked, make_run):
    run = make_run(epochs=50, step=10)
    run["nc1"][1], run["feature_norm"][2] = 0.0, math.nan
    table = portrait_table(make_asked({"a": run}))
    assert table["epoch"].tolist() == [10, 40, 50]
    assert table["nc1"].tolist() == pytest.approx([math.exp(-0.5), math.exp(-2), math.exp(-2.5)])


def test_a_curve_is_what_the_table_says_and_the_onset_is_at_eps(make_asked, make_run):
    table = portrait_table(make_asked({"a": make_run(norm=1.2, step=10), "b": make_run(norm=1 / 1.2, step=10)}))
    figure = draw_portrait(table, Sheet())
    own = table[table["run"] == "b"]
    assert curves_of(figure.axes[0])[1][:2] == (own["nc1"].tolist(), own["feature_norm"].tolist())
    assert marks_of(figure, "o") == [pytest.approx((EPS, 1.2)), pytest.approx((EPS, 1 / 1.2))]
    assert table["pair_fn_star"].tolist() == pytest.approx([1.0] * len(table))
    lines = [line.get_ydata()[0] for line in figure.axes[0].lines if list(line.get_xdata()) == [0, 1]]
    assert lines == pytest.approx([1.0])  # fn* of the pair


def test_the_published_rule_marks_the_evaluation_that_it_reads(make_asked, make_run):
    table = portrait_table(make_asked({"a": make_run(step=10)}, rule="first"))
    figure = draw_portrait(table, Sheet())
    read = table[table["epoch"] == 100].iloc[0]
    assert marks_of(figure, "o") == [(read["nc1"], read["feature_norm"])]


def test_a_run_without_onset_is_marked_at_its_end(make_asked, make_run):
    figure = draw_portrait(portrait_table(make_asked({"a": make_run(epochs=60, step=10)})), Sheet())
    assert [x for x, _ in marks_of(figure, "x")] == pytest.approx([math.exp(-3)])
    assert "no onset by the end" in legend_of(figure)


def test_arrows_point_where_training_goes(make_asked, make_run):
    figure = draw_portrait(portrait_table(make_asked({"a": make_run(step=10)})), Sheet())
    (arrow,) = [text for text in figure.axes[0].texts if text.arrow_patch is not None]
    (x0, y0), (x1, y1) = arrow.xyann, arrow.xy
    assert x1 < x0
    assert y1 < y0


def test_the_first_of_two_phases_is_pale(make_asked, make_run):
    phases = [1] * 5 + [2] * 15
    figure = draw_portrait(portrait_table(make_asked({"a": make_run(step=10, phase=phases)})), Sheet())
    first, second = curves_of(figure.axes[0])
    assert (len(first.x), len(second.x)) == (5, 16)  # the switch belongs to the second
    assert first.alpha < second.alpha


def test_a_run_that_never_left_the_first_loss_is_as_pale(make_asked, make_run):
    """The published norm of ResNet-20 on MNIST is read under cross-entropy, that of all others under squared error."""
    losses = ["ce"] * 5 + ["mse"] * 15
    runs = {
        "both": make_run(step=10, phase=[1] * 5 + [2] * 15, loss=losses),
        "ce": make_run(step=10, phase=[1] * 20, loss=["ce"] * 20, dataset="cifar10"),
        "mse": make_run(step=10, phase=[1] * 20, loss=["mse"] * 20, dataset="digits"),
    }
    figure = draw_portrait(portrait_table(make_asked(runs)), Sheet())
    first, second, ce, mse = (curve for axes in figure.axes for curve in curves_of(axes))
    assert ce.alpha == first.alpha < second.alpha == mse.alpha
    assert "first phase, CE" in legend_of(figure)


def test_the_line_at_fn_star_is_explained_without_an_interval_too(make_asked, make_run):
    assert "fn*" in legend_of(draw_portrait(portrait_table(make_asked({"a": make_run(step=10)})), Sheet()))


def test_each_pair_has_a_panel(make_asked, make_run):
    runs = {"a": make_run(dataset="mnist"), "b": make_run(dataset="cifar10"), "c": make_run(dataset="cifar10")}
    figure = draw_portrait(portrait_table(make_asked(runs)), Sheet())
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["mlp mnist", "mlp cifar10"]
    assert [len(curves_of(axes)) for axes in figure.axes] == [1, 2]


def test_many_conditions_are_told_apart_by_their_outcome(make_asked, make_run):
    runs = {f"r{n}": make_run(depth=n, epochs=120 if n % 2 else 60, step=10) for n in range(1, 13)}
    figure = draw_portrait(portrait_table(make_asked(runs)), Sheet())
    assert legend_of(figure)[:2] == ["run with onset", "run without"]
    colors = [curve.color for curve in curves_of(figure.axes[0])]
    assert colors == [line_style(0 if n % 2 else 1)[0] for n in range(1, 13)]


def test_pairs_beyond_what_can_be_seen_are_counted(make_asked, make_run):
    runs = {f"r{n}": make_run(dataset=f"set {n}", epochs=30, step=10) for n in range(15)}
    table = portrait_table(make_asked(runs))
    figure = draw_portrait(table, Sheet())
    assert table["pair"].nunique() == 15
    assert "3 more pairs: --where, --data" in legend_of(figure)


def test_nothing_to_draw_is_said(make_asked, make_run):
    run = make_run(epochs=30, step=10) | {"nc1": [0.0, np.nan, -1.0]}
    with pytest.raises(AnalysisError, match="both feature_norm and nc1 above 0"):
        portrait_table(make_asked({"a": run}))
    with pytest.raises(AnalysisError, match="against itself"):
        portrait_table(make_asked({"a": run}, metric="feature_norm"))
