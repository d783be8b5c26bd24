"""Alarms that announce an onset, judged on runs that they have not seen.

An alarm is the first epoch at which an observable is at a level or below it. Its lead is how long before onset that
was, and its forecast of the onset is the alarm plus the median lead of other runs. Level and lead are learned without
the unit (a run, or a whole condition) that is forecast.

The mean lead at the level "mean ln fn at onset" is about 0 whatever the data: the deviations from a mean sum to 0, also
when each mean leaves its own value out. A lead has to be bought, by an alarm at a level that is reached earlier; what
tells a good observable is how well its alarm forecasts at the same lead.
"""

from dataclasses import dataclass

import numpy as np

from ncdiag.domain.statistics import FloatArray, IntArray, group_means

MARGINS = (0.0, 0.05, 0.1, 0.25, 0.5)
PRIMARY_MARGIN = 0.25  # fixed before any data: about the published lead in the simulated causal world
_MOST_FOLDS = 20  # of more units, twentieths are held out: the work grows with folds x runs


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """An alarm rule on the runs with an onset, each without its own unit; shapes (runs,).

    `epoch` is the alarm, NaN where it never came, `forecast` the onset that follows from it. Where there was no alarm
    the forecast is the median onset of the other runs, and `silent` marks it.
    """

    epoch: FloatArray
    forecast: FloatArray

    @property
    def silent(self) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
        """Mark the runs in which the alarm never came."""
        return np.isnan(self.epoch)


def make_folds(units: IntArray) -> IntArray:
    """Give each run the number of the fold it is held out with: one per unit, at most 20."""
    return np.unique(units, return_inverse=True)[1].astype(np.int64) % _MOST_FOLDS


def fold_levels(logs: FloatArray, condition: IntArray, folds: IntArray) -> FloatArray:
    """Give, for each fold, the level learned without it: the mean over conditions of the logs; NaN without any."""
    found = []
    for fold in range(int(folds.max()) + 1):
        kept = (folds != fold) & np.isfinite(logs)
        found.append(float(group_means(logs[kept], condition[kept]).mean()) if kept.any() else np.nan)
    return np.array(found)


def median_forecast(onset: FloatArray, folds: IntArray) -> FloatArray:
    """Give each run the median onset of the runs outside its fold (baseline B0)."""
    medians = np.array([float(np.median(onset[folds != fold])) for fold in range(int(folds.max()) + 1)])
    return medians[folds]


def judge_alarm(onset: FloatArray, reached: FloatArray, folds: IntArray) -> Alarm:
    """Give the alarm and its forecast for each run; `reached[run, fold]` is the alarm at the level of a fold."""
    own = reached[np.arange(len(onset)), folds]
    lag = np.array([_median_lag(onset, reached[:, fold], folds != fold) for fold in range(reached.shape[1])])
    forecast = own + lag[folds]
    return Alarm(epoch=own, forecast=np.where(np.isfinite(forecast), forecast, median_forecast(onset, folds)))


def mean_leads(onset: FloatArray, reached: FloatArray, folds: IntArray) -> FloatArray:
    """Give the mean lead over the runs outside each fold; NaN where fewer than half of them had an alarm.

    `reached` has shape (runs, folds, levels), the result (folds, levels).
    """
    leads = onset[:, None, None] - reached
    found = np.full(reached.shape[1:], np.nan)
    for fold in range(reached.shape[1]):
        outside = leads[folds != fold, fold]
        known = np.isfinite(outside)
        counts = known.sum(axis=0)
        enough = counts * 2 >= len(outside)
        sums = np.where(known, outside, 0.0).sum(axis=0)
        found[fold, enough] = sums[enough] / counts[enough]
    return found


def match_lead(onset: FloatArray, reached: FloatArray, folds: IntArray, wanted: FloatArray) -> Alarm | None:
    """Give the alarm of an observable at the lead that was `wanted[fold]`, learned outside each fold.

    `reached` has shape (runs, folds, levels): of the levels, that whose mean lead is nearest is used. None where no
    level gives an alarm in at least half of the runs.
    """
    distance = np.abs(mean_leads(onset, reached, folds) - wanted[:, None])
    if np.isnan(distance).all(axis=1).any():
        return None
    chosen = np.nanargmin(distance, axis=1)
    return judge_alarm(onset, reached[:, np.arange(reached.shape[1]), chosen], folds)


def _median_lag(onset: FloatArray, reached: FloatArray, kept: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> float:
    lags = (onset - reached)[kept]
    lags = lags[np.isfinite(lags)]
    return float(np.median(lags)) if len(lags) else float("nan")
