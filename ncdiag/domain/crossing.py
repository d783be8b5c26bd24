"""When a curve first is at a level or below it, for many levels at once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ncdiag.domain.statistics import FloatArray, IntArray


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The logarithm of a quantity at rising epochs; `switched` marks the rows that are the first of their phase."""

    epoch: FloatArray
    log: FloatArray
    switched: NDArray[np.bool_]

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
class Crossings:
    """For each level the epoch of the first crossing, NaN if there is none.

    `confirmed_at` is the last evaluation of the first `patience` in a row at or below the level, and `from_start` marks
    levels that the curve was below when first evaluated: it crossed them before anybody looked.
    """

    epoch: FloatArray
    confirmed_at: FloatArray
    from_start: NDArray[np.bool_]


def find_crossings(curve: Curve, levels: FloatArray, *, patience: int = 1, between: bool = True) -> Crossings:
    """Find when a curve first reaches each of some (log) levels.

    With `between` a crossing lies on a straight line between two evaluations, except across a phase switch; without, it
    is the evaluation itself, the published reading.
    """
    if not len(curve.epoch):
        nothing = np.full(len(levels), np.nan)
        return Crossings(epoch=nothing, confirmed_at=nothing, from_start=np.zeros(len(levels), dtype=bool))
    row = _first_rows(curve.log, levels)
    found = row < len(curve.log)
    here = np.where(found, row, 0)
    epoch = curve.epoch[here].astype(np.float64)
    if between:
        before = np.maximum(here - 1, 0)
        fall = curve.log[before] - curve.log[here]
        drawn = (here > 0) & ~curve.switched[here] & (fall > 0)
        share = np.divide(curve.log[before] - levels, fall, out=np.ones(len(levels)), where=drawn)
        epoch = curve.epoch[before] + (epoch - curve.epoch[before]) * np.where(drawn, share, 1.0)
    return Crossings(
        epoch=np.where(found, epoch, np.nan),
        confirmed_at=np.where(found, curve.epoch[here], np.nan)
        if patience == 1
        else _confirmed(curve, levels, patience),
        from_start=found & (row == 0),
    )


def count_crossings(curve: Curve, level: float) -> int:
    """Count how often a curve comes to be at a level or below it; below from the start counts as one."""
    below = curve.log <= level
    return int(np.count_nonzero(below & ~np.concatenate(([False], below[:-1])))) if len(below) else 0


def _first_rows(log: FloatArray, levels: FloatArray) -> IntArray:
    """Give the first row at or below each level; the number of rows where there is none."""
    return np.searchsorted(-np.minimum.accumulate(log), -levels).astype(np.int64)


def _confirmed(curve: Curve, levels: FloatArray, patience: int) -> FloatArray:
    if len(curve.log) < patience:
        return np.full(len(levels), np.nan)
    worst = np.lib.stride_tricks.sliding_window_view(curve.log, patience).max(axis=1)
    row = _first_rows(worst, levels)
    found = row < len(worst)
    last = np.where(found, row, 0) + patience - 1
    return np.where(found, curve.epoch[last], np.nan)
