import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from plotting.drawn import curves_of, lines_of

from ncdiag.analysis.terms import Terms
from ncdiag.domain.onset_rule import OnsetRule
from ncdiag.plotting.layout import Sheet
from ncdiag.plotting.style import FAINT, PAGES, Width, figure_bytes, line_style
from ncdiag.plotting.trajectories import CURVES, draw_trajectories, trajectory_table

EPS = 0.01


def run(name: str, condition: str = "", *, state: str = "collapsed", n: int = 6, **curves: list[float]) -> pd.DataFrame:
    """Give the rows of a run that is evaluated every ten epochs, with its onset at 45 in (40, 50]."""
    epochs = 10 * np.arange(1, n + 1)
    found = state == "collapsed"
    values = {column: [math.nan] * n for column in CURVES}
    values |= {"feature_norm": [20.0, 10, 5, 2, 1, 1][:n], "nc1": [1, 0.5, 0.2, 0.05, 0.005, 0.001][:n]}
    return pd.DataFrame(
        {
            "run": name,
            "condition": condition,
            "pair": "mlp mnist",
            "epoch": pd.array(epochs, dtype="Int64"),
            "phase": pd.array([1 if epoch <= 30 else 2 for epoch in epochs], dtype="Int64"),
            "loss": ["ce" if epoch <= 30 else "mse" for epoch in epochs],
            "lr": math.nan,
            "lr_drop": False,
            **values,
            **curves,
            "onset_state": state,
            "onset_epoch": 45.0 if found else math.nan,
            "onset_lo": 40.0 if found else math.nan,
            "onset_hi": 50.0 if found else math.nan,
            "fn_star": 1.2 if found else math.nan,
            "pair_fn_star": math.nan,
            "pair_lo": math.nan,
            "pair_hi": math.nan,
            "nonfinite": None,
        }
    )


def draw(table: pd.DataFrame, width: Width = "page", **rule: Any) -> Figure:
    return draw_trajectories(table, Sheet(width=width, title="title", terms=Terms(rule=OnsetRule(**rule))))


def panels(figure: Figure) -> dict[str, Axes]:
    return {axes.get_title(loc="left").split("  ")[0]: axes for axes in figure.axes if axes.axison}


def marks(axes: Axes, marker: str) -> list[tuple[float, float]]:
    """Give where a marker stands."""
    lines = [line for line in axes.lines if line.get_marker() == marker]
    return [(float(x), float(y)) for line in lines for x, y in zip(*line.get_data(), strict=True)]


def curves(axes: Axes) -> list[tuple[list[float], list[float], str]]:
    """Give the curves: epochs, values and colour."""
    return [(line.x, line.y, line.color) for line in curves_of(axes)]


def legend_of(figure: Figure) -> list[str]:
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
    return [text.get_text() for legend in legends for text in legend.get_texts()]


def test_only_what_was_measured_has_a_panel():
    assert list(panels(draw(run("a")))) == ["Feature norm", "NC1"]
    everything = {column: [0.5] * 6 for column in CURVES}
    assert list(panels(draw(run("a", **everything)))) == [
        "Feature norm",
        "NC1",
        "NC2",
        "NC3",
        "NC4",
        "Accuracy",
        "Loss",
    ]


def test_every_run_is_a_curve_and_every_condition_a_colour():
    table = pd.concat([run("a", "depth 5"), run("b", "depth 5"), run("c", "depth 7")])
    found = curves(panels(draw(table))["NC1"])
    assert [color for _, _, color in found] == [line_style(0)[0], line_style(0)[0], line_style(1)[0]]
    assert found[0][:2] == ([10, 20, 30, 40, 50, 60], [1, 0.5, 0.2, 0.05, 0.005, 0.001])


def test_what_is_missing_or_not_finite_breaks_the_curve():
    table = run("a", nc1=[1.0, math.nan, 0.2, math.inf, 0.005, 0.001])
    axes = panels(draw(table))["NC1"]
    values = curves(axes)[0][1]
    assert np.isnan([values[1], values[3]]).all()
    assert marks(axes, ".") == [(10, 1.0), (30, 0.2)]  # alone between gaps, where no line would show them


def test_the_onset_is_marked_with_its_interval():
    found = panels(draw(run("a")))
    assert marks(found["Feature norm"], "o") == [(45, 1.2)]
    assert marks(found["NC1"], "o") == [(45, EPS)]
    assert [line.y for line in lines_of(found["NC1"]) if line.x == [40, 50]] == [[EPS, EPS]]
    assert "onset 45, fn* 1.2" in [text.get_text() for text in found["Feature norm"].texts]


def test_a_run_without_onset_is_marked_where_it_ends():
    figure = draw(run("a", state="censored", n=4))
    assert marks(panels(figure)["NC1"], "x") == [(40, 0.05)]
    assert marks(panels(figure)["NC1"], "o") == []
    assert legend_of(figure) == ["no onset by the end", "onset below NC1 = 0.01"]


def test_a_run_whose_onset_nobody_could_see_is_not_said_to_have_none():
    figure = draw(run("a", state="no_data", nc1=[math.nan] * 6))
    assert marks(panels(figure)["Feature norm"], "x") == []
    assert "no onset by the end" not in legend_of(figure)


def test_a_quantity_that_was_never_finite_has_no_panel():
    figure = draw(run("a", state="diverged", n=1, feature_norm=[math.inf]))
    assert "Feature norm" not in panels(figure)
    assert "NC1" in panels(figure)


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ([], "onset not confirmed by the end"),
        (["collapsed"], "onset not confirmed by the end"),
        (["censored"], "no onset, or not confirmed"),
    ],
)
def test_a_run_that_stopped_before_its_onset_was_confirmed_is_not_called_one_without(others: list[str], said: str):
    table = pd.concat([run(f"r{n}", state=state) for n, state in enumerate(["unconfirmed", *others])])
    assert said in legend_of(draw(table))


def test_marks_of_many_runs_are_smaller():
    def size(count: int) -> float:
        axes = panels(draw(pd.concat([run(f"r{n}") for n in range(count)])))["NC1"]
        return next(float(line.get_markersize()) for line in axes.lines if line.get_marker() == "o")

    assert size(3) > size(30) > size(130)


def test_eps_has_a_line_only_where_it_is_on_nc1():
    def levels(axes: Axes) -> list[float]:
        return [float(line.get_ydata()[0]) for line in axes.lines if list(line.get_xdata()) == [0, 1]]

    assert levels(panels(draw(run("a", state="censored")))["NC1"]) == [EPS]
    assert levels(panels(draw(run("a", state="censored"), metric="cdnv"))["NC1"]) == []


def test_the_legend_explains_every_condition_and_mark():
    table = pd.concat([run("a", "depth 5"), run("b", "depth 7", state="censored")])
    table = table.assign(lr_drop=table["epoch"] == 30, pair_lo=1.0, pair_fn_star=1.1, pair_hi=1.234)
    figure = draw(table)
    assert legend_of(figure) == [
        "depth 5",
        "depth 7",
        "onset, with its interval",
        "no onset by the end",
        "onset below NC1 = 0.01",
        "learning rate steps down",
        "fn* 1.1 (1 to 1.23, 95 %)",
    ]
    assert marks(panels(figure)["NC1"], "^") == [(30, 0.03)]


def test_too_many_conditions_to_name_are_told_apart_by_pair():
    runs = [run(f"r{n}", f"depth {n}").assign(pair="mlp mnist" if n % 2 else "cnn mnist") for n in range(11)]
    figure = draw(pd.concat(runs))
    assert legend_of(figure)[:3] == ["cnn mnist", "mlp mnist", "onset, with its interval"]
    colors = [color for _, _, color in curves(panels(figure)["NC1"])]
    assert colors == [line_style(n % 2)[0] for n in range(11)]


def test_too_many_pairs_to_tell_apart_are_counted():
    figure = draw(pd.concat([run(f"r{n}", f"depth {n}").assign(pair=f"mlp set{n}") for n in range(11)]))
    assert legend_of(figure)[:2] == ["runs of 11 pairs, not told apart", "onset, with its interval"]


def test_conditions_are_in_the_order_of_their_values():
    figure = draw(pd.concat([run(f"r{n}", f"wd {n}e-4") for n in (4, 2, 10, 1)]))
    assert legend_of(figure)[:4] == ["wd 1e-4", "wd 2e-4", "wd 4e-4", "wd 10e-4"]


def test_too_many_conditions_of_one_pair_are_told_apart_by_their_outcome():
    runs = [run(f"r{n}", f"depth {n}", state="collapsed" if n % 2 else "censored") for n in range(11)]
    figure = draw(pd.concat(runs))
    assert legend_of(figure)[:2] == ["run without", "run with onset"]


def test_the_band_of_one_pair_is_drawn_and_that_of_several_is_not():
    one = run("a").assign(pair_lo=1.0, pair_fn_star=1.1, pair_hi=1.2)
    other = run("b").assign(pair="cnn mnist", pair_lo=2.0, pair_fn_star=2.1, pair_hi=2.2)
    assert any("fn*" in text for text in legend_of(draw(one)))
    assert not any("fn*" in text for text in legend_of(draw(pd.concat([one, other]))))


@pytest.mark.parametrize("width", ["column", "page", "slide"])
def test_switches_that_differ_have_lines_and_one_name(width: Width):
    early = run("a").assign(phase=pd.array([1, 2, 2, 2, 2, 2], dtype="Int64"), loss=["ce"] + ["mse"] * 5)
    axes = panels(draw(pd.concat([early, run("b"), run("c")]), width))["Feature norm"]
    across = [line for line in axes.lines if line.get_linestyle() == ":" and list(line.get_ydata()) == [0, 1]]
    assert [line.get_xdata()[0] for line in across if line.get_color() == FAINT] == [10, 30]
    (text,) = axes.texts
    assert text.get_text() == "dotted: CE to MSE (1, 2 of 3 runs)"
    assert (text.get_position()[0], text.get_ha()) == (0, "left")


def test_of_many_switches_only_their_number_is_named():
    runs = [
        run(f"r{n}").assign(phase=pd.array([1] * n + [2] * (6 - n), dtype="Int64"), loss=["ce"] * n + ["mse"] * (6 - n))
        for n in range(1, 6)
    ]
    (text,) = panels(draw(pd.concat(runs)))["NC1"].texts
    assert text.get_text() == "dotted: CE to MSE (at 5 epochs, 5 of 5 runs)"


def test_phases_are_named_once_above_the_top_panels():
    figure = draw(run("a", nc3=[0.5] * 6, nc4=[0.5] * 6))
    named = {title: [text.get_text() for text in axes.texts] for title, axes in panels(figure).items()}
    assert named["NC1"] == ["CE", "MSE"]
    assert named["NC3"] == []


def test_scales_follow_the_values():
    table = run(
        "a", nc2_equiangular=[0.1, 0.2, 0.3, 0.2, 0.2, 0.2], nc4=[0.5, 0.1, 0.01, 0, 0, 0], nc3=[1, 1, 1, 1, 1, 0.01]
    )
    scales = {title: axes.get_yscale() for title, axes in panels(draw(table)).items()}
    assert scales == {"Feature norm": "log", "NC1": "log", "NC2": "linear", "NC3": "log", "NC4": "linear"}


@pytest.mark.parametrize("width", ["column", "page", "slide"])
@pytest.mark.parametrize(
    "table",
    [
        run("a", n=1, state="censored"),
        run("a", n=2, state="censored"),
        run("a", nc1=[math.nan] * 6, state="diverged"),
        run("a", nc1=[0.0, -1e-9, 0, 0, 0, 0], state="censored"),
        run("a", **{column: [math.nan] * 6 for column in CURVES}, state="no_data"),
        run("a", n=1, state="censored").assign(epoch=pd.array([0], dtype="Int64"), phase=pd.NA),
        pd.concat([run(f"r{place}", f"a condition with a long name, number {place}") for place in range(40)]),
    ],
    ids=["one row", "two rows", "all NaN", "zero and negative", "nothing", "epoch 0", "many"],
)
def test_odd_tables_are_drawn_without_a_warning(table: pd.DataFrame, width: Width):
    """Warnings are errors here, and matplotlib warns where a layout comes to nothing."""
    figure = draw(table, width)
    assert len(figure_bytes(figure, "png", PAGES[width])) > 1000
    assert figure.get_size_inches()[0] == PAGES[width].inches


def test_the_table_keeps_the_order_of_the_runs_and_leaves_out_those_without_rows(make_asked, make_run):
    runs = {"b": make_run(20.0, norm=1.2, depth=7, epochs=120, step=10), "empty": {}}
    runs["a"] = make_run(20.0, norm=1.5, epochs=80, step=10)
    table = trajectory_table(make_asked(runs))
    assert table["run"].tolist() == ["b"] * 12 + ["a"] * 8
    first, last = table.iloc[0], table.iloc[-1]
    assert (first["condition"], last["condition"], first["pair"]) == ("depth 7", "depth 5", "mlp mnist")
    # NC1 = exp(-epoch / 20) passes 0.01 at 20 ln 100, between the evaluations at 90 and 100; there fn is 1.2.
    assert first["onset_epoch"] == pytest.approx(20 * math.log(100))
    assert (first["onset_lo"], first["onset_hi"]) == (90, 100)
    assert first["fn_star"] == pytest.approx(1.2)
    assert (last["onset_state"], math.isnan(last["fn_star"])) == ("censored", True)
    assert table["nc1"].tolist()[:2] == pytest.approx([math.exp(-0.5), math.exp(-1)])


def test_a_drop_of_the_learning_rate_is_marked_in_the_table(make_asked, make_run):
    rates = [0.1] * 5 + [0.01] * 7
    table = trajectory_table(make_asked({"a": make_run(epochs=120, step=10, lr=rates)}))
    assert table.loc[table["lr_drop"], "epoch"].tolist() == [50]


def test_repeated_runs_do_not_narrow_the_band(make_asked, make_run):
    runs = {name: make_run(norm=norm, seed=seed) for name, norm, seed in (("a", 1.1, 0), ("b", 1 / 1.1, 1))}
    alone, repeated = (trajectory_table(make_asked(some)) for some in (runs, {**runs, "c": runs["b"]}))
    assert repeated["run"].nunique() == 3
    assert repeated["pair_lo"].iloc[0] == pytest.approx(alone["pair_lo"].iloc[0])
    assert alone["pair_fn_star"].iloc[0] == pytest.approx(1.0)
