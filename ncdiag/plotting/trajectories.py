"""The trajectories of runs: feature norm, collapse metrics, accuracy and loss against the epoch, with each onset."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ncdiag.analysis.asked import Asked
from ncdiag.analysis.rate_drops import list_drops
from ncdiag.domain.naming import compact
from ncdiag.plotting.conditions import label_conditions, label_pairs, name_series, sort_names
from ncdiag.plotting.events import phase_spans, phase_switches
from ncdiag.plotting.layout import MOST_NAMED, Sheet, mark_handle, start_figure, text_inches
from ncdiag.plotting.pairs import pair_thresholds
from ncdiag.plotting.panels import END_MARK, ONSET_MARK, RATE_MARK, Panel, Scene, draw_panel, end_label
from ncdiag.plotting.style import DASHED, INK, Page, figure_style, line_style

PANELS = (
    Panel(title="Feature norm", columns=("feature_norm",)),
    Panel(title="NC1  within / between classes", columns=("nc1", "test_nc1"), log=True),
    Panel(title="NC2  equiangularity", columns=("nc2_equiangular",)),
    Panel(title="NC3  self-duality", columns=("nc3",)),
    Panel(title="NC4  nearest-centre mismatch", columns=("nc4",)),
    Panel(title="Accuracy", columns=("train_accuracy", "test_accuracy"), log=False),
    Panel(title="Loss", columns=("train_loss", "test_loss")),
)
_MOST_INCHES = 5.6  # of all panels on a slide, which is 7.5 high
CURVES = tuple(column for panel in PANELS for column in panel.columns)
# What `ncdiag.analysis.onsets.onset_table` calls it, and what it is called beside the columns of an epoch.
ONSET = {"state": "onset_state", "onset": "onset_epoch", "lo": "onset_lo", "hi": "onset_hi", "fn_star": "fn_star"}


def trajectory_table(asked: Asked) -> pd.DataFrame:
    """Give the table behind the figure: a row per evaluation, with the condition, the pair and the onset of its run.

    `lr_drop` marks the last evaluation before the learning rate fell in a step; `pair_fn_star` is fn* of the pair, with
    its interval. The order of the runs is kept, and a run without an evaluation is not in the table. `nonfinite` names
    what was measured as not finite.
    """
    onsets, epochs = asked.onsets, asked.epochs
    of_run = onsets[["run", *ONSET]].rename(columns=ONSET)
    of_run.insert(1, "condition", label_conditions(onsets))
    of_run.insert(2, "pair", label_pairs(onsets, asked))
    of_run = of_run.merge(pair_thresholds(asked), on="pair", how="left")
    rows = of_run.merge(epochs[["run", "epoch", "phase", "loss", "lr", *CURVES, "nonfinite"]], on="run")
    drops = {(run, epoch) for run, found in list_drops(onsets, epochs).items() for epoch in found}
    rows["lr_drop"] = [(run, float(epoch)) in drops for run, epoch in zip(rows["run"], rows["epoch"], strict=True)]
    about = [column for column in of_run.columns if column not in ("run", "condition", "pair")]
    measured = ["epoch", "phase", "loss", "lr", "lr_drop", *CURVES]
    return rows[["run", "condition", "pair", *measured, *about, "nonfinite"]]


def draw_trajectories(table: pd.DataFrame, sheet: Sheet) -> Figure:
    """Draw the table of `trajectory_table`: a panel per quantity that was measured, all over the same epochs.

    A run is a curve, a condition a colour and a line style; a pair, where there are too many conditions to name.
    """
    spans, page = phase_spans(table), sheet.page
    table = table.assign(series=name_series(table, MOST_NAMED))
    scene = Scene(
        table=table,
        series=tuple(sort_names(table["series"].unique())),
        page=page,
        eps=sheet.terms.rule.eps if sheet.terms.rule.metric == "nc1" else None,
        band=_band(table),
        spans=spans,
        switches=[] if spans else phase_switches(table),
        rate_drops=sorted(table.loc[table["lr_drop"], "epoch"].astype(float).unique()),
    )
    panels = [
        panel for panel in PANELS if np.isfinite(table[list(panel.columns)].to_numpy(dtype=np.float64)).any()
    ] or [PANELS[0]]
    columns = min(page.columns, len(panels))
    rows = -(-len(panels) // columns)
    height = min(page.panel_inches, _MOST_INCHES / rows) if sheet.width == "slide" else page.panel_inches
    with figure_style(page):
        handles = _legend_handles(scene, sheet)
        in_panel = rows * columns > len(panels) and _fits_panel(handles, page, height)
        figure = start_figure(sheet, rows * height + 2 * page.points / 72, [] if in_panel else handles)
        grid = figure.subplots(rows, columns, sharex=True, squeeze=False)
        for place, panel in enumerate(panels):
            draw_panel(grid.flat[place], panel, scene, top=place < columns)
        spare = list(grid.flat[len(panels) :])
        _label_epochs(grid, spare)
        if in_panel:
            spare[0].legend(handles=handles, loc="center left", borderaxespad=0, handlelength=2.8).set_in_layout(False)
    return figure


def _band(table: pd.DataFrame) -> tuple[float, float, float] | None:
    """Give the interval of fn* where all runs are of one pair, and it has one."""
    limits = table[["pair_lo", "pair_fn_star", "pair_hi"]].to_numpy(dtype=np.float64)[0]
    if table["pair"].nunique() > 1 or not np.isfinite(limits).all():
        return None
    low, estimate, high = limits.tolist()
    return low, estimate, high


def _label_epochs(grid: np.ndarray[tuple[int, int], np.dtype[np.object_]], spare: Sequence[Axes]) -> None:
    """Write the epochs under the lowest panel of each column, and empty the places without a panel."""
    for axes in spare:
        axes.set_axis_off()
    for column in grid.T:
        lowest = [axes for axes in column if axes not in spare][-1]
        lowest.tick_params(labelbottom=True)
        lowest.set_xlabel("epoch")


def _legend_handles(scene: Scene, sheet: Sheet) -> list[Line2D]:
    """Explain the colours, where there are several, and the marks that the figure has."""
    points = scene.page.points
    handles = []
    for place, name in enumerate(scene.series):
        if name:
            color, style = line_style(place)
            handles.append(Line2D([], [], color=color, linestyle=style, label=name))
    if scene.series == ("",) and (pairs := scene.table["pair"].nunique()) > 1:
        handles.append(Line2D([], [], color=line_style(0)[0], label=f"runs of {pairs} pairs, not told apart"))
    states = set(scene.table.groupby("run", sort=False)["onset_state"].first())
    if "collapsed" in states:
        handles.append(mark_handle(ONSET_MARK, "onset, with its interval", points))
    if ends := states - {"collapsed", "no_data"}:
        handles.append(mark_handle(END_MARK, end_label(ends), points))
    if scene.eps is not None and scene.table["nc1"].notna().any():
        label = f"onset below NC1 = {compact(scene.eps)}"
        handles.append(Line2D([], [], color=INK, linewidth=points / 12, linestyle=DASHED, label=label))
    if scene.rate_drops:
        handles.append(mark_handle(RATE_MARK, "learning rate steps down", points))
    if scene.band is not None:
        low, estimate, high = map(compact_norm, scene.band)
        handles.append(Line2D([], [], color=INK, linewidth=1, label=f"fn* {estimate} ({low} to {high}, {sheet.sure})"))
    return handles


def compact_norm(value: float) -> str:
    """Write a norm with three digits."""
    return compact(float(f"{value:.3g}"))


def _fits_panel(handles: Sequence[Line2D], page: Page, height: float) -> bool:
    """Say whether the legend fits into the place of one panel of this height."""
    rows = height * 72 / (page.points * 1.5)
    longest = max((text_inches(str(handle.get_label()), page.points) for handle in handles), default=0)
    return len(handles) <= rows and longest + 5 * page.points / 72 <= page.inches / page.columns * 0.9
