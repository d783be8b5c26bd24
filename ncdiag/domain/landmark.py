"""The runs of a pair as they looked at one epoch, and means that leave some of them out.

Runs are held out in folds: one run each, or whole conditions. A forecast is needed twice: without the fold of the run
that is forecast, and, where something is then chosen or measured by such forecasts, without a second fold as well. Both
are kept in one table with a row for the second fold and a column for the run; the last row leaves out nothing more.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from ncdiag.domain.course import Course
from ncdiag.domain.statistics import FloatArray, IntArray, group_means

MOST_FOLDS = 20  # of more runs or conditions, twentieths are held out: the work grows with folds x folds x runs


@dataclass(frozen=True, kw_only=True)
class CalibrationRun:
    """A run whose onset is known: its observables, its condition, and epoch and feature norm at onset."""

    course: Course
    condition: int
    onset: float
    feature_norm: float


@dataclass(frozen=True, kw_only=True)
class CensoredRun:
    """A run that ended at an epoch without an onset: all that is known is that its onset would be later."""

    end: float
    condition: int


@dataclass(frozen=True, kw_only=True)
class Landmark:
    """The calibration `runs` and perhaps one `target` at the epoch `now`; `fold` numbers what is held out together.

    A forecast is made for every run at risk, that is with an onset after `now`, and last for the target, which is in a
    fold of its own. Only runs at risk tell how far the onset is from a trend; those that collapsed earlier still tell
    how they came there.
    """

    runs: Sequence[CalibrationRun]
    fold: IntArray
    now: float
    metric: str
    log_eps: float
    target: Course | None = None
    _places: dict[str, tuple[FloatArray, ...]] = field(default_factory=dict, repr=False, compare=False, init=False)

    @cached_property
    def folds(self) -> int:
        """The number of folds."""
        return int(self.fold.max(initial=-1)) + 1

    @cached_property
    def log_onset(self) -> FloatArray:
        """The ln onset of every run."""
        found: FloatArray = np.log(np.array([run.onset for run in self.runs]))
        return found

    @cached_property
    def at_risk(self) -> NDArray[np.bool_]:
        """Mark the runs with an onset after `now`."""
        return np.array([run.onset > self.now for run in self.runs], dtype=bool)

    @cached_property
    def asked(self) -> list[Course]:
        """The courses that are forecast: those of the runs at risk, and that of the target."""
        courses = [run.course for run, kept in zip(self.runs, self.at_risk.tolist(), strict=True) if kept]
        return courses if self.target is None else [*courses, self.target]

    @cached_property
    def asked_fold(self) -> IntArray:
        """The fold of each course that is forecast; `folds` is that of the target."""
        found = self.fold[self.at_risk]
        return found if self.target is None else np.append(found, self.folds)

    @cached_property
    def asked_log_onset(self) -> FloatArray:
        """The ln onset of the runs at risk."""
        return self.log_onset[self.at_risk]

    @cached_property
    def condition(self) -> IntArray:
        """The condition of each run at risk."""
        return np.array([run.condition for run in self.runs], dtype=np.int64)[self.at_risk]

    def places(self, name: str) -> tuple[FloatArray, ...]:
        """Give the phases, the epochs and the levels at which the courses are now, by one observable."""
        if name not in self._places:
            found = [course.place(name, self.now) for course in self.asked]
            self._places[name] = tuple(np.array(part, dtype=np.float64) for part in zip(*found, strict=True))
        return self._places[name]

    def left_out_medians(self, values: FloatArray) -> FloatArray:
        """Give the medians over the runs at risk outside two folds; shape (folds + 1, folds + 1), NaN for none."""
        fold, out = self.fold[self.at_risk][:, None, None], np.arange(self.folds + 1)
        kept = (fold != out[None, :, None]) & (fold != out[None, None, :])
        return median_of_known(np.where(kept, values[:, None, None], np.nan))

    def left_out_means(self, values: FloatArray) -> FloatArray:
        """Give means over all runs of `values`, a row per course that is forecast; shape (folds + 1, courses).

        Row u leaves out the fold u and the course's own fold. NaN is passed over, and where nothing is left the mean
        is NaN.
        """
        member = np.eye(self.folds + 1)[self.fold]
        known = np.isfinite(values)
        sums, counts = np.where(known, values, 0.0) @ member, known.astype(np.float64) @ member
        own = np.arange(self.folds + 1)[:, None] == self.asked_fold[None, :]
        kept_sums, kept_counts = (_minus_two(part, self.asked_fold, own) for part in (sums, counts))
        return np.divide(kept_sums, kept_counts, out=np.full(own.shape, np.nan), where=kept_counts > 0.5)

    def left_out_latest(self) -> FloatArray:
        """Give the latest ln onset of the runs at risk outside two folds; infinite for none.

        The shape is (folds + 1, courses): row u leaves out the fold u and the course's own fold.
        """
        latest = np.full(self.folds + 1, -np.inf)
        np.maximum.at(latest, self.fold[self.at_risk], self.asked_log_onset)
        out = np.eye(self.folds + 1, dtype=bool)
        others = np.where(out[:, None] | out[self.asked_fold], -np.inf, latest).max(axis=2)
        found: FloatArray = np.where(np.isfinite(others), others, np.inf)
        return found

    @cached_property
    def log_fn_star(self) -> FloatArray:
        """The ln fn* learned without two folds, the mean over conditions; shape (folds + 1, folds + 1)."""
        runs = tuple((run.feature_norm, run.condition) for run in self.runs)
        return _log_fn_star(runs, tuple(self.fold.tolist()))


@lru_cache(maxsize=8)  # no landmark of the same runs and folds has another, whatever its epoch
def _log_fn_star(runs: tuple[tuple[float, int], ...], folds: tuple[int, ...]) -> FloatArray:
    norm, condition = np.array([own for own, _ in runs]), np.array([own for _, own in runs], dtype=np.int64)
    fold, count = np.array(folds, dtype=np.int64), max(folds, default=-1) + 2
    known = norm > 0
    logs = np.log(np.where(known, norm, 1.0))
    found = np.full((count, count), np.nan)
    for first in range(count):
        for second in range(first, count):
            kept = known & (fold != first) & (fold != second)
            if kept.any():
                found[first, second] = found[second, first] = group_means(logs[kept], condition[kept]).mean()
    found.flags.writeable = False
    return found


def folds_of_all(units: IntArray) -> IntArray:
    """Give each run the number of the fold it is held out with: one per unit, at most 20.

    Every run here has an onset. Alarms, with `ncdiag.domain.lead.folds_of_known`, are judged on runs without one, too,
    and hold out tenths of more than 20 units: they are tried for every observable at every level.
    """
    return np.unique(units, return_inverse=True)[1].astype(np.int64) % MOST_FOLDS


def median_of_known(values: FloatArray) -> FloatArray:
    """Give the median over the first axis of what is not NaN, NaN where nothing is known."""
    ordered = np.sort(values, axis=0)  # NaN last
    counts = np.isfinite(values).sum(axis=0)
    if not len(values):
        return np.full(values.shape[1:], np.nan)
    middle = np.stack([np.maximum(counts - 1, 0) // 2, np.minimum(counts // 2, len(values) - 1)])
    found: FloatArray = np.take_along_axis(ordered, middle, axis=0).mean(axis=0)  # NaN where the first is
    return found


def _minus_two(parts: FloatArray, fold: IntArray, own: NDArray[np.bool_]) -> FloatArray:
    """Give the total of each row of `parts` without its own fold and without a second one, for every second one."""
    rest = parts.sum(axis=1) - parts[np.arange(len(fold)), fold]
    found: FloatArray = rest[None, :] - np.where(own, 0.0, parts.T)
    return found
