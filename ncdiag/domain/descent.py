"""A falling curve seen up to now: when it reached a level, or when it will if it goes on as it does."""

import math
from dataclasses import dataclass
from typing import TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from ncdiag.domain.statistics import FloatArray

WINDOW = 0.2  # the share of the training so far whose trend is extrapolated: no unit, so any length of run will do
WINDOW_ROWS = 5  # ... but at least this many evaluations, as far as the phase has them
_ROBUST_ROWS = 60  # pairs grow with the square
MIN_ROWS = 3  # two points have a line, but no sign of whether it means anything


class TrendFit(TypedDict, total=False):
    """How a trend is fitted: see `see_descent`."""

    share: float
    robust: bool


@dataclass(frozen=True, kw_only=True)
class Descent:
    """The logarithm of a quantity at the epochs seen so far, and its recent trend `start` + `slope` * epoch.

    Without a trend (too few evaluations in this phase) `slope` is NaN. `switched` marks the rows that are the first
    of their phase.
    """

    epoch: FloatArray
    log: FloatArray
    switched: NDArray[np.bool_]
    start: float
    slope: float

    def reach(self, log_level: float) -> float:
        """Give the epoch at which the curve first is at a level or below it; NaN where it does not head there.

        Between two evaluations the curve is a line, except across a phase switch. What lies ahead follows the trend,
        and lies ahead of the last evaluation even where the trend says that the level should have been reached.
        """
        return float(self.reach_each(np.array([log_level]))[0])

    def reach_each(self, log_levels: FloatArray) -> FloatArray:
        """Give what `reach` gives for each of some levels."""
        if not len(self.epoch):
            return np.full(len(log_levels), np.nan)
        row = np.searchsorted(-np.minimum.accumulate(self.log), -log_levels)
        below = row < len(self.log)
        here = np.where(below, row, 0)
        before = np.maximum(here - 1, 0)
        fall = self.log[before] - self.log[here]
        drawn = (here > 0) & ~self.switched[here]
        share = np.divide(self.log[before] - log_levels, fall, out=np.ones(len(here)), where=drawn)
        crossed = self.epoch[before] + (self.epoch[here] - self.epoch[before]) * share
        return np.where(below, crossed, self._ahead(log_levels))

    def head_for(self, log_level: float) -> float:
        """Give the epoch from the last evaluation on at which the trend is at a level or below it, NaN if it is not.

        Whether the curve was there before says nothing: it may have dipped below the level, and come back.
        """
        if not len(self.epoch):
            return math.nan
        return float(self.epoch[-1] if self.log[-1] <= log_level else self._ahead(np.array([log_level]))[0])

    def _ahead(self, log_levels: FloatArray) -> FloatArray:
        if not self.slope < 0:
            return np.full(len(log_levels), np.nan)
        found: FloatArray = np.maximum((log_levels - self.start) / self.slope, self.epoch[-1])
        return found


def see_descent(epoch: FloatArray, values: FloatArray, phase: FloatArray, **how: Unpack[TrendFit]) -> Descent:
    """Give the descent of positive `values`; what is not finite or not positive is passed over.

    The trend is that of the last `share` of the training so far, within the current phase: a line by least squares, or
    with `robust` the median of the slopes between any two evaluations (Theil 1950, Sen 1968).
    """
    usable = np.isfinite(values) & (values > 0)
    epoch, log, phases = epoch[usable], np.log(values[usable]), phase[usable]
    start, slope = _trend(epoch, log, phases, how.get("share", WINDOW), how.get("robust", False))
    switched = np.diff(phases, prepend=phases[:1]) != 0
    return Descent(epoch=epoch, log=log, switched=switched, start=start, slope=slope)


def _trend(epoch: FloatArray, log: FloatArray, phases: FloatArray, share: float, robust: bool) -> tuple[float, float]:
    """Fit a line to the last evaluations of the current phase."""
    if not len(epoch):
        return math.nan, math.nan
    others = np.flatnonzero(phases != phases[-1])
    in_phase = int(others[-1]) + 1 if len(others) else 0
    recent = int(np.searchsorted(epoch, (1 - share) * epoch[-1], side="right"))
    first = max(min(recent, len(epoch) - WINDOW_ROWS), in_phase)
    t, y = epoch[first:], log[first:]
    if len(t) < MIN_ROWS:
        return math.nan, math.nan
    if robust:
        t, y = t[-_ROBUST_ROWS:], y[-_ROBUST_ROWS:]
        one, other = np.triu_indices(len(t), 1)
        slope = float(np.median((y[other] - y[one]) / (t[other] - t[one])))
        return float(np.median(y - slope * t)), slope
    return fit_line(t, y)


def fit_line(x: FloatArray, y: FloatArray) -> tuple[float, float]:
    """Give the start, at x = 0, and the slope of the line through some points, by least squares."""
    centre = float(x.mean())
    slope = float((x - centre) @ y) / float((x - centre) @ (x - centre))
    return float(y.mean()) - slope * centre, slope
