"""How far noise alone moves an onset: the error that is left to who knows the course of a run exactly."""

import math

import numpy as np
from scipy import special

_REACH = 8  # sd of the noise on either side of eps: what lies beyond does not happen


def onset_scatter(noise: float, fall: float, patience: int) -> float:
    """Give the mean distance of an onset from its median, in evaluations.

    The ln metric falls by `fall` from one evaluation to the next and wavers by `noise` (sd, independent), and the onset
    is the first of `patience` evaluations in a row below eps. The chance of every onset is exact; it is that of the
    evaluation, not of the place between two. NaN where the metric does not fall.
    """
    if not fall > 0 or not math.isfinite(noise):
        return math.nan
    reach = math.ceil(_REACH * noise / fall) + 1
    place = np.arange(-reach, reach + patience)  # evaluations from the one at which the course is at eps
    below = special.ndtr(place * fall / noise) if noise > 0 else (place >= 0).astype(np.float64)
    streak = np.zeros(patience)  # the chance of being in the so-manieth evaluation in a row below eps, without an onset
    streak[0] = 1.0
    onset = np.zeros(len(place))
    for row, chance in enumerate(below.tolist()):
        onset[row] = streak[-1] * chance
        streak = np.concatenate(([streak.sum() * (1 - chance)], streak[:-1] * chance))
    start = place - (patience - 1)
    median = start[np.searchsorted(np.cumsum(onset), 0.5 * onset.sum())]
    return float(np.abs(start - median) @ onset / onset.sum())
