"""Do rescaled features return? The feature norm of each arm over that of its control, through time."""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from ncdiag.analysis.asked import Asked
from ncdiag.analysis.attractor import attractor_results
from ncdiag.analysis.branches import Branches, list_branches
from ncdiag.domain.equivalence import MARGIN, equality_level
from ncdiag.domain.naming import compact, group_key
from ncdiag.domain.result import Result
from ncdiag.errors import AnalysisError
from ncdiag.plotting.axes import draw_interval, line_weights, log_axis, write
from ncdiag.plotting.conditions import name_pairs
from ncdiag.plotting.layout import Sheet, label_panels, note_handles, panel_grid, squeeze, start_figure, text_inches
from ncdiag.plotting.style import BAND, INK, figure_style, line_style

_ARMS = ("up", "down")
_MOST_PANELS = 9
_SHORTEST, _LONGEST = 0.1, 10_000  # epochs of a half-life that are written out
MARGIN_RATIO = math.exp(MARGIN)
_FIGURES = ("log_ratio", "half_life")


def attractor_table(asked: Asked) -> pd.DataFrame:
    """Give the table behind the figure: a row per arm, pair of runs and epoch that both were evaluated at.

    `ratio` is the feature norm of the arm over that of its control; `end_ratio` with its interval (90 % at a level of
    95 %, as a test of equality has it) is that of the arm at the end, and `half_life`, in epochs, how fast the
    difference shrinks.
    """
    sets = list_branches(asked.onsets, asked.terms.by)
    if not sets:
        raise AnalysisError(
            "no run had its features rescaled, so there is no arm to compare with its control.\n"
            "`ncdiag sweep --preset intervention` trains such runs"
        )
    results = {(result.key, result.quantity, result.extra.get("arm")): result for result in attractor_results(asked)}
    norms = {str(run): rows.set_index("epoch")["feature_norm"] for run, rows in asked.epochs.groupby("run", sort=False)}
    names = asked.onsets["run"].tolist()
    pairs = name_pairs(asked)
    found = []
    for number, branches in enumerate(sets, start=1):
        pair = pairs[group_key({column: branches.group[column] for column in asked.terms.by})]
        for arm in _ARMS:
            figures = {q: results[group_key(branches.group), q, f"{arm}_control"] for q in _FIGURES}
            found.append(_rows(branches, arm, pair, names, norms, figures).assign(set=number))
    table = pd.concat(found, ignore_index=True)
    if table.empty:
        raise AnalysisError(
            "no rescaled run has a control of the same seed with a feature norm at the same epochs.\n"
            "`ncdiag sweep --preset intervention` trains both"
        )
    return table


def _rows(
    branches: Branches, arm: str, pair: str, names: list[str], norms: Any, found: dict[str, Result]
) -> pd.DataFrame:
    parts = []
    for control, own in zip(branches.control, getattr(branches, arm), strict=True):
        if control < 0 or own < 0 or names[control] not in norms or names[own] not in norms:
            continue
        both = pd.concat([norms[names[own]], norms[names[control]]], axis=1, join="inner", keys=["arm", "control"])
        both = both[(both > 0).all(axis=1) & np.isfinite(both).all(axis=1)]
        parts.append(
            pd.DataFrame(
                {
                    "run": names[own],
                    "control": names[control],
                    "epoch": both.index.to_numpy(),
                    "ratio": (both["arm"] / both["control"]).to_numpy(dtype=np.float64),
                }
            )
        )
    if not parts:
        return pd.DataFrame()
    table = pd.concat(parts, ignore_index=True)
    end, half = found["log_ratio"], found["half_life"]
    return table.assign(
        pair=pair,
        rescaled_at=branches.epoch,
        head=branches.group["head"],
        arm=arm,
        rescaled_by=branches.alphas[_ARMS.index(arm)],
        end_ratio=math.exp(end.estimate),
        end_lo=math.exp(end.lo),
        end_hi=math.exp(end.hi),
        half_life=half.estimate,
        half_lo=half.lo,
        half_hi=half.hi,
        pairs=half.extra["n_pairs"],
        pairs_returning=int(half.extra.get("n_seen", 0)),
        level=half.level,
    )


def draw_attractor(table: pd.DataFrame, sheet: Sheet) -> Figure:
    """Draw the table of `attractor_table`: a panel per set of branches, a curve per arm and seed.

    The grey band is the margin within which the two are called equal; the bar at the right is the ratio at the end with
    its interval.
    """
    page = sheet.page
    sets = [rows for _, rows in table.groupby("set")]
    shown = sets[:_MOST_PANELS]
    rows, across = panel_grid(len(shown), {"column": 1, "page": 2, "slide": 3}[sheet.width])
    height = min({"column": 2.0, "page": 2.5, "slide": 5.0}[sheet.width], 6.2 / rows if rows < 3 else 2.5)
    with figure_style(page):
        figure = start_figure(sheet, rows * height, [*_legend(sheet), *note_handles(len(sets) - len(shown), "set")])
        grid = figure.subplots(rows, across, squeeze=False, sharey=True)
        log_axis(
            grid[0, 0].yaxis, [*table["ratio"], *table["end_lo"], *table["end_hi"], 1 / MARGIN_RATIO, MARGIN_RATIO]
        )
        for axes, own in zip(grid.flat, shown, strict=False):
            _draw_set(axes, own, page.inches / across, sheet, alone=table["pair"].nunique() == 1)
        label_panels(grid, len(shown), "epoch", "feature norm / control")
    return figure


def _draw_set(axes: Axes, own: pd.DataFrame, inches: float, sheet: Sheet, *, alone: bool) -> None:
    points, first = sheet.page.points, own.iloc[0]
    last = float(own["epoch"].max())
    what = f": rescaled at epoch {first['rescaled_at']:g}, head {first['head']}"
    room = inches * 0.85 - text_inches(what, points * 1.1)
    title = f"{squeeze(first['pair'], points * 1.1, room)}{what}"
    if alone and not title.startswith(first["pair"]):  # the line above names the only pair
        title = f"R{what.removeprefix(': r')}"
    axes.set_title(title, pad=points * 2.9)
    axes.set_xlim(0, last * 1.12)
    ticks = MaxNLocator(6 if sheet.width == "page" else 5, integer=True, steps=[1, 2, 2.5, 5, 10]).tick_values(0, last)
    axes.set_xticks([tick for tick in ticks if tick <= last])  # beyond is no epoch, but room for the bars
    axes.axhspan(1 / MARGIN_RATIO, MARGIN_RATIO, **BAND, zorder=1)
    axes.axhline(1, color=INK, linewidth=points / 14, zorder=1)
    axes.axvline(first["rescaled_at"], color=INK, linewidth=points / 12, linestyle=":", zorder=1)
    width, alpha = line_weights(own["run"].nunique(), points)
    for arm, rows in own.groupby("arm", sort=False):
        place = _ARMS.index(str(arm))
        color, style = line_style(place)
        for _, pair in rows.groupby("run", sort=False):
            axes.plot(pair["epoch"], pair["ratio"], color=color, linestyle=style, linewidth=width, alpha=alpha)
        row = rows.iloc[0]
        at = last * (1.04 + 0.04 * place)
        draw_interval(axes, at, (row["end_lo"], row["end_hi"]), color=color, points=points, upright=True)
        (mark,) = axes.plot(at, row["end_ratio"], "o^"[place], color=color, zorder=5)
        mark.set(markersize=points / 2)
        _say_arm(axes, row, arm == "up", color, sheet)


def _say_arm(axes: Axes, row: pd.Series, up: bool, color: str, sheet: Sheet) -> None:
    points = sheet.page.points
    said = "no return seen"
    if np.isfinite(row["half_life"]):
        said = f"half-life {_short(row['half_life'])} epochs"
        if np.isfinite(row["half_lo"]) and np.isfinite(row["half_hi"]):
            said += f" ({_short(row['half_lo'])} to {_short(row['half_hi'])})"
        if row["pairs_returning"] < row["pairs"]:
            said += f", in {row['pairs_returning']} of {row['pairs']} pairs"
    where = {"xycoords": "axes fraction", "xytext": (0, points * (1.45 if up else 0.3)), "va": "bottom"}
    write(axes, f"× {compact(row['rescaled_by'])}: {said}", (0, 1), points * 0.9, color=color, **where)


def _short(value: float) -> str:
    """Write a half-life with two digits; beyond what training could show, that it is so."""
    if not _SHORTEST <= value <= _LONGEST:
        return f"< {_SHORTEST:g}" if value < _SHORTEST else f"> {_LONGEST:g}"
    return compact(float(f"{value:.2g}"))


def _legend(sheet: Sheet) -> list[Any]:
    points = sheet.page.points
    handles: list[Any] = []
    for place, name in enumerate(("scaled up", "scaled down")):
        color, style = line_style(place)
        handle = Line2D([], [], color=color, linestyle=style, marker="o^"[place], label=name)
        handle.set_markersize(points / 2)
        handles.append(handle)
    interval = f"{100 * equality_level(sheet.terms.level):.3g} % interval"
    handles.append(Line2D([], [], color=INK, linewidth=points / 5, label=f"{interval} at the end"))
    handles.append(Patch(**BAND, label=f"equal within {100 * (MARGIN_RATIO - 1):.0f} %"))
    return handles
