"""The trajectories of runs: feature norm, collapse metrics and accuracy against the epoch, with each run's onset."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ncdiag.plotting.conditions import compact, label_conditions
from ncdiag.plotting.events import phase_spans, phase_switches, rate_steps
from ncdiag.plotting.panels import END_MARK, ONSET_MARK, RATE_MARK, Panel, Scene, draw_panel
from ncdiag.plotting.style import FAINT, INK, PAGES, Page, Width, figure_style, line_style, new_figure

PANELS = (
    Panel(title="Feature norm", columns=("feature_norm",)),
    Panel(title="NC1  within / between classes", columns=("nc1",), log=True),
    Panel(title="NC2  equiangularity", columns=("nc2_equiangular",)),
    Panel(title="NC3  self-duality", columns=("nc3",)),
    Panel(title="NC4  nearest-centre mismatch", columns=("nc4",)),
    Panel(title="Accuracy  train, test (faint)", columns=("train_accuracy", "test_accuracy"), log=False),
)
CURVES = tuple(column for panel in PANELS for column in panel.columns)
# What `ncdiag.analysis.onsets.onset_table` calls it, and what it is called beside the columns of an epoch.
_ONSET = {"state": "onset_state", "onset": "onset_epoch", "lo": "onset_lo", "hi": "onset_hi", "fn_star": "fn_star"}


def trajectory_table(onsets: pd.DataFrame, epochs: pd.DataFrame) -> pd.DataFrame:
    """Give the table behind the figure: a row per evaluation, with the condition and the onset of its run.

    `onsets` is the table of `ncdiag.analysis.onsets.onset_table`, whose order of runs is kept; `epochs` is the frame of
    the store. A run without a row in `epochs` is not in the table. `nonfinite` names what was measured as not finite.
    """
    of_run = onsets[["run", *_ONSET]].rename(columns=_ONSET)
    of_run.insert(1, "condition", label_conditions(onsets))
    table = of_run.merge(epochs[["run", "epoch", "phase", "loss", "lr", *CURVES, "nonfinite"]], on="run")
    return table[["run", "condition", "epoch", "phase", "loss", "lr", *CURVES, *_ONSET.values(), "nonfinite"]]


def draw_trajectories(
    table: pd.DataFrame,
    *,
    eps: float | None = None,
    band: tuple[float, float, float] | None = None,
    title: str = "",
    width: Width = "page",
) -> Figure:
    """Draw the table of `trajectory_table`: a panel per quantity that was measured, all over the same epochs.

    A run is a curve, a condition a colour and a line style. `eps` is the threshold on NC1 that defines the onset,
    `band` the interval of fn* (low, estimate, high); None where there is none to show. The table has at least one row.
    """
    spans = phase_spans(table)
    scene = Scene(
        table=table,
        conditions=tuple(table["condition"].unique()),
        page=PAGES[width],
        eps=eps,
        band=band,
        spans=spans,
        switches=[] if spans else phase_switches(table),
        rate_steps=rate_steps(table),
    )
    panels = [panel for panel in PANELS if table[list(panel.columns)].notna().any(axis=None)] or [PANELS[0]]
    page = scene.page
    columns = min(page.columns, len(panels))
    rows = -(-len(panels) // columns)
    handles = _legend_handles(scene)
    in_panel = rows * columns > len(panels) and _fits_panel(handles, page)
    across = _legend_columns(handles, page)
    legend_inches = 0 if in_panel else -(-len(handles) // across) * page.points * 1.5 / 72
    with figure_style(page):
        figure = new_figure(page.inches, rows * page.panel_inches + legend_inches + 4 * page.points / 72)
        grid = figure.subplots(rows, columns, sharex=True, squeeze=False)
        for place, panel in enumerate(panels):
            draw_panel(grid.flat[place], panel, scene, top=place < columns)
        spare = list(grid.flat[len(panels) :])
        _label_epochs(grid, spare)
        if in_panel:
            spare[0].legend(handles=handles, loc="center left", borderaxespad=0, handlelength=2.8).set_in_layout(False)
        elif handles:
            figure.legend(handles=handles, loc="outside lower left", ncols=across, handlelength=2.8)
        if title:
            figure.suptitle(title, x=0.008, ha="left", fontsize=page.points * 0.95, color=FAINT)
    return figure


def _label_epochs(grid: np.ndarray[tuple[int, int], np.dtype[np.object_]], spare: Sequence[Axes]) -> None:
    """Write the epochs under the lowest panel of each column, and empty the places without a panel."""
    for axes in spare:
        axes.set_axis_off()
    for column in grid.T:
        lowest = [axes for axes in column if axes not in spare][-1]
        lowest.tick_params(labelbottom=True)
        if lowest in grid[-1]:
            lowest.set_xlabel("epoch")


def _legend_handles(scene: Scene) -> list[Line2D]:
    """Explain the colours, where there are several, and the marks that the figure has."""
    points = scene.page.points
    handles = []
    for place, condition in enumerate(scene.conditions):
        if condition:
            color, style = line_style(place)
            handles.append(Line2D([], [], color=color, linestyle=style, label=condition))
    states = set(scene.table.groupby("run", sort=False)["onset_state"].first())
    if "collapsed" in states:
        handles.append(_mark(ONSET_MARK, "onset, with its interval", points))
    if states - {"collapsed"}:
        handles.append(_mark(END_MARK, "no onset by the end", points))
    if scene.rate_steps:
        handles.append(_mark(RATE_MARK, "learning rate steps down", points))
    if scene.band is not None:
        low, estimate, high = map(compact_norm, scene.band)
        handles.append(Line2D([], [], color=INK, linewidth=1, label=f"fn* {estimate} [{low}, {high}]"))
    return handles


def _mark(marker: str, label: str, points: float) -> Line2D:
    inside = "white" if marker == ONSET_MARK else INK
    handle = Line2D([], [], marker=marker, linestyle="none", color=INK, markerfacecolor=inside, label=label)
    handle.set_markersize(points / 1.9)
    return handle


def compact_norm(value: float) -> str:
    """Write a norm with three digits."""
    return compact(float(f"{value:.3g}"))


def _legend_columns(handles: Sequence[Line2D], page: Page) -> int:
    """Say how many entries fit side by side."""
    return max(int(page.inches * 72 / _entry_points(handles, page)), 1)


def _fits_panel(handles: Sequence[Line2D], page: Page) -> bool:
    """Say whether the legend fits into the place of one panel."""
    rows = page.panel_inches * 72 / (page.points * 1.6)
    return len(handles) <= rows and _entry_points(handles, page) <= page.inches * 72 / page.columns * 0.9


def _entry_points(handles: Sequence[Line2D], page: Page) -> float:
    """Estimate the width of the longest entry in points: a sample, and letters about half as wide as high."""
    longest = max((len(str(handle.get_label())) for handle in handles), default=0)
    return page.points * (5 + 0.55 * longest)
