"""What a lead costs: the error of forecasts from an alarm of fn against how early it comes, beside other alarms."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ncdiag.analysis.asked import Asked
from ncdiag.analysis.lead_curve import lead_curve
from ncdiag.analysis.leads import MIN_RUNS
from ncdiag.domain.shares import counted
from ncdiag.errors import AnalysisError
from ncdiag.plotting.axes import plain_axis
from ncdiag.plotting.conditions import label_pairs, strictest
from ncdiag.plotting.layout import (
    Sheet,
    join_titles,
    label_panels,
    mark_handle,
    note_handles,
    panel_grid,
    start_figure,
    wrap,
)
from ncdiag.plotting.style import DASHED, INK, PALE, PALETTE, LineStyle, figure_style

_MOST_PANELS = 9
_FLOORS: dict[str, tuple[str, LineStyle, str]] = {
    "median": (INK, DASHED, "guess: median onset"),
    "nearest": (INK, (0, (1, 1.5)), "nearest condition"),
}
_LEARNED = "accuracy"


def lead_table(asked: Asked) -> pd.DataFrame:
    """Give the table behind the figure: `lead_curve` of each pair, with whole conditions held out where it has enough.

    Where it has not, single runs are held out; `held_out` says which. `lead` and `mae` are in epochs.
    """
    table = lead_curve(asked)
    if table.empty:
        collapsed = int((asked.onsets["state"] == "collapsed").sum())
        raise AnalysisError(
            f"a lead needs {MIN_RUNS} runs of one pair with an onset ({asked.terms.rule}); {collapsed} of "
            f"{counted(len(asked.onsets), 'run')} with one.\n`ncdiag sweep --preset quickstart` trains nine such"
        )
    table.insert(0, "pair", label_pairs(table, asked))
    return strictest(table)


def draw_leads(table: pd.DataFrame, sheet: Sheet) -> Figure:
    """Draw the table of `lead_table`: a panel per pair, a curve per observable, a level line for what has no alarm."""
    page = sheet.page
    every = list(table["pair"].unique())
    pairs = every[:_MOST_PANELS]
    rows, across = panel_grid(len(pairs), {"column": 1, "page": 2, "slide": 3}[sheet.width])
    height = min(
        page.inches / across * (0.65 if across < 3 else 0.9),
        {"column": 2.2, "page": 3.2, "slide": 5.2}[sheet.width] if rows == 1 else 2.8,
    )
    with figure_style(page):
        figure = start_figure(
            sheet, rows * height, [*_legend(table, sheet), *note_handles(len(every) - len(pairs), "pair")]
        )
        grid = figure.subplots(rows, across, squeeze=False)
        panels = [table[table["pair"] == pair] for pair in pairs]
        for axes, own, title in zip(grid.flat, panels, _titles(panels, page.inches / across, sheet), strict=False):
            axes.set_title(title)
            _draw_pair(axes, own, sheet)
        label = wrap("MAE of the forecast, epochs", page.points, height - 5 * page.points / 72)
        label_panels(grid, len(pairs), "mean lead of the alarm, epochs", "\n".join(label))
    return figure


def _titles(panels: Sequence[pd.DataFrame], inches: float, sheet: Sheet) -> list[str]:
    """Name panels by their pair and what was held out."""
    named = [
        (str(own["pair"].iloc[0]), f"{own['held_out'].iloc[0]}s held out, {own['n'].iloc[0]} runs") for own in panels
    ]
    return join_titles(named, ": ", sheet.page.points * 1.1, inches * 0.88)


def _draw_pair(axes: Axes, own: pd.DataFrame, sheet: Sheet) -> None:
    points, metric = sheet.page.points, sheet.terms.rule.metric
    levels = own[own["multiple"].notna()]
    main = own[~own["contender"].isin(set(levels["contender"]) - {"fn", metric})]
    top = 1.25 * float(np.nanmax(main["mae"]))
    leads = main["lead"].to_numpy(dtype=np.float64)
    axes.set_ylim(0, top if top > 0 else 1)
    furthest = max(float(np.nanmax(leads)), 1.0)
    axes.set_xlim(max(min(0.0, float(np.nanmin(leads))), -0.1 * furthest), 1.05 * furthest)
    plain_axis(axes.xaxis)
    plain_axis(axes.yaxis)
    for name, rows in levels.groupby("contender", sort=False):
        color, style, width, order = _look(str(name), metric, points)
        ordered = rows.sort_values("multiple", kind="stable")  # a curve may turn back: a later level, an earlier alarm
        (curve,) = axes.plot(ordered["lead"], ordered["mae"], color=color, linestyle=style, linewidth=width)
        curve.set_zorder(order)
        if len(ordered.drop_duplicates(["lead", "mae"])) == 1:  # a line of no length would not be seen
            curve.set(marker="o", markersize=4 * width, clip_on=False)  # wider than the squares upon it
    for _, row in own[own["multiple"].isna()].iterrows():
        if row["contender"] in _FLOORS:
            color, style, _ = _FLOORS[row["contender"]]
            axes.axhline(row["mae"], color=color, linestyle=style, linewidth=points / 10, zorder=3)
            continue
        marker, color = ("^", INK) if row["contender"] == _LEARNED else ("s", PALETTE[1])
        (mark,) = axes.plot(row["lead"], row["mae"], marker, color=color, zorder=5, clip_on=False)
        mark.set(markersize=points / 1.9, markerfacecolor="white", markeredgewidth=points / 9)


def _look(name: str, metric: str, points: float) -> tuple[str, LineStyle, float, int]:
    if name == "fn":
        return PALETTE[0], "solid", points / 4.5, 4
    if name == metric:
        return PALETTE[1], (0, (5, 1.5)), points / 5.5, 4
    return PALE, "solid", points / 16, 2


def _legend(table: pd.DataFrame, sheet: Sheet) -> list[Line2D]:
    points, metric = sheet.page.points, sheet.terms.rule.metric
    present = set(table["contender"])
    levels = set(table.loc[table["multiple"].notna(), "contender"])
    named = {"fn": "alarm of fn", metric: f"alarm of {metric}"}
    handles = []
    for name, said in named.items():
        if name in levels:
            color, style, width, _ = _look(name, metric, points)
            handles.append(Line2D([], [], color=color, linestyle=style, linewidth=width, label=said))
    if levels - set(named):
        handles.append(Line2D([], [], color=PALE, linewidth=points / 16, label="alarms of other observables"))
    for name, (color, style, said) in _FLOORS.items():
        if name in present:
            handles.append(Line2D([], [], color=color, linestyle=style, linewidth=points / 10, label=said))
    if _LEARNED in present:
        handles.append(mark_handle("^", "train accuracy 0.999", points, filled=False))
    if any(name.startswith(f"{metric}<") for name in present):
        handles.append(mark_handle("s", f"{metric} below multiples of eps", points, color=PALETTE[1], filled=False))
    return handles
