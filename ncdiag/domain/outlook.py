"""When curves that were watched until now reach a level, if they go on as they do: many runs at once.

What `ncdiag.domain.descent` says of one curve and one level, for the runs of a pair and the levels of all folds.
"""

from dataclasses import dataclass, replace

import numpy as np

from ncdiag.domain.crossing import Curves, find_crossings, first_rows
from ncdiag.domain.descent import MIN_ROWS, WINDOW, WINDOW_ROWS
from ncdiag.domain.statistics import FloatArray, IntArray


@dataclass(frozen=True, kw_only=True)
class Outlooks:
    """The recent trend of each run, `start` + `slope` x epoch, as seen after `seen` evaluations, the last at `now`.

    Shapes (runs,). A run with too few evaluations in its phase has a NaN slope.
    """

    seen: IntArray
    now: FloatArray
    start: FloatArray
    slope: FloatArray

    @property
    def turned(self) -> "Outlooks":
        """The trends of the curves upside down."""
        return replace(self, start=-self.start, slope=-self.slope)


def see_trends(curves: Curves, seen: IntArray) -> Outlooks:
    """Fit a line to the last evaluations of each run in its current phase by least squares, as `see_descent` does."""
    width = max(int(seen.max(initial=0)), 1)
    epoch, columns, runs = curves.epoch[:, :width], np.arange(width), np.arange(len(seen))
    now = np.where(seen > 0, epoch[runs, np.maximum(seen - 1, 0)], np.nan)
    recent = np.count_nonzero(epoch <= (1 - WINDOW) * now[:, None], axis=1)
    in_phase = np.where(curves.switched[:, :width] & (columns < seen[:, None]), columns, 0).max(axis=1)
    first = np.maximum(np.minimum(recent, seen - WINDOW_ROWS), in_phase)
    count = np.where(seen - first >= MIN_ROWS, seen - first, 0)
    place = first[:, None] + np.arange(int(count.max(initial=0)))
    known = place < (first + count)[:, None]
    place = np.where(known, place, 0)
    size = np.where(count > 0, count, np.nan)
    t = np.where(known, np.take_along_axis(epoch, place, axis=1), 0.0)
    y = np.where(known, np.take_along_axis(curves.log, place, axis=1), 0.0)
    centre, mean = t.sum(axis=1) / size, y.sum(axis=1) / size
    t = np.where(known, t - centre[:, None], 0.0)
    slope = (t * y).sum(axis=1) / np.where(count > 0, (t * t).sum(axis=1), np.nan)
    return Outlooks(seen=seen, now=now, start=mean - slope * centre, slope=slope)


def reach_levels(curves: Curves, outlooks: list[Outlooks], levels: FloatArray, *, between: bool) -> list[FloatArray]:
    """Give when each run is at a level or will be by its trend, NaN where it does not head there.

    A matrix (runs, levels) for each of the `outlooks`, of the same curves at different times. A level that was reached
    is so at its first crossing (`between`: see `find_crossings`); any other lies ahead of the last evaluation seen.
    """
    rows = first_rows(curves, levels)
    crossed = find_crossings(curves, levels, between=between, rows=rows)
    return [np.where(rows < seen.seen[:, None], crossed, _ahead(seen, levels)) for seen in outlooks]


def head_for(curves: Curves, seen: Outlooks, level: float) -> FloatArray:
    """Give when each run is at a level from its last evaluation seen on, as `Descent.head_for` does; shape (runs,)."""
    last = curves.log[np.arange(len(seen.seen)), np.maximum(seen.seen - 1, 0)]
    return np.where(last <= level, seen.now, _ahead(seen, np.array([level]))[:, 0])


def _ahead(seen: Outlooks, levels: FloatArray) -> FloatArray:
    slope = np.where(seen.slope < 0, seen.slope, np.nan)[:, None]
    found: FloatArray = np.maximum((levels - seen.start[:, None]) / slope, seen.now[:, None])
    return found
