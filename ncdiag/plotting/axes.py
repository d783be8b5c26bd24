"""What panels are drawn with: axes in round numbers, intervals, points side by side, lines that thin out in a crowd."""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import ScaledTranslation, Transform
from numpy.typing import ArrayLike, NDArray

from ncdiag.domain.naming import compact

HALO = withStroke(linewidth=2, foreground="white")  # keeps text readable where curves cross it
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def log_axis(axis: Axis, values: ArrayLike, *, letters: int = 40) -> None:
    """Make an axis logarithmic over these values, with a margin; `letters` bounds the number of labels."""
    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite) & (finite > 0)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.1, 1.0)
    margin = 10 ** max(0.05 * math.log10(high / low), 0.04)
    low, high = max(low / margin, 1e-300), min(high * margin, 1e300)
    _set_scale(axis, low, high)
    axis.set_major_locator(FixedLocator(log_ticks(low, high, letters // 5)))
    axis.set_minor_locator(LogLocator(subs=range(2, 10), numticks=30))
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))


def _set_scale(axis: Axis, low: float, high: float) -> None:
    axes = axis.axes
    if axis is axes.xaxis:
        axes.set_xscale("log", nonpositive="mask")
        axes.set_xlim(low, high)
    else:
        axes.set_yscale("log", nonpositive="mask")
        axes.set_ylim(low, high)


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """Give round numbers between two positive ones, at least two and rarely more than `most`.

    They are 1, 2, 5 of each decade, or 1 and 3, or decades alone; within less than a decade, 1, 1.5, 2, 3, 5 and 7 of
    it, or equal steps.
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for series in ((1.0, 2.0, 5.0), (1.0, 3.0), (1.0,)):
        inside = [s * 10.0**d for d in decades for s in series if low <= s * 10.0**d <= high]
        if len(inside) < 3:
            break
        if len(inside) <= most:
            return inside
    else:
        return inside[:: math.ceil(len(inside) / most)]
    some = [s * 10.0**d for d in decades for s in (1.0, 1.5, 2.0, 3.0, 5.0, 7.0) if low <= s * 10.0**d <= high]
    if 4 <= len(some) <= most:
        return some
    steps = MaxNLocator(max(min(most, 5), 2), steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    equal = [float(f"{value:.6g}") for value in steps if low <= value <= high]
    return some if len(equal) < len(some) <= most else equal


def plain_axis(axis: Axis, most: int = 5) -> None:
    """Give a linear axis a few round numbers, written without a common factor."""
    axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: compact(float(f"{value:.10g}"))))


def draw_interval(
    axes: Axes,
    at: float,
    span: tuple[float, float],
    *,
    color: str,
    points: float,
    upright: bool = False,
) -> None:
    """Draw an interval as a bar at a place; a limit beyond the axes ends in an arrow at their edge.

    The limits of the axes must have been set. An interval that is not known (NaN) is not drawn.
    """
    edges = sorted(axes.get_ylim() if upright else axes.get_xlim())
    ends = [min(max(limit, edges[0]), edges[1]) for limit in span]
    if not all(map(math.isfinite, ends)):
        return
    places = [at, at]
    line = (places, ends) if upright else (ends, places)
    axes.plot(*line, color=color, linewidth=points / 5, zorder=3)
    before, beyond = ("v", "^") if upright else ("<", ">")
    for limit, end in zip(span, ends, strict=True):
        if limit != end:
            spot = (at, end) if upright else (end, at)
            arrow = before if limit < end else beyond
            axes.plot(*spot, arrow, color=color, markersize=points / 2, clip_on=False, zorder=3)


def lanes(values: ArrayLike, apart: float) -> NDArray[np.int64]:
    """Give each value the number of a lane, from 0, so that values nearer than `apart` are in different ones.

    They take the first free lane in the order they are given in: in the order of their size they would climb from lane
    to lane, and look like a trend.
    """
    given = np.asarray(values, dtype=np.float64)
    places = np.zeros(len(given), dtype=np.int64)
    for row, value in enumerate(given.tolist()):
        taken = set(places[:row][np.abs(given[:row] - value) < apart].tolist())
        places[row] = next(lane for lane in range(row + 1) if lane not in taken)
    return places


def shifted(axes: Axes, up: float) -> Transform:
    """Give the transform of data that puts them some points above their place: they can be seen, and stay exact."""
    figure = axes.get_figure()
    assert figure is not None
    return axes.transData + ScaledTranslation(0, up / 72, figure.dpi_scale_trans)


def write(axes: Axes, text: str, spot: tuple[float, float], points: float, **options: Any) -> None:
    """Write a text near a spot, over data with a halo; `options` are those of `annotate`."""
    over = not isinstance(options.get("xycoords"), str)  # what is placed by the axes is beside the data
    said = axes.annotate(text, spot, **{"textcoords": "offset points", "fontsize": points, "zorder": 6, **options})
    said.set_path_effects([HALO] if over else [])


def line_weights(count: int, points: float) -> tuple[float, float]:
    """Give width and opacity of lines, thinner and paler where there are many of them."""
    if count <= 6:
        return points / 7, 1.0
    return (points / 9, 0.85) if count <= 20 else (points / 14, 0.6) if count <= 100 else (points / 20, 0.35)


def mark_size(count: int, points: float) -> float:
    """Give the size of a mark that each curve has, smaller where many of them would hide the curves."""
    return points / (1.9 if count <= 20 else 2.5 if count <= 100 else 3.2)
