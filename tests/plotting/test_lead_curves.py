import math

import pandas as pd
import pytest
from matplotlib.figure import Figure

from ncdiag.errors import AnalysisError
from ncdiag.plotting.layout import Sheet
from ncdiag.plotting.lead_curves import draw_leads, lead_table


def row(contender: str, lead: float, mae: float, multiple: float = math.nan) -> dict[str, object]:
    about = {"pair": "mlp mnist", "arch": "mlp", "dataset": "mnist", "held_out": "condition", "n": 12, "n_silent": 0}
    return {**about, "contender": contender, "multiple": multiple, "lead": lead, "mae": mae}


TABLE = pd.DataFrame(
    [
        row("median", math.nan, 20.0),
        row("nearest", math.nan, 15.0),
        row("accuracy", 60, 19),
        row("nc1<3eps", 30, 9),
        row("fn", 50, 25, 1.5),
        row("fn", 10, 18, 1.1),
        row("nc1", 40, 11, 3.0),
        row("nc1", -5, 12, 0.9),
        row("cdnv", 35, 70, 2.0),
        row("cdnv", 20, 12, 1.5),
    ]
)


def curves(figure: Figure) -> dict[str, tuple[list[float], list[float]]]:
    lines = [line for line in figure.axes[0].lines if line.get_marker() == "None"]
    return {
        line.get_color(): (list(line.get_xdata()), list(line.get_ydata())) for line in lines if line.get_zorder() != 3
    }


@pytest.mark.parametrize("width", ["column", "page", "slide"])
def test_what_is_drawn_is_the_table(width):
    figure = draw_leads(TABLE, Sheet(width=width))
    (axes,) = figure.axes
    assert list(curves(figure).values()) == [([10, 50], [18, 25]), ([-5, 40], [12, 11]), ([20, 35], [12, 70])]
    levels = [float(line.get_ydata()[0]) for line in axes.lines if line.get_zorder() == 3]
    assert levels == [20, 15]
    points = {line.get_marker(): line.get_xydata()[0].tolist() for line in axes.lines if line.get_marker() != "None"}
    assert points == {"^": [60, 19], "s": [30, 9]}
    assert axes.get_title(loc="left") == "mlp mnist: conditions held out, 12 runs"


def test_an_observable_that_is_far_off_does_not_set_the_scale():
    (axes,) = draw_leads(TABLE, Sheet()).axes
    assert axes.get_ylim() == pytest.approx((0, 1.25 * 25))
    assert axes.get_xlim()[0] == -5


def test_a_curve_of_one_point_is_a_mark():
    same = [row("fn", 50, 0, multiple) for multiple in (0.5, 1.0, 2.0)]
    (axes,) = draw_leads(pd.DataFrame([row("median", math.nan, 1.0), *same, row("nc1", 50, 0, 1.0)]), Sheet()).axes
    marks = [line for line in axes.lines if line.get_marker() == "o"]
    assert [set(map(tuple, line.get_xydata().tolist())) for line in marks] == [{(50, 0)}, {(50, 0)}]
    assert marks[0].get_markersize() > marks[1].get_markersize()  # that of fn is seen behind the other


def test_what_is_not_there_is_not_in_the_legend():
    few = TABLE[TABLE["contender"].isin(["median", "fn"])]
    (legend,) = draw_leads(few, Sheet()).legends
    assert [text.get_text() for text in legend.get_texts()] == ["alarm of fn", "guess: median onset"]


def test_whole_conditions_are_held_out_where_there_are_enough(make_asked, make_run):
    decays = (1e-5, 1e-4, 1e-3)
    many = {f"{d}-{s}": make_run(20.0 + s + 1e4 * d, weight_decay=d, seed=s, step=5) for d in decays for s in (0, 1)}
    table = lead_table(make_asked(many))
    assert set(table["held_out"]) == {"condition"}
    # The guess is the median onset of the other conditions: that of four runs.
    onsets = {d: [(20.0 + s + 1e4 * d) * math.log(100) for s in (0, 1)] for d in decays}
    guesses = {d: pd.Series([t for other in decays if other != d for t in onsets[other]]).median() for d in decays}
    mae = pd.Series([abs(t - guesses[d]) for d in decays for t in onsets[d]]).mean()
    assert table.loc[table["contender"] == "median", "mae"].tolist() == pytest.approx([mae], rel=1e-3)
    one = {name: run for name, run in many.items() if name.startswith("0.001")}
    one["more"] = make_run(24.0, weight_decay=1e-3, seed=2, step=5)
    assert set(lead_table(make_asked(one))["held_out"]) == {"run"}


def test_too_few_onsets_are_said(make_asked, make_run):
    with pytest.raises(AnalysisError, match="a lead needs 3 runs of one pair"):
        lead_table(make_asked({"a": make_run(), "b": make_run()}))


@pytest.mark.parametrize("width", ["column", "page", "slide"])
def test_labels_keep_to_their_axes_and_say_how_many_runs(width):
    pairs = ("resnet20 mnist", "resnet20 cifar10-jpeg", "mlp mnist")
    figure = draw_leads(pd.concat([TABLE.assign(pair=pair) for pair in pairs]), Sheet(width=width, title="title"))
    figure.draw_without_rendering()
    shown = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title(loc="left").split()[-2:] for axes in shown] == [["12", "runs"]] * 3
    for axes in shown:
        label, panel = axes.yaxis.label.get_window_extent(), axes.get_tightbbox()
        assert label.height <= panel.height
        assert label.y1 <= axes.bbox.y1 + 0.1 * axes.bbox.height
