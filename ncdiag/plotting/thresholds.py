"""fn* by pair: the feature norm of every run at onset, beside its norm at one fixed epoch, and how much each varies."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ncdiag.analysis.asked import Asked
from ncdiag.analysis.curves import observable_curves
from ncdiag.analysis.threshold_checks import threshold_check_results
from ncdiag.analysis.thresholds import threshold_results
from ncdiag.domain.naming import compact
from ncdiag.domain.result import Result
from ncdiag.domain.shares import counted
from ncdiag.domain.threshold import CV_CLAIM
from ncdiag.errors import AnalysisError
from ncdiag.plotting.axes import draw_interval, lanes, log_axis
from ncdiag.plotting.conditions import label_conditions, label_pairs, name_pairs, sort_names
from ncdiag.plotting.layout import Sheet, mark_handle, note_handles, squeeze, start_figure
from ncdiag.plotting.slots import spread_out
from ncdiag.plotting.style import DASHED, FAINT, INK, PALETTE, SHADE, Page, Width, figure_style

AT_ONSET, AT_EPOCH = "onset", "fixed_epoch"
_MOST_PAIRS = 24
_LOOKS = {AT_ONSET: ("o", PALETTE[0], -1), AT_EPOCH: ("s", PALETTE[1], 1)}  # above the middle of the row, or below
_LETTERS: dict[Width, float] = {"column": 5.4, "page": 4.4, "slide": 4.0}  # that a row is high, unless it is crowded
_GAP, _EDGE = 0.57, 0.43  # where the runs of a row begin, in letters from its middle, and end, as a part of its height
_ASIDE = 0.66  # letters from the middle of a row to the spread of its runs
_TALLEST: dict[Width, float] = {"column": 40, "page": 40, "slide": 20}  # letters that crowded rows take together
_NEAR = 0.016  # of the axis: runs nearer than this stand one above the other
_CV_RANGE = (0.003, 1.5)


def threshold_table(asked: Asked) -> pd.DataFrame:
    """Give the table behind the figure: for every run a row `at` its onset and one at a fixed epoch, the placebo.

    The fixed epoch is the pair's median onset (or the last epoch that all of its collapsed runs reached). `estimate` is
    the geometric mean of the pair, with its interval for fn* alone; `cv` is the spread, `cv_lower` and `cv_upper` its
    one-sided bounds, of which the upper one decides whether a CV is below 8 %. A run without an onset has a row without
    a norm; a norm at the fixed epoch is given of the runs with an onset.
    """
    onsets = asked.onsets
    base = onsets[["run", "state", "onset"]].copy()
    base.insert(0, "pair", label_pairs(onsets, asked))
    base.insert(2, "condition", label_conditions(onsets))
    names = name_pairs(asked)
    named = {(result.quantity, names[result.key]): result for result in _results(asked)}
    curves = observable_curves(asked.epochs, ["feature_norm"])["feature_norm"]
    rows = []
    for pair in base["pair"].unique():
        own = base[base["pair"] == pair]
        threshold, spread_, placebo = (named[name, pair] for name in ("fn_star", "cv", "placebo_cv"))
        norms = onsets.loc[own.index, "fn_star"].where(own["state"] == "collapsed")
        fn_star = (threshold.estimate, threshold.lo, threshold.hi)
        rows.append(_part(own, AT_ONSET, own["onset"], norms, fn_star, _spread(spread_)))
        epoch = placebo.extra.get("epoch", math.nan)
        there = [
            math.exp(curves[run].at(epoch)) if state == "collapsed" and run in curves else math.nan
            for run, state in zip(own["run"], own["state"], strict=True)
        ]
        mean = (placebo.extra.get("feature_norm", math.nan), math.nan, math.nan)
        rows.append(_part(own, AT_EPOCH, [epoch] * len(own), there, mean, _spread(placebo)))
    table = pd.concat(rows, ignore_index=True)
    if (onsets["state"] == "no_data").all():
        scope = "the runs" if asked.terms.rule.phase is None else f"phase {asked.terms.rule.phase} of the runs"
        raise AnalysisError(
            f"{asked.terms.rule.metric} was not measured in {scope}, so there is no onset and no fn* to draw.\n"
            "Choose another with --metric, or other runs"
        )
    if not np.isfinite(table["feature_norm"].to_numpy(dtype=np.float64)).any():
        raise AnalysisError(
            f"no onset ({asked.terms.rule}) in {counted(len(onsets), 'run')}, so there is no fn* to draw.\n"
            "Train for longer, or choose another rule with --eps, --patience or --rule"
        )
    return table.assign(level=asked.terms.level)


def _results(asked: Asked) -> list[Result]:
    return [
        *threshold_results(asked.onsets, asked.trajectories, asked.terms),
        *threshold_check_results(asked),
    ]


def _spread(cv: Result) -> tuple[float, float, float]:
    return cv.estimate, cv.extra.get("cv_lower", math.nan), cv.extra.get("cv_upper", math.nan)


def _part(
    own: pd.DataFrame,
    at: str,
    epoch: "Sequence[float] | pd.Series",
    norms: "Sequence[float] | pd.Series",
    mean: Sequence[float],
    cv: Sequence[float],
) -> pd.DataFrame:
    columns: dict[str, Any] = {"at": at, "epoch": epoch, "feature_norm": norms}
    columns |= dict(zip(("estimate", "lo", "hi", "cv", "cv_lower", "cv_upper"), (*mean, *cv), strict=True))
    return own.drop(columns="onset").assign(**columns)


def draw_thresholds(table: pd.DataFrame, sheet: Sheet) -> Figure:
    """Draw the table of `threshold_table`: a row per pair; on the left the norms, on the right how much they vary."""
    page, pairs = sheet.page, sort_names(table["pair"].unique())
    table = table[table["pair"].isin(pairs[:_MOST_PAIRS])]
    shown = pairs[:_MOST_PAIRS]
    points = page.points
    legend = [*_legend(sheet), *note_handles(len(pairs) - len(shown), "pair")]
    with figure_style(page):
        least = _LETTERS[sheet.width]
        letters = max(least, _crowded(table, sheet))
        panels = [(len(shown) * high + 6) * points / 72 for high in (letters, least)]
        if sheet.width == "column":
            figure = start_figure(sheet, sum(panels), legend)
            norms, spreads = figure.subplots(2, 1, height_ratios=(letters, least))
        else:
            least = letters
            figure = start_figure(sheet, panels[0], legend)
            norms, spreads = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
        log_axis(norms.xaxis, table[["feature_norm", "estimate", "lo", "hi"]].to_numpy(dtype=np.float64), letters=40)
        cvs = table[["cv", "cv_lower", "cv_upper"]].to_numpy(dtype=np.float64)
        log_axis(spreads.xaxis, np.clip([*cvs[cvs > 0], CV_CLAIM], *_CV_RANGE), letters=30)
        spreads.xaxis.set_major_formatter(lambda value, _: f"{compact(100 * value)} %")
        norms.set(title="At onset, and at one epoch for all", xlabel="feature norm")
        spreads.set(title="Spread between runs", xlabel=f"coefficient of variation, {sheet.sure} bounds")
        spreads.axvline(CV_CLAIM, color=INK, linewidth=points / 12, linestyle=DASHED, zorder=1)
        for axes in (norms, spreads):
            axes.set_ylim(len(shown) - 0.5, -0.5)
            axes.grid(visible=False, axis="y")
            axes.set_yticks(range(len(shown)), [_name(table, pair, page) for pair in shown])
            axes.tick_params(axis="y", length=0)
            for place in range(1, len(shown), 2):
                axes.axhspan(place - 0.5, place + 0.5, color=SHADE, zorder=0, linewidth=0)
        for place, pair in enumerate(shown):
            for at, own in table[table["pair"] == pair].groupby("at", sort=False):
                _draw_norms(norms, own, str(at), place, letters, sheet)
                _draw_spread(spreads, own.iloc[0], str(at), place, least, sheet)
    return figure


def _crowded(table: pd.DataFrame, sheet: Sheet) -> float:
    """Say how high a row has to be, in letters, for the runs that stand one above the other."""
    norms = np.log10(table["feature_norm"].to_numpy(dtype=np.float64))
    near = float(np.ptp(norms[np.isfinite(norms)])) * 1.1 * _NEAR
    most = max(
        int(lanes(np.log10(own["feature_norm"].dropna().to_numpy(dtype=np.float64)), near).max(initial=0))
        for _, own in table.groupby(["pair", "at"])
    )
    return min((most * 0.4 + _GAP) / _EDGE, _TALLEST[sheet.width] / table["pair"].nunique())


def _name(table: pd.DataFrame, pair: str, page: Page) -> str:
    own = table[(table["pair"] == pair) & (table["at"] == AT_ONSET)]
    found = int((own["state"] == "collapsed").sum())
    return f"{squeeze(pair, page.points, page.inches * 0.3)}\n{found} of {counted(len(own), 'run')}"


def _draw_norms(axes: Axes, own: pd.DataFrame, at: str, place: int, letters: float, sheet: Sheet) -> None:
    """Draw the runs as points in a row so many letters high, and in its middle the mean of the pair."""
    points = sheet.page.points
    marker, color, side = _LOOKS[at]
    values = own["feature_norm"].to_numpy(dtype=np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        if at == AT_ONSET:
            axes.text(0.5, place, "no onset", transform=axes.get_yaxis_transform(), ha="center", va="center")
            axes.texts[-1].set(color=FAINT)
        return
    wide = math.log10(axes.get_xlim()[1] / axes.get_xlim()[0])
    away = spread_out(np.log10(values), wide * _NEAR, (_GAP / letters, _EDGE), 0.4 / letters)
    inside = "white" if at == AT_EPOCH else color
    (dots,) = axes.plot(values, place + side * away, marker, color=color, zorder=4)
    dots.set(markersize=points / 2.4, markerfacecolor=inside, markeredgewidth=points / 11, alpha=0.8)
    mean, lo, hi = (float(own[name].iloc[0]) for name in ("estimate", "lo", "hi"))
    if at == AT_ONSET and math.isfinite(mean):
        draw_interval(axes, place, (lo, hi), color=INK, points=points)
        (mark,) = axes.plot(mean, place, "D", color=INK, zorder=5)
        mark.set(markersize=points / 2)


def _draw_spread(axes: Axes, row: pd.Series, at: str, place: int, letters: float, sheet: Sheet) -> None:
    """Draw the spread of a pair in a row so many letters high; of one run there is none, and that is said."""
    marker, color, side = _LOOKS[at]
    points = sheet.page.points
    if not np.isfinite(row["cv"]):
        if at == AT_ONSET and np.isfinite(row["estimate"]):
            # beside the line of the published bound, which is in the middle where no pair has a spread
            axes.text(0.97, place, "one run", transform=axes.get_yaxis_transform(), ha="right", va="center")
            axes.texts[-1].set(color=FAINT)
        return
    y = place + side * _ASIDE / letters
    draw_interval(axes, y, (row["cv_lower"], row["cv_upper"]), color=color, points=points)
    (mark,) = axes.plot(np.clip(row["cv"], *axes.get_xlim()), y, marker, color=color, zorder=4)
    mark.set(markersize=points / 1.7, markerfacecolor="white" if at == AT_EPOCH else color, markeredgewidth=points / 9)


def _legend(sheet: Sheet) -> list[Line2D]:
    points = sheet.page.points
    onset, epoch = (_LOOKS[at] for at in (AT_ONSET, AT_EPOCH))
    return [
        mark_handle(onset[0], "a run at its onset", points, color=onset[1], filled=True),
        mark_handle(epoch[0], "a run at one epoch for all", points, color=epoch[1], filled=False),
        mark_handle("D", f"fn*, {sheet.sure} interval", points),
        Line2D(
            [],
            [],
            color=INK,
            linewidth=points / 12,
            linestyle=DASHED,
            label=f"published bound, {100 * CV_CLAIM:g} %",
        ),
    ]
