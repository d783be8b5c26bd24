"""fn* of a grid, such as architectures by data sets: parallel lines on a logarithmic axis are factors that multiply."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ncdiag.analysis.additivity import additivity_results
from ncdiag.analysis.asked import Asked
from ncdiag.analysis.conditions import label_rows, plain_groups
from ncdiag.analysis.grid import LINES, name_lines
from ncdiag.analysis.thresholds import threshold_results
from ncdiag.domain.naming import FIGURE, TEXT, group_key, name_groups
from ncdiag.domain.result import Result
from ncdiag.domain.shares import counted
from ncdiag.errors import AnalysisError
from ncdiag.plotting.axes import MARKERS, draw_interval, log_axis
from ncdiag.plotting.conditions import sort_names, split_names
from ncdiag.plotting.layout import Sheet, mark_handle, series_handle, squeeze, start_figure, text_inches, wrap
from ncdiag.plotting.panels import END_MARK
from ncdiag.plotting.slots import spread_out
from ncdiag.plotting.style import DASHED, FAINT, INK, figure_style, line_style

CELL, RATIO = "cell", "ratio_of_ratios"
_SEVERAL = "several"
_OVER = " / "  # between the two of a ratio


def grid_table(asked: Asked) -> pd.DataFrame:
    """Give the table behind the figure: a row `of` each run of each cell, then one of each ratio of ratios.

    `estimate`, `lo` and `hi` of a cell are its fn* and its interval; `loss` is the one trained with at onset. A ratio
    of ratios (1 where the factors multiply) names its `row` and `column` as `a / b`; `reason` says why there is none.
    """
    if len(asked.terms.by) != 2:
        raise AnalysisError(
            f"a grid has two factors, rows and columns: --by names {len(asked.terms.by)}, such as arch,dataset"
        )
    results = additivity_results(asked.onsets, asked.terms)
    cells = _cells(asked)
    _check_grid(cells, asked)
    words = _words(asked)
    ratios = [
        {
            "of": RATIO,
            "row": _between(asked.terms.by[0], result.extra.get("of_rows"), words["row"]),
            "column": _between(asked.terms.by[1], result.extra.get("of_columns"), words["column"]),
            "reason": result.extra.get("lacks"),
            **_limits(result),
        }
        for result in results
        if result.quantity == RATIO
    ]
    return pd.concat([cells, pd.DataFrame(ratios)], ignore_index=True).assign(level=asked.terms.level)


def _words(asked: Asked) -> dict[str, dict[str, str]]:
    """Say how a figure writes what results call the rows and the columns of the grid."""
    texts, words = (name_lines(asked.onsets, asked.terms.by, naming) for naming in (TEXT, FIGURE))
    return {line: dict(zip(texts[line], words[line], strict=True)) for line in LINES}


def _between(factor: str, lines: Sequence[str] | None, words: Mapping[str, str]) -> str | None:
    """Name the two rows, or columns, that a ratio of ratios is of; None if it is of none."""
    return None if lines is None else FIGURE.put(factor, _OVER.join(words[line] for line in lines))


def _cells(asked: Asked) -> pd.DataFrame:
    found = threshold_results(asked.onsets, asked.trajectories, asked.terms)
    of_cell = {result.key: result for result in found if result.quantity == "fn_star"}
    by = asked.terms.by
    row, column = (label_rows(asked.onsets, [name], lambda groups: name_groups(groups, FIGURE)) for name in by)
    table = asked.onsets[["run", "state"]].assign(
        of=CELL,
        row=row,
        column=column,
        loss=asked.onsets["onset_loss"],
        feature_norm=asked.onsets["fn_star"].where(asked.onsets["state"] == "collapsed"),
        reason=None,
    )
    cells = (of_cell[group_key(group)] for group in plain_groups(asked.onsets, by))
    limits = pd.DataFrame([_limits(cell) for cell in cells], index=table.index)
    columns = ["of", "row", "column", "run", "state", "loss", "feature_norm", *limits.columns, "reason"]
    return table.join(limits)[columns]


def _limits(result: Result) -> dict[str, float]:
    return {"estimate": result.estimate, "lo": result.lo, "hi": result.hi}


def _check_grid(cells: pd.DataFrame, asked: Asked) -> None:
    for name, axis in zip(("row", "column"), asked.terms.by, strict=True):
        if cells[name].nunique() < 2:
            raise AnalysisError(
                f"all runs have one {axis} ({cells[name].iloc[0]}); a grid needs two of each factor.\n"
                "`ncdiag sweep --arch mlp,resnet20 --dataset mnist,fashion_mnist --seed 0:3` trains one"
            )
    if cells["feature_norm"].isna().all():
        raise AnalysisError(
            f"no onset ({asked.terms.rule}) in {counted(len(cells), 'run')}; the grid has no cell to draw"
        )


def draw_grid(table: pd.DataFrame, sheet: Sheet) -> Figure:
    """Draw the table of `grid_table`: a line per row of the grid, and beside it the ratios of ratios."""
    cells, ratios = table[table["of"] == CELL], table[table["of"] == RATIO]
    ratios = ratios[np.isfinite(ratios["estimate"].to_numpy(dtype=np.float64))]
    page = sheet.page
    with figure_style(page):
        stacked = sheet.width == "column"
        high = {"column": 2.1, "page": 2.7, "slide": 5.0}[sheet.width]
        beside = min(0.35 + 0.24 * page.points / 8 * max(len(ratios), 3), high) if stacked else 0.0
        figure = start_figure(sheet, high + beside, _legend(cells, sheet))
        if stacked:
            left, right = figure.subplots(2, 1, height_ratios=(high, beside))
        else:
            left, right = figure.subplots(1, 2, width_ratios=(3, 2 if len(ratios) else 1.2))
        _draw_cells(left, cells, sheet)
        _draw_ratios(right, ratios, table[table["of"] == RATIO], sheet)
    return figure


def _draw_cells(axes: Axes, cells: pd.DataFrame, sheet: Sheet) -> None:
    page, points = sheet.page, sheet.page.points
    rows, columns = (sort_names(cells[name].unique()) for name in ("row", "column"))
    words, label = split_names(columns)
    log_axis(axes.yaxis, cells[["feature_norm", "estimate", "lo", "hi"]].to_numpy(dtype=np.float64))
    axes.set(title="fn* of each cell", ylabel="feature norm at onset", xlim=(-0.5, len(columns) - 0.5))
    room = page.inches * (0.75 if sheet.width == "column" else 0.4) / len(columns)
    axes.set_xticks(range(len(columns)), [squeeze(word, page.points, room) for word in words])
    axes.set_xlabel(label)
    axes.grid(visible=False, axis="x")
    step = min(0.2, 0.8 / len(rows))
    for place, name in enumerate(rows):
        color, style = line_style(place)
        own = cells[cells["row"] == name]
        shift = step * (place - (len(rows) - 1) / 2)
        known: list[tuple[float, float, str]] = []
        for at, column in enumerate(columns):
            cell = own[own["column"] == column]
            if cell.empty:
                continue
            if not np.isfinite(cell["estimate"].iloc[0]):
                _mark_empty(axes, at + shift, color, points)
                continue
            known.append((at + shift, float(cell["estimate"].iloc[0]), _loss(cell)))
            _draw_cell(axes, cell, (at + shift, step), place, sheet)
        for (x0, y0, before), (x1, y1, after) in pairwise(known):
            alike = before == after  # cells under two losses are not one quantity, and joined by a hint of a line only
            axes.plot([x0, x1], [y0, y1], color=color, linestyle=style if alike else (0, (1, 4)), zorder=2)
            axes.lines[-1].set(linewidth=points / (7 if alike else 12))


def _draw_cell(axes: Axes, cell: pd.DataFrame, spot: tuple[float, float], place: int, sheet: Sheet) -> None:
    """Draw a cell at its place and within its width: the runs as points beside the mean, which is empty under CE."""
    at, wide = spot
    points, color = sheet.page.points, line_style(place)[0]
    lo, hi, mean = (float(cell[name].iloc[0]) for name in ("lo", "hi", "estimate"))
    draw_interval(axes, at, (lo, hi), color=color, points=points * 0.7, upright=True)
    norms = cell["feature_norm"].to_numpy(dtype=np.float64)
    norms = norms[np.isfinite(norms)]
    near = 0.02 * math.log10(axes.get_ylim()[1] / axes.get_ylim()[0])
    beside = spread_out(np.log10(norms), near, (at + 0.25 * wide, at + 0.65 * wide), 0.1 * wide)
    (dots,) = axes.plot(beside, norms, MARKERS[place % len(MARKERS)], color=color, alpha=0.6)
    dots.set(markersize=points / 3.6, markeredgewidth=0)
    (mark,) = axes.plot(at, mean, MARKERS[place % len(MARKERS)], color=color, zorder=5)
    mark.set(markersize=points / 1.6, markeredgewidth=points / 8)
    mark.set_markerfacecolor("white" if _loss(cell) == "ce" else color)


def _loss(cell: pd.DataFrame) -> str:
    """Give the loss at the onsets of a cell; empty where it is not known."""
    losses = cell.loc[cell["state"] == "collapsed", "loss"].dropna().unique()
    return "" if not len(losses) else str(losses[0]) if len(losses) == 1 else _SEVERAL


def _mark_empty(axes: Axes, place: float, color: str, points: float) -> None:
    """Mark at the foot of the axes a cell that has runs but no onset."""
    (mark,) = axes.plot(place, 0.04, END_MARK, color=color, transform=axes.get_xaxis_transform(), zorder=5)
    mark.set(markersize=points / 1.8, markeredgewidth=points / 8)


def _draw_ratios(axes: Axes, ratios: pd.DataFrame, every: pd.DataFrame, sheet: Sheet) -> None:
    points = sheet.page.points
    axes.set_title("Ratio of ratios")
    if ratios.empty:
        reasons = [*every["reason"].dropna(), "a cell is missing in every part"]
        _say_why(axes, f"not computed: {reasons[0]}", sheet)
        return
    log_axis(axes.xaxis, [*ratios[["estimate", "lo", "hi"]].to_numpy(dtype=np.float64).ravel(), 1.0], letters=25)
    axes.axvline(1, color=INK, linewidth=points / 12, linestyle=DASHED, zorder=1)
    axes.set(ylim=(len(ratios) - 0.5, -0.5), xlabel=f"1 if the factors multiply; {sheet.sure} interval")
    room = sheet.page.inches * (0.35 if sheet.width == "column" else 0.2)
    names = [[_squeeze_ratio(name, points, room) for name in ratios[part]] for part in ("row", "column")]
    axes.set_yticks(range(len(ratios)), [f"{row}\n× {column}" for row, column in zip(*names, strict=True)])
    axes.grid(visible=False, axis="y")
    for place, (_, row) in enumerate(ratios.iterrows()):
        draw_interval(axes, place, (row["lo"], row["hi"]), color=INK, points=points)
        (mark,) = axes.plot(row["estimate"], place, "D", color=INK, zorder=5)
        mark.set(markersize=points / 1.8)


def _squeeze_ratio(name: str, points: float, inches: float) -> str:
    """Give `mlp / cnn` as far as it fits, a part of the room for either."""
    parts = name.split(_OVER)
    if text_inches(name, points) <= inches or len(parts) != 2:
        return squeeze(name, points, inches)
    return _OVER.join(squeeze(part, points, (inches - text_inches(_OVER, points)) / 2) for part in parts)


def _say_why(axes: Axes, reason: str, sheet: Sheet) -> None:
    page = sheet.page
    inches = page.inches * (0.85 if sheet.width == "column" else 0.24)
    text = "\n".join(wrap(reason, page.points * 0.9, inches)[:12])
    axes.set_axis_off()
    axes.text(0, 1, text, transform=axes.transAxes, va="top", fontsize=page.points * 0.9, color=FAINT)
    axes.texts[-1].set_in_layout(False)


def _legend(cells: pd.DataFrame, sheet: Sheet) -> list[Line2D]:
    points = sheet.page.points
    handles = [series_handle(place, name, points) for place, name in enumerate(sort_names(cells["row"].unique()))]
    losses = set(cells.loc[cells["state"] == "collapsed", "loss"].dropna())
    if "ce" in losses:
        handles.append(mark_handle("o", "onset under cross-entropy", points, filled=False))
    if losses - {"ce"}:
        handles.append(mark_handle("o", f"onset under {', '.join(sorted(losses - {'ce'}))}", points, filled=True))
    handles.append(Line2D([], [], color=INK, linewidth=points / 7, label=f"{sheet.sure} interval"))
    if cells["estimate"].isna().any():
        handles.append(mark_handle(END_MARK, "runs without any onset", points))
    return handles
