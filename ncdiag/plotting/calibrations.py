"""Forecasts of the onset against what happened: each run, unseen when it was forecast, with its intervals."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ncdiag.analysis.asked import Asked
from ncdiag.analysis.tournament import calibration_table
from ncdiag.analysis.tournament_views import MIN_UNITS_HELD
from ncdiag.domain.shares import counted
from ncdiag.errors import AnalysisError
from ncdiag.plotting.axes import draw_interval, plain_axis, write
from ncdiag.plotting.conditions import label_pairs, strictest
from ncdiag.plotting.layout import (
    Sheet,
    join_titles,
    label_panels,
    mark_handle,
    note_handles,
    panel_grid,
    start_figure,
)
from ncdiag.plotting.style import FAINT, INK, PALETTE, Width, figure_style

_MOST_PANELS: dict[Width, int] = {"column": 12, "page": 12, "slide": 8}
_INSIDE, _MISSED = PALETTE[0], PALETTE[1]


def forecast_table(asked: Asked) -> pd.DataFrame:
    """Give the table behind the figure: `calibration_table`, with whole conditions held out where a pair has enough.

    Where it has not, single runs are held out; `held_out` says which. `inside` says whether the onset (`actual`) lies
    in the interval, and is missing where there is none; all times are in epochs.
    """
    table = calibration_table(asked)
    if table.empty:
        collapsed = int((asked.onsets["state"] == "collapsed").sum())
        raise AnalysisError(
            f"forecasts that can be checked need {MIN_UNITS_HELD} runs of one pair with an onset ({asked.terms.rule}); "
            f"{collapsed} of {counted(len(asked.onsets), 'run')} with one.\n"
            "`ncdiag sweep --preset quickstart` trains nine such"
        )
    table.insert(0, "pair", label_pairs(table, asked))
    inside = ((table["lo"] <= table["actual"]) & (table["actual"] <= table["hi"])).astype("boolean")
    return strictest(table.assign(inside=inside.where(table["lo"].notna())))


def draw_calibration(table: pd.DataFrame, sheet: Sheet) -> Figure:
    """Draw the table of `forecast_table`: a panel per pair and epoch asked at, a bar for each interval of each run."""
    page = sheet.page
    panels = [rows for _, rows in table.sort_values("epoch", kind="stable").groupby(["pair", "epoch"], sort=False)]
    panels = sorted(panels, key=lambda rows: list(table["pair"]).index(rows["pair"].iloc[0]))
    with_interval = [rows for rows in panels if rows["lo"].notna().any()] or panels
    left_out = len(panels) - len(panels := with_interval[: _MOST_PANELS[sheet.width]])
    rows, across = panel_grid(len(panels), {"column": 2, "page": 3, "slide": 4}[sheet.width])
    height = min(page.inches / across * 0.85, 6.0 / rows if sheet.width == "slide" else 2.4)
    with figure_style(page):
        figure = start_figure(
            sheet, rows * height, [*_legend(pd.concat(panels), sheet), *note_handles(left_out, "panel")]
        )
        grid = figure.subplots(rows, across, squeeze=False)
        for axes, own, title in zip(grid.flat, panels, _titles(panels, page.inches / across, sheet), strict=False):
            axes.set_title(title, pad=page.points * 2.1)
            _draw_epoch(axes, own, sheet)
        label_panels(grid, len(panels), "onset, epoch", "forecast, epoch")
    return figure


def _titles(panels: Sequence[pd.DataFrame], inches: float, sheet: Sheet) -> list[str]:
    """Name panels by pair and epoch: panels of a pair differ in the epoch alone."""
    named = [(str(own["pair"].iloc[0]), f"asked at epoch {own['epoch'].iloc[0]:g}") for own in panels]
    return join_titles(named, ", ", sheet.page.points * 1.1, inches * 0.8)


def _draw_epoch(axes: Axes, own: pd.DataFrame, sheet: Sheet) -> None:
    points = sheet.page.points
    where = {"xycoords": "axes fraction", "xytext": (0, points * 0.7), "va": "bottom"}  # above the arrows
    write(axes, _counts(own), (0, 1), points * 0.9, color=FAINT, **where)
    (x_low, x_high), (y_low, y_high) = _limits(own)
    axes.set(xlim=(x_low, x_high), ylim=(y_low, y_high))
    for axis in (axes.xaxis, axes.yaxis):
        plain_axis(axis, 4)
    axes.plot([x_low, x_high], [x_low, x_high], color=INK, linewidth=points / 12, zorder=1)
    for level in sorted(own["level"].unique(), reverse=True):  # the narrow ones upon the wide ones
        rows, wide = own[own["level"] == level], 0.9 if level == own["level"].min() else 0.35
        for inside, actual, lo, hi in rows[["inside", "actual", "lo", "hi"]].itertuples(index=False):
            color = _MISSED if not (pd.isna(inside) or inside) else _INSIDE
            draw_interval(axes, actual, (lo, hi), color=color, points=points * wide, upright=True)
    widest = own[own["level"] == own["level"].max()]
    missed = (widest["inside"] == False).fillna(value=False).to_numpy(dtype=bool)  # noqa: E712  # missing is neither
    bare = widest["inside"].isna().to_numpy(dtype=bool)
    for mine, marker, color in ((~missed & ~bare, "o", _INSIDE), (missed, "X", _MISSED), (bare, "o", FAINT)):
        rows = widest[mine]
        (dots,) = axes.plot(rows["actual"], rows["forecast"], marker, color=color, zorder=5)
        dots.set(markersize=points / 2.2, markeredgewidth=points / 14 if marker == "o" else 0, markeredgecolor="white")
        if mine is bare:  # it says nothing of whether intervals hold
            dots.set(markerfacecolor="white", markeredgecolor=color, markeredgewidth=points / 10)


def _counts(own: pd.DataFrame) -> str:
    """Say how many onsets lie in the interval of each level."""
    known = own.dropna(subset=["inside"])
    if known.empty:
        return f"{counted(own['run'].nunique(), 'run')}, no interval"
    levels = [(level, known.loc[known["level"] == level, "inside"]) for level in sorted(known["level"].unique())]
    return ", ".join(f"{100 * level:g} %: {int(inside.sum())} of {len(inside)}" for level, inside in levels)


def _limits(own: pd.DataFrame) -> tuple[tuple[float, float], tuple[float, float]]:
    """Give limits over the onsets, and over forecasts and intervals as far as these leave room for the rest."""
    actual, forecast = (own[name].to_numpy(dtype=np.float64) for name in ("actual", "forecast"))
    low, high = float(min(actual.min(), np.nanmin(forecast))), float(max(actual.max(), np.nanmax(forecast)))
    ends = own[["lo", "hi"]].to_numpy(dtype=np.float64)
    ends = ends[np.isfinite(ends)]
    room = max(high - low, 0.1 * high)
    if len(ends):
        low, high = max(min(low, ends.min()), low - room), min(max(high, ends.max()), high + room)
    return _with_margin(actual.min(), actual.max()), _with_margin(low, high)


def _with_margin(low: float, high: float) -> tuple[float, float]:
    margin = max(0.07 * (high - low), 0.01 * high)
    return max(float(low - margin), 0.0), float(high + margin)


def _legend(table: pd.DataFrame, sheet: Sheet) -> list[Line2D]:
    points = sheet.page.points
    levels = sorted(table["level"].unique())
    handles = [mark_handle("o", "forecast of a run", points, color=_INSIDE, filled=True)]
    for level in levels:
        wide = 0.9 if level == levels[0] else 0.35
        said = f"{100 * level:g} % interval"
        handles.append(Line2D([], [], color=_INSIDE, linewidth=points * wide / 5, label=said))
    if (table["inside"] == False).any():  # noqa: E712  # missing is neither
        handles.append(mark_handle("X", "interval misses the onset", points, color=_MISSED))
        handles[-1].set(linestyle="solid", linewidth=points * 0.35 / 5)
    if table["inside"].isna().any():
        handles.append(mark_handle("o", "forecast without an interval", points, color=FAINT, filled=False))
    handles.append(Line2D([], [], color=INK, linewidth=points / 12, label="forecast = onset"))
    return handles
