"""One panel of curves against the epoch: the curves, the scale they need, and the marks of what happened when."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ncdiag.domain.shares import counted
from ncdiag.plotting.axes import HALO, line_weights, log_axis, mark_size, plain_axis
from ncdiag.plotting.curves import DrawnCurve, Mark, draw_curves, draw_marks, rows_by_run
from ncdiag.plotting.events import PhaseSpan, PhaseSwitch
from ncdiag.plotting.layout import shorten
from ncdiag.plotting.style import BAND, DASHED, FAINT, INK, SHADE, Page, line_style

LOG_RANGE = 10  # a panel becomes logarithmic where its values span more than this factor
ONSET_MARK, END_MARK, RATE_MARK = "o", "x", "^"
_FEW_RUNS = 3  # up to here an onset is written out, and marked through all panels
_MOST_SWITCHES = 3  # up to here it is said how many runs made each


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A panel: its title and what it shows, of the training set and, drawn faintly, of the test set."""

    title: str
    columns: tuple[str] | tuple[str, str]
    log: bool | None = None  # None: where the values call for it


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What all panels of a figure share: the table, its series in order, the page, and what happened when.

    `eps` is the threshold on NC1 that defines the onset, `band` the interval of fn* (low, estimate, high); None where
    there is none to show.
    """

    table: pd.DataFrame
    series: tuple[str, ...]
    page: Page
    eps: float | None
    band: tuple[float, float, float] | None
    spans: list[PhaseSpan]
    switches: list[PhaseSwitch]
    rate_drops: list[float]

    def color(self, name: str) -> str:
        """Give the colour of a series."""
        return line_style(self.series.index(name))[0]

    @cached_property
    def runs(self) -> list[NDArray[np.intp]]:
        """The places of the rows of each run."""
        return rows_by_run(self.table)


def draw_panel(axes: Axes, panel: Panel, scene: Scene, *, top: bool) -> None:
    """Draw a panel; one at the top of the figure names the phases."""
    points = scene.page.points
    measured = [column for column in panel.columns if scene.table[column].notna().any()]
    title = f"{panel.title}  (faint: test)" if set(measured) & set(panel.columns[1:]) else panel.title
    axes.set_title(title, pad=points * (1.6 if top else 0.6))
    axes.set_xlim(0, float(scene.table["epoch"].max()) * 1.02 or 1)
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 2.5, 5, 10]))
    _set_scale(axes, panel, scene)
    _mark_events(axes, scene, named=top)
    for column in measured:
        _draw_curves(axes, column, scene, faint=column != panel.columns[0])
    if "nc1" in panel.columns and scene.eps is not None:
        axes.axhline(scene.eps, color=INK, linewidth=points / 12, linestyle=DASHED, zorder=1)
    if "feature_norm" in panel.columns and scene.band is not None:
        low, estimate, high = scene.band
        axes.axhspan(low, high, **BAND, zorder=1)
        axes.axhline(estimate, color=INK, linewidth=points / 14, zorder=3)  # a crowd of curves would hide it
    _mark_onsets(axes, panel, scene)


def _draw_curves(axes: Axes, column: str, scene: Scene, *, faint: bool) -> None:
    """Draw a curve per run. What is missing or not finite breaks it, and a value between two such is a dot."""
    points, table = scene.page.points, scene.table
    width, alpha = line_weights(len(scene.runs), points)
    alpha *= 0.45 if faint else 1
    epochs, values = (table[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in ("epoch", column))
    values = np.where(np.isfinite(values), values, np.nan)
    names = table["series"].to_numpy()
    curves = [
        DrawnCurve(epochs[rows], values[rows], *line_style(scene.series.index(names[rows[0]])), width, alpha)
        for rows in scene.runs
    ]
    draw_curves(axes, curves)
    alone = [
        Mark(x, y, curve.color, ".")
        for curve in curves
        for x, y in zip(*(places[_isolated(curve.y)].tolist() for places in (curve.x, curve.y)), strict=True)
    ]
    draw_marks(axes, alone, markersize=points / 2, alpha=alpha)


def _isolated(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mark the values whose neighbours are missing: a line alone would not show them."""
    known = np.concatenate(([False], np.isfinite(values), [False]))
    return known[1:-1] & ~known[:-2] & ~known[2:]


def _set_scale(axes: Axes, panel: Panel, scene: Scene) -> None:
    """Make the y axis logarithmic where the panel says so or the values span orders of magnitude."""
    values = scene.table[list(panel.columns)].to_numpy(dtype=np.float64, na_value=np.nan)
    values = values[np.isfinite(values)]
    positive = values[values > 0]
    if not len(positive) or panel.log is False or (panel.log is None and len(positive) < len(values)):
        log = False
    else:
        log = bool(panel.log) or positive.max() > LOG_RANGE * positive.min()
    if log:
        eps = [scene.eps] if "nc1" in panel.columns and scene.eps is not None else []
        log_axis(axes.yaxis, [*positive, *eps])
    else:
        plain_axis(axes.yaxis)


def _mark_events(axes: Axes, scene: Scene, *, named: bool) -> None:
    """Shade every other phase, or mark the switches where the runs differ, and point at steps of the rate."""
    points, across = scene.page.points, axes.get_xaxis_transform()
    names: list[tuple[float, str]] = []
    for place, span in enumerate(scene.spans):
        if place % 2:
            axes.axvspan(span.start, span.stop, color=SHADE, zorder=0, linewidth=0)
        names.append(((span.start + span.stop) / 2, span.label))
    for switch in scene.switches:
        axes.axvline(switch.epoch, color=FAINT, linestyle=":", linewidth=points / 10, zorder=1)
    for epoch, name in names if named else []:
        axes.text(epoch, 1.01, name, transform=across, ha="center", va="bottom", fontsize=points * 0.9, color=FAINT)
    if scene.switches and named:
        room = scene.page.inches / scene.page.columns * 0.85
        said = shorten(_name_switches(scene), points * 0.9, room)
        axes.text(0, 1.01, said, transform=axes.transAxes, va="bottom", fontsize=points * 0.9, color=FAINT)
    if scene.rate_drops:
        heights = [0.03] * len(scene.rate_drops)
        axes.plot(scene.rate_drops, heights, RATE_MARK, color=INK, markersize=points / 2.4, transform=across)


def _name_switches(scene: Scene) -> str:
    """Name the dotted lines in one text, from left to right: names beside the lines would lie upon each other."""
    runs = scene.table["run"].nunique()
    labels = {switch.label: [s.runs for s in scene.switches if s.label == switch.label] for switch in scene.switches}
    counts = {
        label: ", ".join(map(str, found)) if len(found) <= _MOST_SWITCHES else f"at {len(found)} epochs, {sum(found)}"
        for label, found in labels.items()
    }
    return "dotted: " + "; ".join(f"{label} ({count} of {counted(runs, 'run')})" for label, count in counts.items())


def _mark_onsets(axes: Axes, panel: Panel, scene: Scene) -> None:
    """Mark on the feature norm and on NC1 the onset of each run, with its interval, or the end where there is none."""
    points, column = scene.page.points, panel.columns[0]
    runs = scene.table.drop_duplicates("run").to_dict("records")
    if len(runs) <= _FEW_RUNS:
        for run in runs:
            if run["onset_state"] == "collapsed":
                color = scene.color(run["series"])
                axes.axvline(run["onset_epoch"], color=color, linewidth=points / 14, linestyle=":", zorder=1)
    if column not in ("feature_norm", "nc1"):
        return
    epochs, values = (scene.table[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in ("epoch", column))
    spans: list[DrawnCurve] = []
    onsets: list[Mark] = []
    ends: list[Mark] = []
    for rows, run in zip(scene.runs, runs, strict=True):
        color = scene.color(run["series"])
        height = run["fn_star"] if column == "feature_norm" else scene.eps
        known = rows[np.isfinite(values[rows])]
        if run["onset_state"] not in ("collapsed", "no_data"):
            ends += [Mark(epochs[last], values[last], color, END_MARK) for last in known[-1:]]
        elif run["onset_state"] == "collapsed" and height is not None and np.isfinite(height):
            span = np.array([run["onset_lo"], run["onset_hi"]])
            spans.append(DrawnCurve(span, np.full(2, height), color, "solid", points / 4))
            onsets.append(Mark(run["onset_epoch"], height, color, ONSET_MARK))
            if len(runs) == 1 and column == "feature_norm":
                _write_onset(axes, run, points)
    size = mark_size(len(runs), points)
    draw_curves(axes, spans, zorder=4)
    edge = {"markeredgewidth": size / 4, "markerfacecolor": "white", "clip_on": False}
    draw_marks(axes, onsets, markersize=size, zorder=5, **edge)
    draw_marks(axes, ends, markersize=size)


def end_label(states: set[str]) -> str:
    """Say what the mark at the end of runs without an onset means; a run may have stopped before one was confirmed."""
    if "unconfirmed" not in states:
        return "no onset by the end"
    return "onset not confirmed by the end" if states <= {"collapsed", "unconfirmed"} else "no onset, or not confirmed"


def _write_onset(axes: Axes, run: Mapping[Any, Any], points: float) -> None:
    """Write the only onset of a figure beside its mark, on the side that has more room."""
    left = run["onset_epoch"] > 0.5 * axes.get_xlim()[1]
    text = axes.annotate(
        f"onset {run['onset_epoch']:.4g}, fn* {run['fn_star']:.3g}",
        (run["onset_epoch"], run["fn_star"]),
        xytext=(-points / 2 if left else points / 2, points * 1.5),
        textcoords="offset points",
        ha="right" if left else "left",
        fontsize=points * 0.9,
        zorder=6,
    )
    text.set_path_effects([HALO])
