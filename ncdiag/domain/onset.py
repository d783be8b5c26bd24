"""When a run collapsed: the first epoch from which NC1 stays below a threshold, or why there is none.

Onset is observed through a grid of evaluations, so it is known only up to an interval, it is confirmed some
evaluations later, and a run that ends before it is censored, not without onset. Four decisions shape the rule:

- An evaluation is a row in which the metric was measured. A metric that was not measured leaves no row behind (the
  published logs have no NC1 before the train accuracy first reaches 0.99); a metric that was measured as NaN is a row,
  and breaks a streak.
- Where nothing was learned there is no collapse. Features that died have no spread, within classes or between them;
  an evaluation counts as below the threshold only with a train accuracy of at least `MIN_ACCURACY` (an unknown
  accuracy counts) and with features that are alive.
- Between two evaluations ln NC1 and ln fn are read as straight lines in the epoch. Across a phase switch they are not:
  there the loss changes, and fn may fall tenfold within an epoch. Such an onset is put at the evaluation itself.
- The published rule (`first`) takes the first logged epoch below the threshold, without any of this except the
  second decision.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ncdiag.domain.onset_rule import OnsetRule
from ncdiag.errors import AnalysisError

FloatArray = NDArray[np.float64]
State = Literal["collapsed", "censored", "unconfirmed", "left_censored", "diverged", "dead", "no_data"]
OPEN: tuple[State, ...] = ("censored", "unconfirmed")  # the onset may lie ahead: later, or not confirmed yet

# Below this train accuracy most samples are still misclassified, and a small NC1 says only that features are alike.
MIN_ACCURACY = 0.5
# Neural collapse is a statement about the terminal phase of training, which begins where the train error is about zero
# (Papyan et al. 2020). In the published runs the train accuracy at onset is 0.996 or more.
TERMINAL_ACCURACY = 0.99
# Features a hundred times smaller than they once were have died if accuracy went with them. The switch from
# cross-entropy to squared error shrinks healthy features about 20 to 30 times in the published runs.
DEAD_NORM = 0.01
# A run that was stopped at another eps ends at its smallest value, below that eps by less than one evaluation's fall.
# Where ours lies within that fall, some runs have an onset and the others end just above it: published runs fall by a
# few per cent from one evaluation to the next, fast ones by a fifth.
NEAR_EPS = 1.25
_SLOPE_ROWS = 5  # evaluations before the onset that measure how fast the metric falls there
_MAD_TO_SD = 1.482602218505602  # 1 / normal quantile of 0.75


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """The evaluations of one run, oldest first: arrays of one length, NaN where something is not known.

    `epoch` rises strictly; `metric` is the one that decides the onset, NaN or infinite where it was measured as such;
    accuracies are in [0, 1], phases count from 1.
    """

    epoch: FloatArray
    metric: FloatArray
    feature_norm: FloatArray | None = None
    train_accuracy: FloatArray | None = None
    phase: FloatArray | None = None
    loss: Sequence[str | None] | None = None

    def __post_init__(self) -> None:
        if np.any(self.epoch[1:] <= self.epoch[:-1]):
            raise AnalysisError("the epochs of a run must rise; export the run and look for rows out of order")

    @cached_property
    def dead(self) -> NDArray[np.bool_]:
        """Mark the rows whose features have died; with an unknown accuracy only exact zeros are known to be dead."""
        norm = self.feature_norm
        if norm is None:
            return np.zeros(len(self.epoch), dtype=bool)
        dead: NDArray[np.bool_] = norm == 0
        if self.train_accuracy is not None:
            peak = np.maximum.accumulate(np.where(np.isfinite(norm), norm, 0.0))
            dead |= (norm <= DEAD_NORM * peak) & (self.train_accuracy < MIN_ACCURACY)
        return dead

    @cached_property
    def idle(self) -> NDArray[np.bool_]:
        """Mark the rows that cannot count as collapse: dead features, or an accuracy known to be too low."""
        return self.dead if self.train_accuracy is None else self.dead | (self.train_accuracy < MIN_ACCURACY)


@dataclass(frozen=True, kw_only=True, slots=True)
class Onset:
    """The onset of a run, or what is known of it without one. Epochs are NaN where they do not apply.

    - `collapsed`: onset at `epoch`, somewhere in (`lo`, `hi`]; nobody could know it before `confirmed_at`.
    - `censored`: not until `censored_at`. `unconfirmed`: below at the end, but too briefly; not until `censored_at`.
    - `left_censored`: below from the first evaluation, `hi`, on, or at epoch 0.
    - `diverged`, `dead`: the run ended otherwise; no onset until `censored_at`.
    - `no_data`: no evaluation, or a metric that is never finite though the features are.

    `index` counts evaluations from 0. `phase`, `loss`, `feature_norm` and `train_accuracy` are those at onset. `noise`
    is the sd of ln metric about its own curve (from the median distance of a value from the line between its
    neighbours), `slope` the fall of ln metric per epoch around the onset, `degenerate` the number of evaluations below
    eps that did not count because nothing was learned.
    """

    state: State
    epoch: float = math.nan
    lo: float = math.nan
    hi: float = math.nan
    confirmed_at: float = math.nan
    censored_at: float = math.nan
    index: int | None = None
    phase: int | None = None
    loss: str | None = None
    feature_norm: float = math.nan
    train_accuracy: float = math.nan
    noise: float = math.nan
    slope: float = math.nan
    degenerate: int = 0


class Reading(NamedTuple):
    """The epoch of an onset, the feature norm there, and in which phase and under which loss that is."""

    epoch: float = math.nan
    feature_norm: float = math.nan
    phase: int | None = None
    loss: str | None = None


def find_onset(trajectory: Trajectory, rule: OnsetRule) -> Onset:
    """Give the onset of a run under a rule; the result says why where there is none."""
    start, stop = _scope(trajectory, rule.phase)
    metric = trajectory.metric
    if start == stop:
        return Onset(state="no_data")
    small = _small(trajectory, rule)
    below = small & ~trajectory.idle
    patience = rule.needed
    first = _first_streak(below, start, stop, patience)
    if first is None:
        onset = _without_onset(trajectory, start, stop, below)
    elif _came_before(trajectory, below, first, rule):
        hi, confirmed_at = trajectory.epoch[[first, first + patience - 1]].tolist()
        onset = Onset(state="left_censored", lo=0.0, hi=hi, confirmed_at=confirmed_at)
    else:
        onset = _at(trajectory, first, patience, rule)
    degenerate = int(np.count_nonzero(small[start:stop] & ~below[start:stop]))
    return replace(onset, noise=_noise(trajectory.epoch[start:stop], metric[start:stop]), degenerate=degenerate)


def has_relapsed(trajectory: Trajectory, rule: OnsetRule) -> bool:
    """Tell whether a run is above eps, or not finite, at its end: for as many evaluations as it takes to be below."""
    start, stop = _scope(trajectory, rule.phase)
    last = trajectory.metric[start:stop][-rule.needed :]
    return bool(len(last)) and not bool(np.any(last < rule.eps))


def went_on(trajectory: Trajectory, rule: OnsetRule) -> bool:
    """Tell whether a run went on after the phase that a rule looks at: how it ended says nothing of that phase."""
    return 0 < _scope(trajectory, rule.phase)[1] < len(trajectory.epoch)


def lowest_metric(trajectory: Trajectory, rule: OnsetRule) -> float:
    """Give the smallest finite value in the phase that a rule looks at, NaN where there is none."""
    values = trajectory.metric[slice(*_scope(trajectory, rule.phase))]
    return min(values[np.isfinite(values)].tolist(), default=math.nan)


def ends_near_eps(trajectory: Trajectory, rule: OnsetRule) -> bool:
    """Tell whether a finite last value is the smallest, and above eps by less than a factor of `NEAR_EPS`."""
    last = trajectory.metric[-1]
    return bool(rule.eps <= last < NEAR_EPS * rule.eps and last <= np.nanmin(trajectory.metric))


def read_onset(trajectory: Trajectory, rule: OnsetRule) -> Reading:
    """Give the onset of a run as `find_onset` does, with the feature norm there; a `Reading` of nothing without one."""
    start, stop = _scope(trajectory, rule.phase)
    below = _small(trajectory, rule) & ~trajectory.idle
    first = _first_streak(below, start, stop, rule.needed)
    if first is None or _came_before(trajectory, below, first, rule):
        return Reading()
    return Reading(*_reading(trajectory, first, rule), *_trained_as(trajectory, first))


def _small(trajectory: Trajectory, rule: OnsetRule) -> NDArray[np.bool_]:
    small: NDArray[np.bool_] = (trajectory.metric < rule.eps) & (trajectory.metric > -math.inf)
    return small


def _scope(trajectory: Trajectory, phase: int | None) -> tuple[int, int]:
    """Give the rows, from and up to, in which an onset is looked for."""
    if phase is None:
        return 0, len(trajectory.epoch)
    rows = np.flatnonzero(trajectory.phase == phase) if trajectory.phase is not None else np.empty(0, dtype=int)
    return (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, 0)


def _first_streak(below: NDArray[np.bool_], start: int, stop: int, length: int) -> int | None:
    """Give the row that begins the first `length` rows in a row that are below."""
    counts = np.concatenate(([0], np.cumsum(below[start:stop])))
    full = np.flatnonzero(counts[length:] - counts[:-length] == length)
    return start + int(full[0]) if len(full) else None


def _came_before(trajectory: Trajectory, below: NDArray[np.bool_], first: int, rule: OnsetRule) -> bool:
    """Say whether the streak began before anybody looked: at the first evaluation, or before the phase.

    The published rule takes the first logged epoch as it comes, but what is there at epoch 0 no training has brought.
    """
    if trajectory.epoch[first] <= 0:
        return True
    return bool(below[first - 1]) if first else rule.between


def _without_onset(trajectory: Trajectory, start: int, stop: int, below: NDArray[np.bool_]) -> Onset:
    finite, dead = np.isfinite(trajectory.metric), trajectory.dead
    if dead[stop - 1]:
        return Onset(state="dead", censored_at=_epoch_of_last(trajectory, ~dead, start, stop))
    if not finite[start:stop].any() and _goes_on(trajectory, stop):
        return Onset(state="no_data")
    if not finite[stop - 1]:
        return Onset(state="diverged", censored_at=_epoch_of_last(trajectory, finite, start, stop))
    if below[stop - 1]:
        return Onset(state="unconfirmed", censored_at=_epoch_of_last(trajectory, ~below, start, stop))
    return Onset(state="censored", censored_at=float(trajectory.epoch[stop - 1]))


def _goes_on(trajectory: Trajectory, stop: int) -> bool:
    """Tell whether the features are known to be finite at the end: then it is the metric that is not defined of them.

    So it is where a class has no sample.
    """
    return trajectory.feature_norm is not None and math.isfinite(trajectory.feature_norm[stop - 1])


def _epoch_of_last(trajectory: Trajectory, mask: NDArray[np.bool_], start: int, stop: int) -> float:
    """Give the epoch of the last marked row, or that of the row before the scope, or 0, where training began."""
    rows = np.flatnonzero(mask[start:stop])
    row = start + int(rows[-1]) if len(rows) else start - 1
    return float(trajectory.epoch[row]) if row >= 0 else 0.0


def _at(trajectory: Trajectory, first: int, length: int, rule: OnsetRule) -> Onset:
    """Describe the onset whose streak begins at row `first`."""
    epoch = trajectory.epoch
    at, norm = _reading(trajectory, first, rule)
    lo = float(epoch[first - 1]) if first else 0.0
    hi = float(epoch[first])
    phase, loss = _trained_as(trajectory, first)
    return Onset(
        state="collapsed",
        epoch=at,
        lo=lo,
        hi=hi,
        confirmed_at=float(epoch[first + length - 1]),
        index=first,
        phase=phase,
        loss=loss,
        feature_norm=norm,
        train_accuracy=math.nan if trajectory.train_accuracy is None else float(trajectory.train_accuracy[first]),
        slope=_slope(trajectory, first, first + length),
    )


def _trained_as(trajectory: Trajectory, row: int) -> tuple[int | None, str | None]:
    """Give the phase of a row and the loss that it was trained with, None where not known."""
    phase = math.nan if trajectory.phase is None else float(trajectory.phase[row])
    return None if math.isnan(phase) else int(phase), None if trajectory.loss is None else trajectory.loss[row]


def _reading(trajectory: Trajectory, first: int, rule: OnsetRule) -> tuple[float, float]:
    """Give the epoch of the onset whose streak begins at a row, and the norm there."""
    share = _share(trajectory, first, rule) if rule.between else None
    norm, hi = trajectory.feature_norm, float(trajectory.epoch[first])
    lo = float(trajectory.epoch[first - 1]) if first else 0.0
    at = hi if share is None else lo + share * (hi - lo)
    return at, math.nan if norm is None else _norm_at(trajectory, norm, first, share, at)


def _share(trajectory: Trajectory, first: int, rule: OnsetRule) -> float | None:
    """Give the place of the onset between two evaluations, in (0, 1]; None where no line can be drawn."""
    before, here = float(trajectory.metric[first - 1]), float(trajectory.metric[first])
    drawn = math.isfinite(before) and before >= rule.eps and here > 0
    if not drawn or _switched(trajectory, first):
        return None
    return (math.log(before) - math.log(rule.eps)) / (math.log(before) - math.log(here))


def _switched(trajectory: Trajectory, row: int) -> bool:
    if trajectory.phase is None:
        return False
    before, here = float(trajectory.phase[row - 1]), float(trajectory.phase[row])
    return before != here and not math.isnan(before) and not math.isnan(here)


def _norm_at(trajectory: Trajectory, norm: FloatArray, row: int, share: float | None, at: float) -> float:
    """Give the feature norm at the onset, on a straight line of ln fn where both ends are known.

    Where the norm was measured more rarely than the metric, the ends are the nearest measurements in the phase.
    """
    here = float(norm[row])
    before = here if share is None else float(norm[row - 1])
    if math.isnan(here) or math.isnan(before):
        return _norm_between(trajectory, norm, row, at)
    if share is None or not (0 < before < math.inf and 0 < here < math.inf):
        return here
    return math.exp((1 - share) * math.log(before) + share * math.log(here))


def _norm_between(trajectory: Trajectory, norm: FloatArray, row: int, at: float) -> float:
    usable = np.isfinite(norm) & (norm > 0)
    if trajectory.phase is not None and not np.isnan(trajectory.phase[row]):
        usable &= trajectory.phase == trajectory.phase[row]
    epoch = trajectory.epoch[usable]
    if not len(epoch) or not epoch[0] <= at <= epoch[-1]:
        return float(norm[row])
    return math.exp(np.interp(at, epoch, np.log(norm[usable])))


def _noise(epoch: FloatArray, metric: FloatArray) -> float:
    """Give the sd of ln metric about its own curve, from how far each value is off the line between its neighbours."""
    usable = np.isfinite(metric) & (metric > 0)
    t, y = epoch[usable], np.log(metric[usable])
    if len(t) < 3:
        return math.nan
    weight = (t[1:-1] - t[:-2]) / (t[2:] - t[:-2])  # of the later neighbour
    off = np.abs(y[1:-1] - (1 - weight) * y[:-2] - weight * y[2:])
    return float(np.median(off / np.sqrt(1 + (1 - weight) ** 2 + weight**2))) * _MAD_TO_SD


def _slope(trajectory: Trajectory, first: int, stop: int) -> float:
    """Give the fall of ln metric per epoch by least squares over the evaluations around the onset, in one phase."""
    rows = slice(max(first - _SLOPE_ROWS, 0), stop)
    epoch, metric = trajectory.epoch[rows], trajectory.metric[rows]
    usable = np.isfinite(metric) & (metric > 0)
    if trajectory.phase is not None and not np.isnan(trajectory.phase[first]):
        usable &= trajectory.phase[rows] == trajectory.phase[first]
    if np.count_nonzero(usable) < 2:
        return math.nan
    t, y = epoch[usable], np.log(metric[usable])
    t = t - t.mean()
    return -float(t @ y) / float(t @ t)
