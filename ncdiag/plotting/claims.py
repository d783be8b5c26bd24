"""The claims of the paper, one strip each: the published figure, ours with its interval, and the verdict."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from ncdiag.analysis.asked import Asked
from ncdiag.analysis.claims import CLAIMS
from ncdiag.analysis.survey import Survey
from ncdiag.domain.naming import FIGURE, PAIR, differing, name_groups
from ncdiag.domain.result import Result
from ncdiag.plotting.axes import draw_interval, log_axis, plain_axis, write
from ncdiag.plotting.layout import Sheet, mark_handle, shorten, squeeze, start_figure, text_inches, wrap
from ncdiag.plotting.style import FAINT, INK, PALETTE, Width, figure_style

_MOST_GROUPS = 6
_PAD = 0.6  # letters between the name of a group and the axis, beyond which an arrow may reach
# Whether a bound leaves open how low, and how high, the figure is.
_NOT_KNOWN = {"at least": (False, True), "at most": (True, False), "within the budget": (True, True)}
# What a strip needs above and below its axis, in letters: heading, verdict, numbers, unit. In a column, the verdict is
# beside the heading.
_AROUND: dict[Width, float] = {"column": 5.2, "page": 6.6, "slide": 6.4}
# Mark and colour of each verdict; what is shown is filled.
_LOOKS = {
    "supported": ("o", PALETTE[2], True),
    "refuted": ("X", PALETTE[1], True),
    "inconclusive": ("D", PALETTE[0], False),
    "not testable": ("s", FAINT, False),
}


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What the figure of a claim is, in the units it is drawn in, and where the published one lies among them.

    `published` is the published figure, or the bound on it; `ratio` says that it is a factor, drawn on logarithms.
    `limits` says what the limits are, of a confidence.
    """

    quantity: str
    published: float
    drawn: Callable[[float], float]
    ratio: bool = False
    limits: Callable[[float], str] = lambda level: f"{100 * level:.3g}% interval"


def _bounds(level: float) -> str:
    return f"{100 * level:.3g}% bounds"


def _one_sided(level: float) -> str:
    """Name limits that hold on either side with more confidence than together."""
    return _bounds((1 + level) / 2)


def _same(value: float) -> float:
    return value


def _percent(value: float) -> float:
    return 100 * value


# From the abstract of arXiv 2604.00230: 8 % for claim 1 and, as the margin of "the same", for 2; an error of 24 epochs;
# fn* +458 % on MNIST against +68 % on CIFAR-10, which is a ratio of 5.58 / 1.68. A factor of 1 is no effect.
MEASURES = {
    "1": Measure(quantity="CV of fn*, %", published=8, drawn=_percent, limits=_one_sided),
    "2": Measure(
        quantity="furthest condition, % off",
        published=8,
        drawn=lambda x: 100 * math.expm1(x),
        limits=_bounds,
    ),
    "3": Measure(
        quantity="MAE of the forecast, epochs",
        published=24,
        drawn=_same,
        limits=lambda level: f"about {100 * level:.3g}% interval",
    ),
    "4": Measure(quantity="scaled up / scaled down", published=1, drawn=math.exp, ratio=True),
    "5": Measure(quantity="ratio of ratios", published=5.58 / 1.68, drawn=_same, ratio=True),
    "6a": Measure(quantity="change about the turn, ratio", published=1, drawn=_same, ratio=True),
    "6b": Measure(quantity="largest / smallest onset", published=1, drawn=_same, ratio=True),
    "6c": Measure(quantity="onset: smallest / most clearly faster", published=1, drawn=_same, ratio=True),
    "6d": Measure(quantity="onset earlier per doubling, %", published=0, drawn=_percent),
}


def claims_table(asked: Asked) -> pd.DataFrame:
    """Give the table behind the figure: a row per claim and group of runs that bears on it.

    `published` is the published figure as text and `published_value` as a number in the units of `quantity`, in which
    `estimate`, `lo` and `hi` are too; `limits` says what these are, and with which confidence. Where runs without an
    onset make the estimate a `bound`, the limit on that side is infinite. `verdict` and `reason` are those of
    `ncdiag analyze claims`, `overall` the verdict on the claim over all of its groups.
    """
    survey = Survey(runs=asked.runs, read=asked.read, terms=asked.terms, questions=("claims",))
    results = survey.results["claims"]
    rows = []
    for claim in CLAIMS:
        own = [result for result in results if result.quantity == f"claim_{claim.number}"]
        groups = own[1:] or own  # the first of several puts them together
        for result, name in zip(groups, _names(groups), strict=True):
            rows.append({"claim": claim.number, "says": claim.short, "group": name, **_row(claim.number, result)})
            rows[-1]["overall"] = own[0].extra["verdict"]
    return pd.DataFrame(rows)


def _names(results: Sequence[Result]) -> list[str]:
    """Name the groups of results by what they differ in, one alone not at all."""
    groups = [result.group for result in results]
    return name_groups(groups, FIGURE, differing(groups), bare=PAIR)


def _row(number: str, result: Result) -> dict[str, Any]:
    measure, bound = MEASURES[number], result.extra["bound"] or ""
    figures = {name: getattr(result, name) for name in ("estimate", "lo", "hi")}
    if math.isfinite(result.hi):
        below, above = _NOT_KNOWN.get(bound, (False, False))
        figures |= ({"lo": -math.inf} if below else {}) | ({"hi": math.inf} if above else {})
    return {
        "published": result.extra["published"],
        "ours": result.extra["ours"],
        "quantity": measure.quantity,
        "published_value": measure.published,
        **{name: measure.drawn(value) if math.isfinite(value) else value for name, value in figures.items()},
        "level": result.level,
        "limits": measure.limits(result.level) if math.isfinite(result.hi) else "",
        "bound": bound,
        "n_runs": result.n_runs,
        "verdict": result.extra["verdict"],
        "reason": result.extra["reason"],
    }


def draw_claims(table: pd.DataFrame, sheet: Sheet) -> Figure:
    """Draw the table of `claims_table`: a strip per claim, in its own units, and a line in it per group of runs."""
    page, points = sheet.page, sheet.page.points
    strips = [rows for _, rows in table.groupby("claim", sort=False)]
    across = {"column": 1, "page": 2, "slide": 3}[sheet.width]
    down = math.ceil(len(strips) / across)
    lines = [max(_count_lines(rows) for rows in strips[place * across : (place + 1) * across]) for place in range(down)]
    around = _AROUND[sheet.width]
    with figure_style(page):
        figure = start_figure(sheet, sum(around + 1.3 * n + 0.3 for n in lines) * points / 72, _legend(table, sheet))
        grid = figure.subplots(down, across, squeeze=False, height_ratios=[1.3 * count + 0.3 for count in lines])
        for place, (axes, rows) in enumerate(zip(grid.flat, strips, strict=False)):
            indent = max(
                _names_inches(other, page.inches / across, sheet) for other in strips[place % across :: across]
            )
            _draw_strip(axes, rows, (page.inches / across, indent), sheet)
        for axes in list(grid.flat)[len(strips) :]:
            axes.set_axis_off()
    return figure


def _count_lines(rows: pd.DataFrame) -> int:
    return min(len(rows), _MOST_GROUPS) if rows["estimate"].notna().any() else 1


def _short_names(rows: pd.DataFrame, inches: float, sheet: Sheet) -> list[str]:
    small = _small(sheet)
    return [squeeze(name, small, inches * 0.32) for name in rows["group"].iloc[:_MOST_GROUPS]]


def _names_inches(rows: pd.DataFrame, inches: float, sheet: Sheet) -> float:
    """Measure what the names of groups take to the left of a strip; nothing where none is named."""
    widest = max(text_inches(name, _small(sheet)) for name in _short_names(rows, inches, sheet))
    return widest + (_PAD + 0.1) * sheet.page.points / 72 if widest and rows["estimate"].notna().any() else 0.0


def _small(sheet: Sheet) -> float:
    return max(0.8 * sheet.page.points, 6)


def _draw_strip(axes: Axes, rows: pd.DataFrame, room: tuple[float, float], sheet: Sheet) -> None:
    """Draw a strip; `room` is its width in inches, and how much of that is left of its axis."""
    points, first, inches = sheet.page.points, rows.iloc[0], room[0]
    shown = rows.iloc[:_MOST_GROUPS]
    _head(axes, first, room, sheet)
    axes.grid(visible=False, axis="y")
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_yticks(range(len(shown)), _short_names(rows, inches, sheet))
    axes.tick_params(axis="y", length=0, labelsize=_small(sheet), pad=_PAD * points)
    axes.tick_params(axis="x", pad=points / 4)
    axes.xaxis.labelpad = points / 8
    values = shown[["estimate", "lo", "hi"]].to_numpy(dtype=np.float64)
    if np.isnan(values[:, 0]).all():
        told = rows[rows["verdict"] == first["overall"]].iloc[0]  # the reason of another group may be the contrary
        begun = [told["group"]] * (len(rows) > 1) + [told["ours"]] * (told["ours"] != "-")
        _say_reason(axes, ": ".join([*begun, str(told["reason"])]), room, sheet)
        return
    axes.set_xlabel(
        _axis_label(shown, room[0], sheet), loc="right"
    )  # it may be longer than the axis, and goes on to the left
    _set_scale(axes, values, float(first["published_value"]), MEASURES[str(first["claim"])].ratio)
    axes.axvline(first["published_value"], color=INK, linewidth=points / 8, linestyle=(0, (4, 2)), zorder=2)
    for place, ((estimate, lo, hi), said) in enumerate(zip(values.tolist(), shown["verdict"], strict=True)):
        marker, color, filled = _LOOKS[said]
        draw_interval(axes, place, (lo, hi), color=color, points=points, upright=False)
        if math.isnan(estimate):
            where = {"xycoords": axes.get_yaxis_transform(), "xytext": (points / 2, 0), "va": "center"}
            write(axes, said, (0, place), max(points * 0.85, 6), color=FAINT, **where)
            continue
        if said == "refuted" and first["claim"] == "1" and not lo > first["published_value"]:
            # Not its CV refutes it: a bare mark would look like a pass.
            above = {"xytext": (points / 1.5, points / 3), "va": "bottom"}
            write(axes, f"by {shown['ours'].iloc[place]}", (estimate, place), max(points * 0.85, 6), color=INK, **above)
        (mark,) = axes.plot(estimate, place, marker, color=color, zorder=5, clip_on=False)
        mark.set(
            markersize=points / (1.4 if marker == "X" else 1.7),
            markeredgewidth=points / 9,
            markerfacecolor=color if filled else "white",
        )


def _axis_label(shown: pd.DataFrame, inches: float, sheet: Sheet) -> str:
    """Name the quantity of a strip, and the confidence of its limits: claims are not all judged at one level.

    Where there is no room, the level alone: the legend says what a bar is.
    """
    quantity, limits = str(shown["quantity"].iloc[0]), next((text for text in shown["limits"] if text), "")
    full = f"{quantity} ({limits})" if limits else quantity
    return full if text_inches(full, sheet.page.points) <= 0.9 * inches else f"{quantity} ({limits.rpartition(' ')[0]})"


def _head(axes: Axes, first: pd.Series, room: tuple[float, float], sheet: Sheet) -> None:
    """Write the claim above its strip, and the verdict below it, or beside it where the sheet is narrow."""
    points, verdict, (inches, indent) = sheet.page.points, str(first["overall"]), room
    beside = sheet.width == "column"
    taken = text_inches(verdict, points) if beside else 0.0
    heading = shorten(f"{first['claim']}  {first['says']}", points * 1.1, inches - taken - points / 72)
    title = axes.set_title(heading, pad=points * (0.5 if beside else 1.8))
    figure = axes.get_figure()
    assert figure is not None
    title.set_transform(title.get_transform() + ScaledTranslation(-indent, 0, figure.dpi_scale_trans))
    where = {"xycoords": "axes fraction", "va": "bottom", "color": _LOOKS[verdict][1]}
    if beside:
        write(axes, verdict, (1, 1), points * 0.95, xytext=(0, points * 0.5), ha="right", **where)
    else:
        write(axes, verdict, (0, 1), points * 0.95, xytext=(-72 * indent, points * 0.3), **where)


def _set_scale(axes: Axes, values: np.ndarray[Any, np.dtype[np.float64]], published: float, ratio: bool) -> None:
    finite = [*values[np.isfinite(values)], published]
    if ratio:
        log_axis(axes.xaxis, finite, letters=30)
        return
    known = [*values[np.isfinite(values[:, 0]), 0], published]
    low, high = min(finite), min(max(finite), 4 * max(known))  # a bound far out would leave the rest no room
    margin = 0.06 * (high - low or 1)
    axes.set_xlim(min(low, 0) - margin if low < 0 or not published else -0.03 * high, high + margin)
    plain_axis(axes.xaxis, 4)


def _say_reason(axes: Axes, reason: str, room: tuple[float, float], sheet: Sheet) -> None:
    """Write why a claim has no figure where it would stand."""
    points, (inches, indent) = sheet.page.points, room
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[["left", "bottom"]].set_visible(False)
    lines = wrap(reason, points * 0.9, inches * 0.86)
    text = "\n".join(lines if len(lines) <= 2 else [lines[0], f"{lines[1]} …"])
    where = {"xycoords": "axes fraction", "xytext": (-72 * indent, -points / 3), "va": "top", "color": FAINT}
    write(axes, text, (0, 1), points * 0.9, **where)
    axes.texts[-1].set_in_layout(False)


def _legend(table: pd.DataFrame, sheet: Sheet) -> Sequence[Line2D]:
    points = sheet.page.points
    known = table[np.isfinite(table["estimate"].to_numpy(dtype=np.float64))]
    drawn = set(known["verdict"])
    handles = [
        mark_handle(marker, verdict, points, color=color, filled=filled)
        for verdict, (marker, color, filled) in _LOOKS.items()
        if verdict in drawn
    ]
    if known.empty:
        return []
    handles.append(Line2D([], [], color=INK, linewidth=points / 5, label="confidence interval"))
    if np.isinf(known[["lo", "hi"]].to_numpy(dtype=np.float64)).any():
        handles.append(mark_handle(">", "limit not known on this side", points))
    dashed = Line2D([], [], color=INK, linewidth=points / 8, linestyle=(0, (4, 2)), label="published, or no effect")
    return [*handles, dashed]
