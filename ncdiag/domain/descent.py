"""A falling curve seen up to now: when it reached a level, or when it will if it goes on as it does."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ncdiag.domain.statistics import FloatArray

WINDOW = 0.2  # the share of the training so far whose trend is extrapolated: no unit, so any length of run will do
WINDOW_ROWS = 5  # ... but at least this many evaluations, as far as the phase has them
MIN_ROWS = 3  # two points have a line, but no sign of whether it means anything


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
        below = np.flatnonzero(self.log <= log_level)
        if len(below):
            return self._crossing(int(below[0]), log_level)
        if not self.slope < 0:
            return math.nan
        return max((log_level - self.start) / self.slope, float(self.epoch[-1]))

    def _crossing(self, row: int, log_level: float) -> float:
        here = float(self.epoch[row])
        if row == 0 or self.switched[row]:
            return here
        before, fall = float(self.epoch[row - 1]), float(self.log[row - 1] - self.log[row])
        return before + (here - before) * float(self.log[row - 1] - log_level) / fall


def see_descent(epoch: FloatArray, values: FloatArray, phase: FloatArray | None) -> Descent:
    """Give the descent of positive `values`; what is not finite or not positive is passed over."""
    usable = np.isfinite(values) & (values > 0)
    epoch, log = epoch[usable], np.log(values[usable])
    phases = np.zeros(len(epoch)) if phase is None else np.nan_to_num(phase[usable])
    start, slope = _trend(epoch, log, phases)
    switched = np.diff(phases, prepend=phases[:1]) != 0
    return Descent(epoch=epoch, log=log, switched=switched, start=start, slope=slope)


def _trend(epoch: FloatArray, log: FloatArray, phases: FloatArray) -> tuple[float, float]:
    """Fit a line to the last evaluations of the current phase by least squares."""
    if not len(epoch):
        return math.nan, math.nan
    others = np.flatnonzero(phases != phases[-1])
    in_phase = int(others[-1]) + 1 if len(others) else 0
    recent = int(np.searchsorted(epoch, (1 - WINDOW) * epoch[-1], side="right"))
    first = max(min(recent, len(epoch) - WINDOW_ROWS), in_phase)
    t, y = epoch[first:], log[first:]
    if len(t) < MIN_ROWS:
        return math.nan, math.nan
    centre = float(t.mean())
    slope = float((t - centre) @ y) / float((t - centre) @ (t - centre))
    return float(y.mean()) - slope * centre, slope
