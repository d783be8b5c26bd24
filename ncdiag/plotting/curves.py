"""Curves and marks of many runs in few artists: one each would take seconds to lay out and to draw for hundreds."""

from collections.abc import Iterable
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from numpy.typing import NDArray

from ncdiag.plotting.style import LineStyle

_Array = NDArray[np.float64]


class DrawnCurve(NamedTuple):
    """The places of a curve, and how it looks."""

    x: _Array
    y: _Array
    color: str
    style: LineStyle
    width: float
    alpha: float = 1.0


class Mark(NamedTuple):
    """The place of a mark, and how it looks."""

    x: float
    y: float
    color: str
    marker: str


def rows_by_run(table: pd.DataFrame) -> list[NDArray[np.intp]]:
    """Give the places of the rows of each run, in the order in which the runs first appear."""
    codes, names = pd.factorize(table["run"])
    ends = np.cumsum(np.bincount(codes, minlength=len(names)))
    return np.split(np.argsort(codes, kind="stable"), ends[:-1])


def draw_curves(axes: Axes, curves: Iterable[DrawnCurve], *, zorder: float = 2) -> None:
    """Draw curves, each upon those before it; NaN breaks a curve. As with single lines, only solid ones end round."""
    drawn = [curve for curve in curves if len(curve.x)]
    if not drawn:
        return
    for solid, some in groupby(drawn, key=lambda curve: curve.style == "solid"):
        own = list(some)
        lines = LineCollection(
            [np.column_stack((curve.x, curve.y)) for curve in own],
            colors=[to_rgba(curve.color, curve.alpha) for curve in own],
            linestyles=[curve.style for curve in own],
            linewidths=[curve.width for curve in own],
            capstyle="round" if solid else "butt",
            zorder=zorder,
        )
        axes.add_collection(lines, autolim=False)  # which would take longer than to draw them
    places = np.array([np.concatenate([curve.x for curve in drawn]), np.concatenate([curve.y for curve in drawn])]).T
    places = places[np.isfinite(places).all(axis=1)]
    if len(places):
        axes.update_datalim([places.min(axis=0), places.max(axis=0)])
    axes.autoscale_view()


def draw_marks(axes: Axes, marks: Iterable[Mark], **options: Any) -> None:
    """Draw marks, each upon those before it; `options` are those of `plot`."""
    for (color, marker), some in groupby(marks, key=lambda mark: (mark.color, mark.marker)):
        x, y, *_ = zip(*some, strict=True)
        axes.plot(x, y, marker, color=color, **options)
