"""Depth, width, activation and weight decay: when runs collapse, how many of them do, and at which feature norm.

Each factor is shown within groups of runs that are alike in everything else but the seed, as it is tested. A run that
never collapsed stays in: it is drawn, open, at the common budget, which is all that is known of it.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ncdiag.analysis.asked import Asked
from ncdiag.analysis.factor_groups import FactorGroup, list_factor_groups
from ncdiag.analysis.regularities import regularity_results
from ncdiag.errors import AnalysisError
from ncdiag.plotting.axes import MARKERS, draw_interval, lanes, log_axis, plain_axis, shifted
from ncdiag.plotting.conditions import compact, label_conditions
from ncdiag.plotting.layout import MOST_NAMED, Sheet, mark_handle, shorten, start_figure
from ncdiag.plotting.panels import LOG_RANGE
from ncdiag.plotting.style import INK, figure_style, line_style

_LOGARITHMIC = {"width": 2.0, "weight_decay": 10.0}
_NAMES = {"depth": "depth (hidden layers)", "width": "width (units)", "weight_decay": "weight decay"}


def regularity_table(asked: Asked, factor: str) -> pd.DataFrame:
    """Give the table behind the figure: a row per run of each group of runs that differ in `factor` alone.

    `value` is the factor's; `time` is the onset in epochs, or the budget of the group where the run did not collapse
    within it (`collapsed` is then false). What describes all runs of a value stands in each of their rows: `share` that
    collapsed, `onset_mean` (geometric, those without an onset entering with the budget) and `fn_mean`, with intervals.
    """
    groups = list_factor_groups(asked.onsets, factor, asked.rule)
    if not groups:
        option = factor.replace("_", "-")
        results = regularity_results(asked.onsets, rule=asked.rule, level=asked.level)
        untested = next(result for result in results if result.question == option)
        raise AnalysisError(
            f"{untested.warnings[0]}.\n`ncdiag sweep --{option} {_EXAMPLES[factor]} --seed 0:3` trains such runs"
        )
    names = label_conditions(pd.DataFrame([dict(group.fixed) for group in groups]))
    rows = [
        row for group, name in zip(groups, names, strict=True) for row in _rows(group, name, asked.onsets, asked.level)
    ]
    return pd.DataFrame(rows).assign(level=asked.level)


_EXAMPLES = {
    "depth": "2,3,5,7",
    "width": "128,256,512,1024",
    "activation": "relu,gelu,tanh",
    "weight_decay": "1e-5,1e-4,1e-3",
}


def _rows(group: FactorGroup, name: str, onsets: pd.DataFrame, level: float) -> list[dict[str, Any]]:
    described = group.describe_levels(level)
    states = dict(zip(onsets["run"], onsets["state"], strict=True))
    return [
        {
            "group": name,
            "factor": group.factor,
            "value": group.levels[number],
            "run": run,
            "state": states[run],
            "collapsed": bool(event),
            "time": float(time),
            "fn_star": float(norm) if event else math.nan,
            "budget": group.budget,
            **_of_level(described[number]),
        }
        for run, number, event, time, norm in zip(
            group.run, group.level.tolist(), group.event, group.restricted, group.fn_star, strict=True
        )
    ]


def _of_level(described: Mapping[str, Any]) -> dict[str, Any]:
    names = {"onset": "onset_mean", "fn_star": "fn_mean"}
    said: dict[str, Any] = {
        name: described[name] for name in ("n_runs", "n_collapsed", "share", "share_lo", "share_hi")
    }
    for name, called in names.items():
        said |= {called: described[name], **{f"{called}_{end}": described[f"{name}_{end}"] for end in ("lo", "hi")}}
    return said


def draw_regularity(table: pd.DataFrame, sheet: Sheet) -> Figure:
    """Draw the table of `regularity_table`: onsets, the share that collapsed, and fn*, against the factor."""
    page = sheet.page
    stacked = sheet.width == "column"
    with figure_style(page):
        high = {"column": 1.35, "page": 2.3, "slide": 4.6}[sheet.width]
        figure = start_figure(sheet, high * (3 if stacked else 1) + 0.2, _legend(table, sheet))
        panels = figure.subplots(*((3, 1) if stacked else (1, 3)), sharex=True)
        places = _places(table)
        onsets, shares, norms = panels
        _set_axis(onsets, table[["time", "onset_mean_lo", "onset_mean_hi"]].to_numpy(dtype=np.float64), "epoch")
        shares.set(ylim=(-0.05, 1.05), ylabel="share of the runs")
        plain_axis(shares.yaxis)
        _set_axis(norms, table[["fn_star", "fn_mean_lo", "fn_mean_hi"]].to_numpy(dtype=np.float64), "feature norm")
        for axes, title in zip(panels, ("Onset", _share_title(table), "fn*"), strict=True):
            axes.set_title(title)
            _set_values(axes, table, places, sheet)
        for axes in panels[-1:] if stacked else panels:
            axes.set_xlabel(_NAMES.get(table["factor"].iloc[0], table["factor"].iloc[0]))
        groups = list(table["group"].unique())
        apart = min(1.6, 8 / len(groups)) * page.points
        for number, name in enumerate(groups):
            across = apart * (number - (len(groups) - 1) / 2)
            _draw_group(panels, table[table["group"] == name], number, across, places, sheet)
    return figure


def _places(table: pd.DataFrame) -> dict[Any, float]:
    """Give the place of each value on the axis: its logarithm, itself, or its number if it is a word.

    A value of 0 has no logarithm; it stands a step before the smallest other one.
    """
    factor = table["factor"].iloc[0]
    values = sorted(table["value"].unique())
    if any(isinstance(value, str) for value in values):
        return {value: float(number) for number, value in enumerate(values)}
    if factor not in _LOGARITHMIC:
        return {value: float(value) for value in values}
    places = {value: math.log(value, _LOGARITHMIC[factor]) for value in values if value > 0}
    return {value: min(places.values(), default=0.0) - 1 for value in values if value <= 0} | places


def _gap(places: Mapping[Any, float]) -> float:
    at = sorted(places.values())
    return min((b - a for a, b in pairwise(at)), default=1.0)


_CLOSE = 0.06  # of the axis: names at less than this run into each other


def _set_values(axes: Axes, table: pd.DataFrame, places: Mapping[Any, float], sheet: Sheet) -> None:
    at, words = list(places.values()), [_word(value) for value in places]
    named = -math.inf
    for number, place in enumerate(at):  # of values that lie close together the first has its name
        if place - named < _CLOSE * (at[-1] - at[0]):
            words[number] = ""
        else:
            named = place
    margin = max(0.6 * _gap(places), 0.12 * (max(at) - min(at)))
    axes.set_xlim(min(at) - margin, max(at) + margin)
    axes.set_xticks(at, words)
    axes.tick_params(axis="x", labelbottom=True)
    if len(words) > 6 or sum(map(len, words)) > 24:
        axes.tick_params(axis="x", labelrotation=45)
    axes.grid(visible=False, axis="x")


def _word(value: Any) -> str:
    return shorten(value, 8, 0.8) if isinstance(value, str) else compact(float(value))


def _set_axis(axes: Axes, values: np.ndarray[Any, np.dtype[np.float64]], label: str) -> None:
    """Set a scale over all values, logarithmic where they span more than a decade."""
    finite = values[np.isfinite(values)]
    axes.set_ylabel(label)
    if not len(finite):
        return
    if finite.min() > 0 and finite.max() > LOG_RANGE * finite.min():
        log_axis(axes.yaxis, finite)
        return
    margin = 0.1 * (finite.max() - finite.min() or abs(finite.max()) or 1)
    axes.set_ylim(max(finite.min() - margin, 0 if finite.min() >= 0 else -math.inf), finite.max() + margin)
    plain_axis(axes.yaxis)


def _share_title(table: pd.DataFrame) -> str:
    budgets = table["budget"].unique()
    return f"Collapsed by epoch {compact(float(budgets[0]))}" if len(budgets) == 1 else "Collapsed within the budget"


def _draw_group(
    panels: Sequence[Axes],
    own: pd.DataFrame,
    number: int,
    across: float,
    places: Mapping[Any, float],
    sheet: Sheet,
) -> None:
    """Draw a group `across` points beside the place of each value; a mean that holds budgets for onsets is open."""
    points = sheet.page.points
    color, style = line_style(number)
    marker = MARKERS[number % len(MARKERS)]
    levels = own.drop_duplicates("value").sort_values("value", key=lambda values: values.map(places))
    at = levels["value"].map(places).to_numpy(dtype=np.float64)
    partial = (levels["n_collapsed"] < levels["n_runs"]).to_numpy(dtype=bool)
    for axes, mean in zip(panels, ("onset_mean", "share", "fn_mean"), strict=True):
        where = shifted(axes, across)
        ends = levels[[f"{mean}_lo", f"{mean}_hi"]].to_numpy(dtype=np.float64)
        for place, (lo, hi) in zip(at.tolist(), ends.tolist(), strict=True):
            draw_interval(axes, place, (lo, hi), color=color, points=points * 0.7, upright=True, transform=where)
        means = levels[mean].to_numpy(dtype=np.float64)
        joined = "none" if own["factor"].iloc[0] == "activation" else style  # words have no order
        axes.plot(at, means, color=color, linestyle=joined, linewidth=points / 10, zorder=2, transform=where)
        for mine in (~partial, partial):
            (marks,) = axes.plot(at[mine], means[mine], marker, color=color, zorder=4, transform=where)
            marks.set(markersize=points / 1.7, markeredgewidth=points / 9)
            marks.set_markerfacecolor("white" if mine is partial and mean == "onset_mean" else color)
    for axes, name in ((panels[0], "time"), (panels[2], "fn_star")):
        _draw_runs(axes, own, name, across + 0.9 * points, places, (color, marker), points)


def _draw_runs(
    axes: Axes,
    own: pd.DataFrame,
    name: str,
    across: float,
    places: Mapping[Any, float],
    look: tuple[str, str],
    points: float,
) -> None:
    """Draw the runs beside the mean of their value; one without an onset is open, with an arrow: later, or never."""
    color, marker = look
    near = 0.02 * float(np.ptp(axes.transData.transform([(0, y) for y in axes.get_ylim()])[:, 1]))
    for value, rows in own[np.isfinite(own[name])].groupby("value", sort=False):
        values = rows[name].to_numpy(dtype=np.float64)
        seen = axes.transData.transform(np.stack([np.zeros(len(values)), values], axis=1))[:, 1]
        for lane, level, collapsed in zip(lanes(seen, near), values, rows["collapsed"], strict=True):
            where = across + 0.45 * points * float(lane)
            (dot,) = axes.plot(places[value], level, marker, color=color, zorder=3, transform=shifted(axes, where))
            dot.set(markersize=points / 3, markeredgewidth=points / 12, clip_on=False)
            if not collapsed:
                dot.set_markerfacecolor("white")
                above = shifted(axes, where, points * 0.45)
                axes.plot(places[value], level, "^", color=color, clip_on=False, transform=above)
                axes.lines[-1].set(markersize=points / 4, markeredgewidth=0)


def _legend(table: pd.DataFrame, sheet: Sheet) -> list[Line2D]:
    points = sheet.page.points
    groups = [name for name in table["group"].unique() if name]
    handles = []
    for number, name in enumerate(groups[:MOST_NAMED]):
        color, style = line_style(number)
        handle = Line2D([], [], color=color, linestyle=style, marker=MARKERS[number % len(MARKERS)], label=name)
        handle.set_markersize(points / 1.7)
        handles.append(handle)
    handles.append(Line2D([], [], color=INK, linewidth=points / 7, marker="o", label=f"mean, {sheet.sure} interval"))
    handles[-1].set_markersize(points / 1.7)
    handles.append(mark_handle("o", "a run", points, filled=True))
    handles[-1].set_markersize(points / 3)
    if not table["collapsed"].all():
        handles.append(mark_handle("o", "open: without onset, at the budget", points, filled=False))
        handles[-1].set_markersize(points / 3)
    return handles
