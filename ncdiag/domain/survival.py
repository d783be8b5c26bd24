"""Onsets that were not reached within the budget: what the runs without one still say.

A run is (time, event): an onset at that epoch, or none until then. A run that never collapsed within a common budget
is not missing: it is slower than every run that did.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import special

from ncdiag.domain.permutations import permutation_p
from ncdiag.domain.statistics import FloatArray, Interval

BoolArray = NDArray[np.bool_]


def kaplan_meier(time: FloatArray, event: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Give the epochs with an onset and the share of runs without one after each (Kaplan and Meier 1958)."""
    epochs, hazard = _hazard(time, event)
    return epochs, np.cumprod(1 - hazard, dtype=np.float64)


def median_time(time: FloatArray, event: BoolArray) -> float:
    """Give the first epoch at which at least half of the runs have collapsed, infinite where there is none."""
    epochs, surviving = kaplan_meier(time, event)
    reached = epochs[surviving <= 0.5 + 1e-12]
    return float(reached[0]) if len(reached) else math.inf


def median_interval(time: FloatArray, level: float) -> tuple[Interval, float]:
    """Give the median with an interval between two order statistics, and the exact confidence of that interval.

    A run that never collapsed has an infinite time. The interval is the shortest symmetric one with a confidence of at
    least `level`, or from the smallest to the largest value where no interval reaches it: 75 % at 3 runs, 93.75 % at 5.
    """
    ordered, n = np.sort(time), len(time)
    if n < 2:
        return Interval(estimate=float(ordered[0]) if n else math.nan), 0.0
    rank = 0
    while 2 * (rank + 1) < n and _median_level(n, rank + 1) >= level:
        rank += 1
    middle = ordered[[(n - 1) // 2, n // 2]]
    estimate = float(middle.mean()) if np.isfinite(middle).all() else float(middle[1])
    return Interval(estimate=estimate, lo=float(ordered[rank]), hi=float(ordered[n - 1 - rank])), _median_level(n, rank)


def restricted_mean(time: FloatArray, budget: float) -> float:
    """Give the mean of min(time, budget): the restricted mean survival time when all runs had this budget."""
    return float(np.minimum(time, budget).mean())


def logrank_scores(time: FloatArray, event: BoolArray) -> FloatArray:
    """Give each run its logrank score: 1 for an onset, less the onsets expected of it; the scores sum to 0.

    A large score is an early onset. The sum over one of two groups is the numerator of the logrank test.
    """
    epochs, hazard = _hazard(time, event)
    expected = np.concatenate(([0.0], np.cumsum(hazard)))
    scores: FloatArray = event - expected[np.searchsorted(epochs, time, side="right")]
    return scores


def logrank_p(time: FloatArray, event: BoolArray, second: BoolArray, generator: np.random.Generator) -> float:
    """Give the two-sided permutation p of the logrank test of two groups; NaN where nobody collapsed."""
    if not event.any():
        return math.nan
    scores = logrank_scores(time, event)
    return permutation_p(lambda labels: np.abs(labels @ scores), second.astype(np.int64), generator)[0]


def _hazard(time: FloatArray, event: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Give the epochs with an onset, and the share of the runs still at risk that collapsed there."""
    epochs, onsets = np.unique(time[event], return_counts=True)
    at_risk = len(time) - np.searchsorted(np.sort(time), epochs, side="left")
    hazard: FloatArray = onsets / np.maximum(at_risk, 1)
    return epochs, hazard


def _median_level(n: int, rank: int) -> float:
    """Give the confidence of [x_(rank+1), x_(n-rank)]: that between rank + 1 and n - rank - 1 values lie below."""
    return float(special.bdtr(n - rank - 1, n, 0.5) - special.bdtr(rank, n, 0.5))
