"""Depth, width, activation and weight decay: when runs collapse, how many of them do, and at which feature norm.

Each factor is shown within groups of runs that are alike in everything else but the seed, as it is tested. A run that
never collapsed stays in: it is drawn, open, at the common budget, which is all that is known of it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ncdiag.analysis.asked import Asked
from ncdiag.analysis.factor_groups import FactorGroup, list_factor_groups
from ncdiag.analysis.regularities import regularity_results
from ncdiag.domain.naming import compact
from ncdiag.domain.questions import question_on
from ncdiag.errors import AnalysisError
from ncdiag.plotting.axes import MARKERS, draw_interval, log_axis, plain_axis, shifted, write
from ncdiag.plotting.conditions import name_conditions
from ncdiag.plotting.layout import MOST_NAMED, Sheet, mark_handle, series_handle, shorten, start_figure, text_inches
from ncdiag.plotting.slots import Slots, make_slots, roomy, spread_out
from ncdiag.plotting.style import FAINT, INK, Width, figure_style, line_style

# Heights of the panels in inches, one below the other and side by side.
_STACKED: dict[Width, float] = {"column": 1.35, "page": 1.5, "slide": 2.0}
_BESIDE: dict[Width, float] = {"column": 1.35, "page": 2.3, "slide": 4.6}
_LOG_RATIO = 4  # an axis becomes logarithmic where its values span more than this factor: their means are geometric
_ABOVE = 0.22  # of the axis of the onsets: what the arrows of runs without onset take
_NAMES = {"depth": "depth (hidden layers)", "width": "width (units)", "weight_decay": "weight decay"}


def regularity_table(asked: Asked, factor: str) -> pd.DataFrame:
    """Give the table behind the figure: a row per run of each group of runs that differ in `factor` alone.

    `value` is the factor's; `time` is the onset in epochs, or the budget of the group where the run did not collapse
    within it (`collapsed` is then false). What describes all runs of a value stands in each of their rows: `share` that
    collapsed, `onset_mean` (geometric, those without an onset entering with the budget) and `fn_mean`, with intervals.
    """
    groups = list_factor_groups(asked.onsets, factor, asked.terms)
    if not groups:
        results = regularity_results(asked.onsets, asked.terms)
        untested = next(result for result in results if result.question == question_on(factor))
        raise AnalysisError(f"{untested.warnings[0]}.\n`ncdiag analyze claims` says what to train beside these runs")
    names = name_conditions([group.fixed for group in groups])
    rows = [row for group, name in zip(groups, names, strict=True) for row in _rows(group, name, asked.onsets)]
    return pd.DataFrame(rows).assign(level=asked.terms.level)


def _rows(group: FactorGroup, name: str, onsets: pd.DataFrame) -> list[dict[str, Any]]:
    described = group.describe_levels()
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
    """Draw the table of `regularity_table`: onsets, the share that collapsed, and fn*, against the factor.

    Where the values leave the runs too little room, they stand at equal distances, and then the panels one below the
    other.
    """
    stacked, slots = _arrange(table, sheet)
    factor = table["factor"].iloc[0]
    with figure_style(sheet.page):
        high = _STACKED[sheet.width] if stacked else _BESIDE[sheet.width]
        figure = start_figure(sheet, high * (3 if stacked else 1) + 0.2, _legend(table, sheet))
        panels = figure.subplots(*((3, 1) if stacked else (1, 3)), sharex=True)
        onsets, shares, norms = panels
        above = _ABOVE if not table["collapsed"].all() else 0.0
        _set_axis(onsets, table[["time", "onset_mean_lo", "onset_mean_hi"]], "epoch", above=above)
        shares.set(ylim=(-0.05, 1.05), ylabel="share")
        plain_axis(shares.yaxis)
        _set_axis(norms, table[["fn_star", "fn_mean_lo", "fn_mean_hi"]], "feature norm")
        for axes, title in zip(panels, ("Onset", _share_title(table), "fn*"), strict=True):
            axes.set_title(title)
            _set_values(axes, slots, sheet)
        for axes in panels[-1:] if stacked else panels:
            axes.set_xlabel(_NAMES.get(factor, factor) + (", not to scale" if slots.even else ""))
        tall = high * 72 - 4 * sheet.page.points
        late = table[~table["collapsed"]].groupby("value")["group"].nunique()
        for number, name in enumerate(table["group"].unique()):
            _draw_group(panels, table[table["group"] == name], number, (slots, tall, late), sheet)
    return figure


def _arrange(table: pd.DataFrame, sheet: Sheet) -> tuple[bool, Slots]:
    """Say whether the panels are stacked, and give the slots: the plainest of the arrangements that have room."""
    groups = {str(name): list(own["value"].unique()) for name, own in table.groupby("group", sort=False)}
    for stacked in (True,) if sheet.width == "column" else (False, True):
        panel = sheet.page.inches * 72 / (1 if stacked else 3) - 6.5 * sheet.page.points
        for even in (False, True):
            slots = make_slots(table["factor"].iloc[0], groups, (panel, sheet.page.points), even=even)
            if roomy(slots, sheet.page):
                return stacked, slots
    return stacked, slots


def _set_values(axes: Axes, slots: Slots, sheet: Sheet) -> None:
    words = [_word(value) for value in slots.places]
    axes.set_xlim(slots.limits)
    axes.set_xticks(list(slots.places.values()), words)
    axes.tick_params(axis="x", labelbottom=True)
    longest = max(text_inches(word, sheet.page.points) for word in words) * 72
    if longest > 0.9 * slots.spacing:
        for label in axes.get_xticklabels():
            label.set(rotation=45, ha="right", rotation_mode="anchor")
    axes.grid(visible=False, axis="x")


def _word(value: Any) -> str:
    return shorten(value, 8, 0.8) if isinstance(value, str) else compact(float(value))


def _set_axis(axes: Axes, columns: pd.DataFrame, label: str, *, above: float = 0.0) -> None:
    """Set a scale over all values, logarithmic where they span more than `_LOG_RATIO`; `above` adds to its length."""
    values = columns.to_numpy(dtype=np.float64)
    finite = values[np.isfinite(values)]
    axes.set_ylabel(label)
    if not len(finite):  # of norms: every run has an onset, or the budget
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no fn* is known", transform=axes.transAxes, ha="center", va="center", color=FAINT)
        return
    low, high = float(finite.min()), float(finite.max())
    if low > 0 and high > _LOG_RATIO * low:
        log_axis(axes.yaxis, [*finite, high * (high / low) ** above])
        return
    margin = 0.1 * (high - low or abs(high) or 1)
    axes.set_ylim(max(low - margin, 0 if low >= 0 else -math.inf), high + margin + above * (high - low))
    plain_axis(axes.yaxis)


def _share_title(table: pd.DataFrame) -> str:
    budgets = table["budget"].unique()
    return f"Collapsed by epoch {budgets[0]:.0f}" if len(budgets) == 1 else "Collapsed within the budget"


def _draw_group(
    panels: Sequence[Axes], own: pd.DataFrame, number: int, room: tuple[Slots, float, pd.Series], sheet: Sheet
) -> None:
    """Draw the runs of a group beside the mean of their value; a mean that holds budgets for onsets is open.

    `room` is that of the groups, how high a panel is in points, and how many groups of a value have runs without onset.
    """
    (slots, tall, crowd), points = room, sheet.page.points
    look = (line_style(number)[0], MARKERS[number % len(MARKERS)])
    levels = own.drop_duplicates("value").sort_values("value", key=lambda values: values.map(slots.places))
    parts = [slots.part(value, str(own["group"].iloc[0])) for value in levels["value"]]
    scale = slots.width / slots.points  # of the axis, for a point
    size = min(points / 1.7, 0.5 * slots.points)
    alone = np.mean(parts, axis=1)
    beside = np.array([begin for begin, _ in parts]) + 0.6 * size * scale
    for axes, mean, at in zip(panels, ("onset_mean", "share", "fn_mean"), (beside, alone, beside), strict=True):
        _draw_means(axes, levels, mean, at, number, (size, points))
    dot = min(points / 3, 0.3 * slots.points)
    for axes, name in ((panels[0], "time"), (panels[2], "fn_star")):
        for (_, end), mean, value in zip(parts, beside, levels["value"], strict=True):
            between = (float(mean) + (0.7 * size + 0.5 * dot) * scale, end - 0.6 * dot * scale)
            rows = own[(own["value"] == value) & np.isfinite(own[name])]
            heights = rows.loc[rows["collapsed"], name].to_numpy(dtype=np.float64)
            seen = axes.transAxes.inverted().transform(axes.transData.transform([(0, y) for y in heights] or [(0, 1)]))
            places = spread_out(seen[: len(heights), 1], 1.1 * dot / tall, between, 1.2 * dot * scale)
            (dots,) = axes.plot(places, heights, look[1], color=look[0], zorder=3, linestyle="none")
            dots.set(markersize=dot, markeredgewidth=0, alpha=0.8)
            late = rows[~rows["collapsed"]]
            if len(late):
                wide = slots.points * max(map(len, slots.order.values())) / crowd[value]
                _draw_late(axes, late, (between[0], name), look, (dot, wide, points))


def _draw_means(
    axes: Axes,
    levels: pd.DataFrame,
    mean: str,
    at: np.ndarray[Any, np.dtype[np.float64]],
    number: int,
    sizes: tuple[float, float],
) -> None:
    """Draw the means of a group with their intervals, joined where the values have an order."""
    size, points = sizes
    (color, style), marker = line_style(number), MARKERS[number % len(MARKERS)]
    ends = levels[[f"{mean}_lo", f"{mean}_hi"]].to_numpy(dtype=np.float64)
    for place, (lo, hi) in zip(at.tolist(), ends.tolist(), strict=True):
        draw_interval(axes, place, (lo, hi), color=color, points=points * 0.7, upright=True)
    means = levels[mean].to_numpy(dtype=np.float64)
    joined = "none" if levels["factor"].iloc[0] == "activation" else style  # words have no order
    axes.plot(at, means, color=color, linestyle=joined, linewidth=points / 10, zorder=2)
    partial = (levels["n_collapsed"] < levels["n_runs"]).to_numpy(dtype=bool)
    for mine in (some for some in (~partial, partial) if some.any()):
        (marks,) = axes.plot(at[mine], means[mine], marker, color=color, zorder=4, clip_on=False)
        marks.set(markersize=size, markeredgewidth=size / 5)
        marks.set_markerfacecolor("white" if mine is partial and mean == "onset_mean" else color)


def _draw_late(
    axes: Axes, late: pd.DataFrame, spot: tuple[float, str], look: tuple[str, str], sizes: tuple[float, float, float]
) -> None:
    """Draw the runs of a value without an onset as one open mark with an arrow (later, or never) and their number."""
    (place, name), (color, marker), (dot, room, points) = spot, look, sizes
    height = float(late[name].iloc[0])
    (mark,) = axes.plot(place, height, marker, color=color, zorder=3, clip_on=False)
    mark.set(markersize=dot, markeredgewidth=dot / 4, markerfacecolor="white")
    (arrow,) = axes.plot(place, height, "^", color=color, clip_on=False, transform=shifted(axes, 1.3 * dot))
    arrow.set(markersize=0.8 * dot, markeredgewidth=0)
    said, small = str(len(late)), max(0.75 * points, 6.0)
    if len(late) > 1 and text_inches(said, small) * 72 < room:
        write(axes, said, (place, height), small, color=color, xytext=(0, 1.9 * dot), ha="center", va="bottom")


def _legend(table: pd.DataFrame, sheet: Sheet) -> list[Line2D]:
    points = sheet.page.points
    groups = [name for name in table["group"].unique() if name]
    handles = [series_handle(number, name, points) for number, name in enumerate(groups[:MOST_NAMED])]
    handles.append(Line2D([], [], color=INK, linewidth=points / 7, marker="o", label=f"mean, {sheet.sure} interval"))
    handles[-1].set_markersize(points / 1.7)
    handles.append(mark_handle("o", "a run", points, filled=True))
    handles[-1].set_markersize(points / 3)
    if not table["collapsed"].all():
        handles.append(mark_handle("o", "runs without onset, and how many", points, filled=False))
        handles[-1].set_markersize(points / 3)
        handles.append(mark_handle("o", "mean with such runs: at least", points, filled=False))
        handles[-1].set_markersize(points / 1.7)
    return handles
