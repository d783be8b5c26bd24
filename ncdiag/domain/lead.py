"""Alarms that announce an onset, judged on runs that they have not seen.

An alarm is the first epoch at which an observable is at a level or below it. Its lead is how long before onset that
was, and its forecast of the onset is the alarm plus the median lead of other runs. Level and lead are learned without
the unit (a run, or a whole condition) that is forecast.

The mean lead at the level "mean ln fn at onset" is about 0 whatever the data, if every run goes on until its alarm: the
deviations from a mean sum to 0, also when each mean leaves its own value out. A lead has to be bought, by an alarm at a
level that is reached earlier; what tells a good observable is how well its alarm forecasts at the same lead.

Runs that ended without an onset have a NaN for it. They teach nothing, but they are forecast like the others: a
forecast that lies before their end was too early by at least that much.
"""

from dataclasses import dataclass

import numpy as np

from ncdiag.domain.statistics import BoolArray, FloatArray, IntArray

MARGINS = (0.0, 0.05, 0.1, 0.25, 0.5)  # above fn*, of the levels of an alarm
PRIMARY_MARGIN = 0.25  # fixed before any data: about the published lead in the simulated causal world
_SAME = 1e-9  # relative difference of two mean leads that rounding explains
_SINGLE = 20  # up to so many units each is a fold of its own
_FOLDS = 10  # of more units, tenths are held out: the work grows with folds x runs


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """An alarm rule on the runs of a pair, each without its own unit; shapes (runs,).

    `epoch` is the alarm, NaN where it never came, `forecast` the onset that follows from it. Where there was no alarm
    the forecast is a guess, the median onset of the other runs, and `silent` marks it.
    """

    epoch: FloatArray
    forecast: FloatArray

    @property
    def silent(self) -> BoolArray:
        """Mark the runs in which the alarm never came."""
        return np.isnan(self.epoch)


def folds_of_known(units: IntArray, known: BoolArray) -> IntArray:
    """Give each run the number of the fold it is held out with: one per unit, ten where there are more than 20 units.

    `known` marks the runs with an onset. A run whose unit has no onset at all is in a last fold of its own kind, for
    which everything is learned from all runs.
    """
    learned = np.unique(units[known])
    folds = len(learned) if len(learned) <= _SINGLE else _FOLDS
    place = np.minimum(np.searchsorted(learned, units), len(learned) - 1)
    return np.where(learned[place] == units, place % folds, folds)


def fold_levels(logs: FloatArray, condition: IntArray, folds: IntArray) -> FloatArray:
    """Give, for each fold, the level learned without it: the mean over conditions of the logs; NaN without any."""
    count, known = int(folds.max()) + 1, np.isfinite(logs)
    cell = condition[known] * count + folds[known]
    size = (int(condition.max()) + 1) * count
    sums = np.bincount(cell, weights=logs[known], minlength=size).reshape(-1, count)
    runs = np.bincount(cell, minlength=size).reshape(-1, count)
    outside = runs.sum(axis=1, keepdims=True) - runs
    total = sums.sum(axis=1, keepdims=True) - sums
    means = np.divide(total, outside, out=np.zeros(total.shape), where=outside > 0)
    conditions = np.count_nonzero(outside, axis=0)
    found: FloatArray = np.divide(means.sum(axis=0), conditions, out=np.full(count, np.nan), where=conditions > 0)
    return found


def fold_directions(falls: FloatArray, folds: IntArray) -> FloatArray:
    """Give, for each fold, 1 where an observable falls towards onset in most runs outside it, -1 where it rises."""
    sums = falls.sum() - np.bincount(folds, weights=falls, minlength=int(folds.max()) + 1)
    return np.where(sums >= 0, 1.0, -1.0)


def median_forecast(onset: FloatArray, folds: IntArray) -> FloatArray:
    """Give each run the median onset of the runs outside its fold (baseline B0)."""
    medians = np.array([_median(onset[folds != fold]) for fold in range(int(folds.max()) + 1)])
    return medians[folds]


def judge_alarm(onset: FloatArray, reached: FloatArray, folds: IntArray, guess: FloatArray) -> Alarm:
    """Give the alarm and its forecast for each run; `reached[run, fold]` is the alarm at the level of a fold.

    `guess` is the forecast for runs without an alarm: `median_forecast`.
    """
    own = reached[np.arange(len(onset)), folds]
    lags = onset[:, None] - reached
    lag = np.array([_median(lags[folds != fold, fold]) for fold in range(reached.shape[1])])
    forecast = own + lag[folds]
    return Alarm(epoch=own, forecast=np.where(np.isfinite(forecast), forecast, guess))


def mean_leads(onset: FloatArray, reached: FloatArray, folds: IntArray) -> FloatArray:
    """Give the mean lead over the runs outside each fold; NaN where fewer than half of them had an alarm.

    `reached` has shape (runs, folds, levels), the result (folds, levels).
    """
    leads = onset[:, None, None] - reached
    known = np.isfinite(leads)
    leads[~known] = 0.0
    n = np.isfinite(onset)
    found = np.full(reached.shape[1:], np.nan)
    sums, counts = leads.sum(axis=0), known.sum(axis=0)
    for fold in range(reached.shape[1]):
        own = np.flatnonzero(folds == fold)
        count = counts[fold] - known[own, fold].sum(axis=0)
        enough = (count > 0) & (count * 2 >= np.count_nonzero(n) - np.count_nonzero(n[own]))
        total = sums[fold] - leads[own, fold].sum(axis=0)
        found[fold, enough] = total[enough] / count[enough]
    return found


def match_leads(leads: FloatArray, wanted: FloatArray) -> IntArray | None:
    """Give, for each fold, the level whose mean lead outside it is nearest to the one `wanted` there.

    `leads` are the `mean_leads` of an observable. Of levels that are equally near, as those are that all runs are below
    from the start, it is the first. None where a fold has no level with an alarm in at least half of the runs outside.
    """
    distance = np.abs(leads - wanted[:, None])
    if np.isnan(distance).all(axis=1).any():
        return None
    nearest = np.nanmin(distance, axis=1, keepdims=True)
    found: IntArray = np.argmax(distance <= nearest + _SAME * (1 + np.abs(wanted[:, None])), axis=1)
    return found


def concordance(reading: FloatArray, onset: FloatArray, end: FloatArray) -> tuple[float, int]:
    """Give Harrell's C between a reading and the onset, and the number of pairs of runs it is the share of.

    Of each two runs of which one is known to collapse first, the share in which that one has the earlier reading; equal
    readings count half, and one that never came (NaN) is later than all. `end` is how long a run was watched: one
    without an onset (NaN) collapses later than every run that did by then. 0.5 is chance, NaN stands for no pairs.
    """
    reading = np.where(np.isnan(reading), np.inf, reading)
    open_ended = np.isnan(onset)
    time = np.where(open_ended, end, onset)
    order = np.lexsort((open_ended, time))
    rank = np.unique(np.column_stack([time, open_ended])[order], axis=0, return_inverse=True)[1].ravel()
    reading, after = reading[order], np.searchsorted(rank, rank, side="right")
    score, pairs = 0.0, 0
    for run in np.flatnonzero(~open_ended[order]).tolist():
        later = reading[after[run] :]
        pairs += len(later)
        score += float(np.count_nonzero(later > reading[run])) + 0.5 * float(np.count_nonzero(later == reading[run]))
    return (score / pairs, pairs) if pairs else (float("nan"), 0)


def _median(values: FloatArray) -> float:
    """Give the median of the known values; `np.median` spends most of its time on cases that do not occur here."""
    known = values[np.isfinite(values)]
    n = len(known)
    if not n:
        return float("nan")
    ordered = np.partition(known, ((n - 1) // 2, n // 2))
    return 0.5 * float(ordered[(n - 1) // 2] + ordered[n // 2])
