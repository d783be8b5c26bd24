"""When a run collapses by its own course alone, where no other run says how its kind goes on: two readings, unchecked.

On the way to collapse the metric slows down: its logarithm, drawn over the epochs, bends, and a straight line through
the end of it nearly always comes out too early. Drawn over the logarithm of the time since the phase began it bends far
less. The first line reads before when an onset is not to be expected, the second when it is about as likely past as
ahead; docs/statistics.md counts how both came out in the study.
"""

import math
from dataclasses import dataclass

import numpy as np

from ncdiag.domain.course import Course
from ncdiag.domain.crossing import Curve
from ncdiag.domain.descent import MIN_ROWS, WINDOW_ROWS, fit_line

FARTHEST = 10.0  # times eps; from farther away even the second reading came out up to five times too early
HORIZON = 10.0  # times the epochs so far; what lies beyond is out of sight
STUDIED = ("nc1", 0.01)  # the metric and the level of these readings:
READINGS, BEFORE_STEADY, BEFORE_SLOWING = 1576, 0.07, 0.43  # of the study, and the shares that collapse earlier
_WINDOW = 0.5  # of the time since the phase began; a fifth or four fifths of it erred more


@dataclass(frozen=True, kw_only=True)
class OwnCourse:
    """Epochs at which a metric is at its level if it falls on `steady`, as it does now, or `slowing`, as it has.

    Infinite where that lies out of sight; NaN where the course is too short, too far from the level, or does not fall.
    """

    steady: float
    slowing: float


UNKNOWN = OwnCourse(steady=math.nan, slowing=math.nan)


def read_course(course: Course, metric: str, *, now: float, log_level: float) -> OwnCourse:
    """Read when a run comes to a level, by the logarithm; one that is below it now has come there already."""
    descent = course.descent(metric, now)
    if descent is None or not len(descent.log) or not 0 < descent.log[-1] - log_level <= math.log(FARTHEST):
        return UNKNOWN
    steady, slowing = descent.head_for(log_level), _reach_slowing(course.curves[metric], now, log_level)
    seen = [epoch if epoch <= HORIZON * now else math.inf for epoch in (steady, max(slowing, steady))]
    return UNKNOWN if math.isnan(steady + slowing) else OwnCourse(steady=seen[0], slowing=seen[1])


def _reach_slowing(curve: Curve, now: float, log_level: float) -> float:
    """Give the epoch at which a power of the time since the present phase began reaches a level."""
    seen = int(np.searchsorted(curve.epoch, now, side="right"))
    first = int(np.flatnonzero(curve.switched[:seen]).max(initial=0))
    begun = float(curve.epoch[first - 1]) if first else 0.0
    time, log = curve.epoch[first:seen] - begun, curve.log[first:seen]
    late = min(int(np.searchsorted(time, (1 - _WINDOW) * time[-1])), max(len(time) - WINDOW_ROWS, 0))
    late = max(late, int(np.searchsorted(time, 0.0, side="right")))  # an evaluation before the first step
    if len(time) - late < MIN_ROWS:
        return math.nan
    start, power = fit_line(np.log(time[late:]), log[late:])
    return begun + math.exp(min((log_level - start) / power, math.log(1e9))) if power < 0 else math.nan
