"""How far a run has come, by the level of an observable, and when another run was there.

A level is the end of a straight line through the last evaluations of a phase: it is as smooth as a mean of them, but
does not lag behind. Nothing of it lies ahead, so what is known of a run at an epoch is the beginning of its course.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Unpack

import numpy as np

from ncdiag.domain.crossing import Curve
from ncdiag.domain.descent import Descent, TrendFit, see_descent
from ncdiag.domain.statistics import FloatArray

# Evaluations that a line is drawn through. Of 1 to 10, and of means and medians, this erred least on the published
# runs and on digits (docs/statistics.md).
_ROWS = 10


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One phase of a run: the smoothed logarithm of an observable at its evaluations."""

    epoch: FloatArray
    level: FloatArray
    _records: dict[float, tuple[FloatArray, FloatArray]] = field(default_factory=dict, repr=False, compare=False)

    def reached(self, levels: FloatArray, sign: float) -> FloatArray:
        """Give the epochs at which the observable first was as low (sign 1) or as high (-1) as some levels, or NaN.

        Between two evaluations that are each the lowest so far, the course is a straight line.
        """
        if sign not in self._records:
            depth = -sign * self.level
            record = np.concatenate(([True], depth[1:] > np.maximum.accumulate(depth)[:-1]))
            self._records[sign] = depth[record], self.epoch[record]
        depths, epochs = self._records[sign]
        return np.interp(-sign * levels, depths, epochs, right=np.nan)


@dataclass(frozen=True, kw_only=True)
class Course:
    """The observables of one run as curves of their logarithm, by name."""

    curves: Mapping[str, Curve]
    _stages: dict[str, tuple[Stage, ...]] = field(default_factory=dict, repr=False, compare=False)
    # A contest asks for the same again for each way of holding out.
    _places: dict[tuple[str, float], tuple[int, float, float]] = field(default_factory=dict, repr=False, compare=False)
    _heading: dict[tuple[object, ...], float] = field(default_factory=dict, repr=False, compare=False)

    def stages(self, name: str) -> tuple[Stage, ...]:
        """Give the phases of the run in their order, as one observable shows them."""
        if name not in self._stages:
            self._stages[name] = _stages_of(self.curves[name]) if name in self.curves else ()
        return self._stages[name]

    def place(self, name: str, now: float) -> tuple[int, float, float]:
        """Give the phase (from 0), the epoch and the level of the last evaluation until `now`; level NaN if none."""
        if (name, now) not in self._places:
            self._places[name, now] = self._place(name, now)
        return self._places[name, now]

    def _place(self, name: str, now: float) -> tuple[int, float, float]:
        stages = self.stages(name)
        begun = [number for number, stage in enumerate(stages) if stage.epoch[0] <= now]
        if not begun:
            return 0, now, float("nan")
        stage = stages[begun[-1]]
        row = int(np.searchsorted(stage.epoch, now, side="right")) - 1
        return begun[-1], float(stage.epoch[row]), float(stage.level[row])

    def descent(self, name: str, now: float, **how: Unpack[TrendFit]) -> Descent | None:
        """Give the descent of an observable as it was seen until `now`; None where it was never measured."""
        curve = self.curves.get(name)
        if curve is None:
            return None
        seen = int(np.searchsorted(curve.epoch, now, side="right"))
        phase = np.cumsum(curve.switched[:seen]).astype(np.float64)
        return see_descent(curve.epoch[:seen], np.exp(curve.log[:seen]), phase, **how)

    def head_for(self, name: str, now: float, log_level: float, **how: Unpack[TrendFit]) -> float:
        """Give when an observable comes to a level by its trend as it was seen until `now`; NaN if it does not."""
        key = (name, now, log_level, *sorted(how.items()))
        if key not in self._heading:
            descent = self.descent(name, now, **how)
            self._heading[key] = float("nan") if descent is None else descent.head_for(log_level)
        return self._heading[key]


def smooth(epoch: FloatArray, values: FloatArray) -> FloatArray:
    """Give, for each row, the end of the least-squares line through it and the (up to nine) rows before it.

    Everything is measured from the row itself: what stands still is at one level to the last bit, and rounding does not
    say which way it went.
    """
    count = np.minimum(np.arange(len(epoch)) + 1, _ROWS)
    sums = np.zeros((4, len(epoch)))
    for back in range(1, min(_ROWS, len(epoch))):
        t, y = (of[:-back] - of[back:] for of in (epoch, values))
        sums[:, back:] += t, y, t * t, t * y
    mean_t, mean_y = sums[:2] / count
    spread, product = sums[2] - count * mean_t**2, sums[3] - count * mean_t * mean_y
    slope = np.divide(product, spread, out=np.zeros(len(epoch)), where=count > 1)
    ends: FloatArray = values + (mean_y - slope * mean_t)
    return ends


def _stages_of(curve: Curve) -> tuple[Stage, ...]:
    if not len(curve.epoch):
        return ()
    cuts = np.flatnonzero(curve.switched).tolist()
    bounds = zip([0, *cuts], [*cuts, len(curve.epoch)], strict=True)
    parts = [slice(*pair) for pair in bounds if pair[1] > pair[0]]
    return tuple(Stage(epoch=curve.epoch[part], level=smooth(curve.epoch[part], curve.log[part])) for part in parts)
