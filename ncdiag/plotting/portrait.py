"""The phase portrait: the feature norm against NC1 through training, which shows whether there is a threshold at all.

Were there one, the curves of a pair would cross eps at one height, wherever they come from.
"""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ncdiag.analysis.asked import Asked
from ncdiag.domain.statistics import FloatArray
from ncdiag.errors import AnalysisError
from ncdiag.plotting.axes import line_weights, log_axis, mark_size
from ncdiag.plotting.conditions import label_conditions, label_pairs, name_outcomes, sort_names
from ncdiag.plotting.curves import DrawnCurve, Mark, draw_curves, draw_marks, rows_by_run
from ncdiag.plotting.layout import (
    MOST_NAMED,
    Sheet,
    label_panels,
    mark_handle,
    note_handles,
    panel_grid,
    squeeze,
    start_figure,
)
from ncdiag.plotting.pairs import pair_thresholds
from ncdiag.plotting.panels import END_MARK, ONSET_MARK, end_label
from ncdiag.plotting.style import BAND, DASHED, INK, LineStyle, figure_style, line_style
from ncdiag.plotting.trajectories import ONSET

_MOST_PANELS = 12
_MOST_ARROWS = 12  # on one panel: more of them hide the curves
_LABELS = {"nc1": "NC1, within / between"}


def portrait_table(asked: Asked) -> pd.DataFrame:
    """Give the table behind the figure: a row per evaluation at which both the norm and the metric were above 0.

    `condition` tells the runs of a pair apart; `pair_fn_star` is fn* of the pair, with its interval.
    """
    onsets, metric = asked.onsets, asked.terms.rule.metric
    if metric == "feature_norm":
        raise AnalysisError("the feature norm against itself shows nothing; choose another --metric, such as nc1")
    of_run = onsets[["run", *ONSET]].rename(columns=ONSET)
    pairs = label_pairs(onsets, asked)
    of_run.insert(1, "pair", pairs)
    of_run.insert(2, "condition", pd.concat([label_conditions(own) for _, own in onsets.groupby(pairs, sort=False)]))
    of_run = of_run.merge(pair_thresholds(asked), on="pair", how="left")
    rows = of_run.merge(asked.epochs[["run", "epoch", "phase", "loss", metric, "feature_norm"]], on="run")
    both = rows[[metric, "feature_norm"]].to_numpy(dtype=np.float64, na_value=np.nan)
    rows = rows[(np.isfinite(both) & (both > 0)).all(axis=1)].reset_index(drop=True)
    if rows.empty:
        raise AnalysisError(f"no run has an evaluation with both feature_norm and {metric} above 0; nothing to draw")
    about = [column for column in of_run.columns if column not in ("run", "pair", "condition")]
    columns = ["run", "pair", "condition", "epoch", "phase", "loss", metric, "feature_norm", *about]
    table: pd.DataFrame = rows[columns]
    return table


def draw_portrait(table: pd.DataFrame, sheet: Sheet) -> Figure:
    """Draw the table of `portrait_table`: a panel per pair, a curve per run, an arrow in the direction of training.

    The curve is pale in a first phase that some run has left, also of a run that never did. Colours are the conditions
    of a pair, or, where there are too many to name, whether the run had an onset.
    """
    pairs = list(table["pair"].unique())
    shown = pairs[:_MOST_PANELS]
    table = _with_styles(table[table["pair"].isin(shown)])
    page, rule = sheet.page, sheet.terms.rule
    rows, across = panel_grid(len(shown), {"column": 2, "page": 3, "slide": 3}[sheet.width])
    height = min(page.inches / across * (0.8 if across > 1 else 0.62), 6.2 / rows)
    with figure_style(page):
        more = note_handles(len(pairs) - len(shown), "pair")
        figure = start_figure(sheet, rows * height, [*_legend(table, sheet), *more])
        grid = figure.subplots(rows, across, sharex=True, sharey=True, squeeze=False)
        log_axis(grid[0, 0].xaxis, [*table[rule.metric], rule.eps], letters=int(80 / across))
        log_axis(grid[0, 0].yaxis, table["feature_norm"])
        for axes, pair in zip(grid.flat, shown, strict=False):
            _draw_pair(axes, table[table["pair"] == pair], sheet)
            axes.set_title(squeeze(pair, page.points * 1.1, page.inches / across * 0.85))
        label_panels(grid, len(shown), _LABELS.get(rule.metric, rule.metric), "feature norm")
    return figure


def _with_styles(table: pd.DataFrame) -> pd.DataFrame:
    """Add what the curves are told apart by (`series`, empty where there is nothing to tell) and its number."""
    series = table["condition"]
    if series[series != ""].nunique() > MOST_NAMED:
        series = name_outcomes(table)
    names = sort_names(name for name in series.unique() if name)
    numbers = [names.index(name) if name else -1 for name in series]
    found: pd.DataFrame = table.assign(series=series, number=numbers, pale=_in_left_phase(table))
    return found


def _in_left_phase(table: pd.DataFrame) -> pd.Series:
    """Mark the evaluations in phase 1 under a loss that some run has left with it: what is read there is another norm.

    A run that was trained in one phase under the last loss of the others is not meant.
    """
    first = table["phase"] == 1
    left = first & (table.groupby("run")["phase"].transform("max") > 1)
    return first & table["loss"].isin(table.loc[left, "loss"])


def _draw_pair(axes: Axes, table: pd.DataFrame, sheet: Sheet) -> None:
    points, rule = sheet.page.points, sheet.terms.rule
    runs = rows_by_run(table)
    x, y = (table[name].to_numpy(dtype=np.float64) for name in (rule.metric, "feature_norm"))
    numbers, pale = table["number"].to_numpy(), table["pale"].to_numpy(dtype=bool)
    axes.axvline(rule.eps, color=INK, linewidth=points / 12, linestyle=DASHED, zorder=1)
    low, estimate, high = table[["pair_lo", "pair_fn_star", "pair_hi"]].to_numpy(dtype=np.float64)[0]
    if np.isfinite(low):
        axes.axhspan(low, high, **BAND, zorder=1)
    if np.isfinite(estimate):
        axes.axhline(estimate, color=INK, linewidth=points / 14, zorder=1)
    width, alpha = line_weights(len(runs), points)
    every = math.ceil(len(runs) / _MOST_ARROWS)
    curves: list[DrawnCurve] = []
    for place, rows in enumerate(runs):
        color, style = _style(int(numbers[rows[0]]))
        parts = rows[: pale[rows].sum()], rows[max(pale[rows].sum() - 1, 0) :]
        curves += [
            DrawnCurve(x[parts[0]], y[parts[0]], color, style, width * 0.7, alpha * 0.45),
            DrawnCurve(x[parts[1]], y[parts[1]], color, style, width, alpha),
        ]
        if place % every == 0:
            for part, size in zip(parts, (points * 0.8, points), strict=True):
                _point_along(axes, x[part], y[part], color, size)
    draw_curves(axes, curves)
    _mark_ends(axes, table, runs, sheet)


def _style(number: int) -> tuple[str, LineStyle]:
    return (INK, "solid") if number < 0 else line_style(number)


def _point_along(axes: Axes, x: FloatArray, y: FloatArray, color: str, points: float) -> None:
    """Put an arrowhead on a curve where half of its way, as it is seen, is done."""
    if len(x) < 2:
        return
    seen = axes.transData.transform(np.stack([x, y], axis=1))
    steps = np.hypot(*np.diff(seen, axis=0).T)
    if steps.sum() < 2 * points:
        return
    at = int(np.searchsorted(np.cumsum(steps), steps.sum() / 2))
    arrow = {"arrowstyle": "-|>", "color": color, "lw": 0, "mutation_scale": points * 1.1, "shrinkA": 0, "shrinkB": 0}
    middle = axes.transData.inverted().transform((seen[at] + seen[at + 1]) / 2)
    axes.annotate("", tuple(middle), xytext=(x[at], y[at]), arrowprops=arrow, zorder=4)


def _mark_ends(axes: Axes, table: pd.DataFrame, runs: list[NDArray[np.intp]], sheet: Sheet) -> None:
    """Mark each onset, at eps or at the evaluation that it was read from, or the end of a run without one."""
    metric, size = sheet.terms.rule.metric, mark_size(len(runs), sheet.page.points)
    epochs, seen = (table[name].to_numpy(dtype=np.float64) for name in ("epoch", metric))
    marks: list[Mark] = []
    for rows, run in zip(runs, table.drop_duplicates("run", keep="last").to_dict("records"), strict=True):
        color, _ = _style(run["number"])
        if run["onset_state"] != "collapsed":
            marks.append(Mark(run[metric], run["feature_norm"], color, END_MARK))
        elif np.isfinite(run["fn_star"]):
            read = seen[rows[epochs[rows] == run["onset_epoch"]]]  # between evaluations it is at eps
            marks.append(Mark(next(iter(read), sheet.terms.rule.eps), run["fn_star"], color, ONSET_MARK))
    draw_marks(axes, marks, markersize=size, markeredgewidth=size / 4, markerfacecolor="white", zorder=5)


def _legend(table: pd.DataFrame, sheet: Sheet) -> list[Line2D]:
    points = sheet.page.points
    named = table.drop_duplicates("number").sort_values("number")
    handles = []
    for name, number in zip(named["series"], named["number"], strict=True):
        if name:
            color, style = line_style(number)
            handles.append(Line2D([], [], color=color, linestyle=style, label=name))
    states = set(table.drop_duplicates("run")["onset_state"])
    if "collapsed" in states:
        handles.append(mark_handle(ONSET_MARK, "onset", points))
    if states - {"collapsed"}:
        handles.append(mark_handle(END_MARK, end_label(states), points))
    if table["pale"].any():
        losses = table.loc[table["pale"], "loss"].dropna().unique()
        label = f"first phase, {losses[0].upper()}" if len(losses) == 1 else "first phase"
        handles.append(Line2D([], [], color=INK, alpha=0.45, linewidth=points / 12, label=label))
    eps = sheet.terms.rule.eps
    dashed = Line2D([], [], color=INK, linewidth=points / 12, linestyle=DASHED, label=f"eps {eps:g}")
    handles.append(dashed)
    known = np.isfinite(table[["pair_fn_star", "pair_lo"]].to_numpy(dtype=np.float64)).any(axis=0)
    if known[0]:
        label = f"fn*, {sheet.sure} interval" if known[1] else "fn*"
        handles.append(Line2D([], [], color=INK, linewidth=points / 14, label=label))
    return handles
