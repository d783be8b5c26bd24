import math

import pandas as pd
import pytest

from ncdiag.errors import AnalysisError
from ncdiag.plotting.calibrations import draw_calibration, forecast_table
from ncdiag.plotting.layout import Sheet


def row(run: str, level: float, forecast: float, limits: tuple[float, float], actual: float, epoch: float = 40):
    inside = pd.NA if math.isnan(limits[0]) else limits[0] <= actual <= limits[1]
    about = {"pair": "mlp mnist", "run": run, "held_out": "condition", "epoch": epoch, "rule": "median"}
    return {**about, "level": level, "forecast": forecast, "lo": limits[0], "hi": limits[1], "actual": actual} | {
        "inside": inside
    }


TABLE = pd.DataFrame(
    [
        row("a", 0.8, 60, (50, 70), 62),
        row("a", 0.9, 60, (45, math.inf), 62),
        row("b", 0.8, 60, (50, 70), 75),
        row("b", 0.9, 60, (45, 80), 75),
        row("c", 0.8, 66, (60, 70), 90),
        row("c", 0.9, 66, (55, 75), 90),
        row("d", 0.9, 81, (math.nan, math.nan), 80, epoch=70),
    ]
).astype({"inside": "boolean"})


def points_of(axes, marker: str) -> list[tuple[float, float]]:
    lines = [line for line in axes.lines if line.get_marker() == marker and line.get_zorder() == 5]
    return [(float(x), float(y)) for line in lines for x, y in line.get_xydata()]


@pytest.mark.parametrize("width", ["column", "page", "slide"])
def test_what_is_drawn_is_the_table(width):
    figure = draw_calibration(TABLE, Sheet(width=width))
    (first,) = (axes for axes in figure.axes if axes.axison)
    assert points_of(first, "o") == [(62, 60), (75, 60)]  # inside the wider interval
    assert points_of(first, "X") == [(90, 66)]
    bars = {(float(line.get_xdata()[0]), *line.get_ydata()) for line in first.lines if line.get_zorder() == 3}
    assert {(62, 50, 70), (75, 50, 70), (75, 45, 80), (90, 60, 70), (90, 55, 75)} < bars
    assert [text.get_text() for text in first.texts] == ["80 %: 1 of 3, 90 %: 2 of 3"]
    assert "1 more panel: --where, --data" in [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize("width", ["column", "page", "slide"])
def test_every_panel_names_its_epoch_however_long_the_pair(width):
    for name in ("mlp mnist", "resnet20 cifar10-jpeg of a long name"):
        table = TABLE.assign(pair=name)
        table = pd.concat([table.assign(epoch=epoch) for epoch in (40, 70, 100, 130)])
        titles = [
            axes.get_title() or axes.get_title(loc="left") for axes in draw_calibration(table, Sheet(width=width)).axes
        ]
        assert [title.split()[-1] for title in titles if title] == ["40", "70", "100", "130"]
        assert all(title.startswith(name[:6]) for title in titles if title)


def test_forecasts_without_any_interval_are_shown_where_there_is_nothing_else():
    (axes,) = (axes for axes in draw_calibration(TABLE[TABLE["lo"].isna()], Sheet()).axes if axes.axison)
    assert points_of(axes, "o") == [(80, 81)]
    assert [text.get_text() for text in axes.texts] == ["1 run, no interval"]


def test_a_forecast_without_an_interval_is_empty_and_not_counted_as_inside():
    table = pd.concat(
        [TABLE, pd.DataFrame([row("e", 0.9, 64, (math.nan, math.nan), 66)]).astype({"inside": "boolean"})]
    )
    figure = draw_calibration(table, Sheet())
    bare = [line for line in figure.axes[0].lines if line.get_marker() == "o" and line.get_markerfacecolor() == "white"]
    assert [line.get_xydata().tolist() for line in bare] == [[[66, 64]]]
    assert "forecast without an interval" in [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize(("width", "most"), [("page", 12), ("slide", 8)])
def test_a_slide_has_fewer_panels_and_counts_the_rest(width, most):
    table = pd.concat([TABLE[TABLE["epoch"] == 40].assign(epoch=epoch) for epoch in range(40, 54)])
    figure = draw_calibration(table, Sheet(width=width))
    assert sum(axes.axison for axes in figure.axes) == most
    assert f"{14 - most} more panels: --where, --data" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_an_interval_without_a_bound_ends_in_an_arrow_at_the_edge():
    first = draw_calibration(TABLE, Sheet()).axes[0]
    (arrow,) = [line for line in first.lines if line.get_marker() == "^"]
    assert arrow.get_xydata().tolist() == [[62, first.get_ylim()[1]]]


def test_the_diagonal_is_where_the_forecast_is_right():
    axes = draw_calibration(TABLE, Sheet()).axes[0]
    assert list(axes.lines[0].get_xdata()) == list(axes.lines[0].get_ydata())


def test_whether_an_onset_is_inside_is_in_the_table(make_asked, make_run):
    decays = (1e-5, 1e-4, 1e-3)
    runs = {f"{d}-{s}": make_run(20.0 + s + 5e3 * d, weight_decay=d, seed=s, step=5) for d in decays for s in (0, 1)}
    table = forecast_table(make_asked(runs))
    assert set(table["held_out"]) == {"condition"}
    assert set(table["pair"]) == {"mlp mnist"}
    known = table[table["lo"].notna()]
    assert known["inside"].tolist() == known["actual"].between(known["lo"], known["hi"]).tolist()
    assert table.loc[table["lo"].isna(), "inside"].isna().all()
    actual = table.drop_duplicates("run").set_index("run")["actual"]
    assert actual["0.001-1"] == pytest.approx(26 * math.log(100), rel=1e-3)


def test_too_few_onsets_are_said(make_asked, make_run):
    with pytest.raises(AnalysisError, match="need 3 runs of one pair with an onset"):
        forecast_table(make_asked({"a": make_run(), "b": make_run()}))
