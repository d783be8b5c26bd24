"""When curves first are at a level or below it: many runs and many levels at once.

A run is a row of a matrix, with its evaluations from the left. The running minimum of a row never rises, so the first
evaluation at or below a level comes after all those whose running minimum is above it: counting those for every level
is one histogram per row, whatever the number of levels.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ncdiag.domain.statistics import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The logarithm of a quantity at rising epochs; `switched` marks the rows that are the first of their phase."""

    epoch: FloatArray
    log: FloatArray
    switched: BoolArray

    def at(self, epoch: float) -> float:
        """Give the logarithm at an epoch on a straight line between evaluations; NaN outside what was evaluated.

        Across a phase switch there is no line, and the later evaluation stands for what lies between.
        """
        row = int(np.searchsorted(self.epoch, epoch))
        if row == len(self.epoch) or (row == 0 and self.epoch[0] > epoch):
            return float("nan")
        if self.epoch[row] == epoch or self.switched[row]:
            return float(self.log[row])
        before, here = float(self.epoch[row - 1]), float(self.epoch[row])
        share = (epoch - before) / (here - before)
        return (1 - share) * float(self.log[row - 1]) + share * float(self.log[row])


@dataclass(frozen=True, kw_only=True)
class Curves:
    """The logarithm of a quantity for several runs, each with its own evaluations; shapes (runs, evaluations).

    A row is filled from the left; after its last evaluation `epoch` is NaN and `log` is infinite. There is at least one
    column. `switched` marks the evaluations that are the first of their phase, but for a run's first.
    """

    epoch: FloatArray
    log: FloatArray
    switched: BoolArray

    @cached_property
    def lows(self) -> FloatArray:
        """The running minimum of each row."""
        found: FloatArray = np.minimum.accumulate(self.log, axis=1)
        return found

    @cached_property
    def turned(self) -> "Curves":
        """The same curves upside down: what rises to a level falls to it there."""
        return replace(self, log=np.where(np.isnan(self.epoch), np.inf, -self.log))

    def at(self, epoch: FloatArray) -> FloatArray:
        """Give the logarithm of each run at its own epoch; see `Curve.at`."""
        row = np.count_nonzero(self.epoch < epoch[:, None], axis=1)
        runs, last = np.arange(len(row)), self.epoch.shape[1] - 1
        here, before = np.minimum(row, last), np.maximum(row - 1, 0)
        later, log = self.epoch[runs, here], self.log[runs, here]
        outside = (row > last) | ~(later >= epoch) | ((row == 0) & (later > epoch))
        drawn = ~outside & (later > epoch) & ~self.switched[runs, here]
        step = np.where(drawn, later - self.epoch[runs, before], 1.0)
        share = np.where(drawn, (epoch - self.epoch[runs, before]) / step, 1.0)
        line = (1 - share) * np.where(drawn, self.log[runs, before], 0.0) + share * np.where(outside, 0.0, log)
        found: FloatArray = np.where(outside, np.nan, line)
        return found

    @cached_property
    def lines(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Epoch and log of each evaluation, and how many epochs the line that ends there takes per unit of its fall.

        Flat, as matrices are stored; without a line (the first evaluation, a phase switch, a rise) that is 0.
        """
        log = np.where(np.isnan(self.epoch), 0.0, self.log)
        fall = log[:, :-1] - log[:, 1:]
        drawn = (fall > 0) & ~self.switched[:, 1:]
        rate = np.zeros_like(log)
        np.divide(np.diff(self.epoch, axis=1), fall, out=rate[:, 1:], where=drawn)
        return self.epoch.ravel(), log.ravel(), rate.ravel()


def first_rows(curves: Curves, levels: FloatArray) -> IntArray:
    """Give the first evaluation of each run at or below each level, the number of columns if there is none.

    `levels` has shape (levels,), the result (runs, levels).
    """
    runs, columns = curves.log.shape
    order = np.argsort(levels)
    above = np.searchsorted(levels[order], curves.lows)  # how many levels each running minimum is above
    above += (len(levels) + 1) * np.arange(runs)[:, None]
    counts = np.bincount(above.ravel(), minlength=runs * (len(levels) + 1)).reshape(runs, -1)
    found = np.empty((runs, len(levels)), dtype=np.int64)
    found[:, order] = columns - np.cumsum(counts[:, :-1], axis=1)
    return found


def find_crossings(curves: Curves, levels: FloatArray, *, between: bool, rows: IntArray | None = None) -> FloatArray:
    """Give the epoch at which each run first reaches each (log) level, NaN if it never does; shape (runs, levels).

    With `between` a crossing lies on a straight line between two evaluations, except across a phase switch; without, it
    is the evaluation itself, the published reading. `rows` are the `first_rows`, if they are known already.
    """
    row, columns = first_rows(curves, levels) if rows is None else rows, curves.log.shape[1]
    never = row == columns
    place = row + columns * np.arange(len(row))[:, None]
    place -= never
    epoch, log, rate = curves.lines
    found: FloatArray = epoch[place]
    if between:
        back = levels - log[place]
        back *= rate[place]
        found -= back
    found[never] = np.nan
    return found


def find_confirmed(curves: Curves, levels: FloatArray, patience: int) -> FloatArray:
    """Give the last of the first `patience` evaluations in a row at or below a level, each run's own; shape (runs,)."""
    runs, columns = curves.log.shape
    if columns < patience:
        return np.full(runs, np.nan)
    below = curves.log <= levels[:, None]
    full = below[:, patience - 1 :].copy()
    for back in range(1, patience):
        full &= below[:, patience - 1 - back : columns - back]
    row = np.argmax(full, axis=1)
    each = np.arange(runs)
    return np.where(full[each, row], curves.epoch[each, row + patience - 1], np.nan)


def count_crossings(curves: Curves, levels: FloatArray) -> IntArray:
    """Count how often each run comes to be at its own level or below it; below from the start counts as one."""
    below = curves.log <= levels[:, None]
    found: IntArray = below[:, 0] + np.count_nonzero(below[:, 1:] & ~below[:, :-1], axis=1)
    return found
