"""How far noise alone moves an onset: the error that is left to who knows the course of a run exactly."""

import math

import numpy as np
from scipy import special

from ncdiag.domain.statistics import FloatArray

_REACH = 8  # sd of the noise on either side of eps: what lies beyond does not happen
_NODES = (np.arange(12) + 0.5) / 12  # shares of a normal distribution whose quantiles stand for it
_PLACES = (np.arange(8) + 0.5) / 8  # between two evaluations, where the course may be at eps
_WIDE = 20  # evaluations: where noise reaches so far, the place between two of them makes no difference
_FLAT = 1000  # noise over fall: from 0.3 to 0.01 it would take thousands of evaluations, and no slope is known so well


def onset_scatter(noise: float, fall: float, patience: int, *, between: bool) -> float:
    """Give the mean distance of an onset from its median, in evaluations.

    The ln metric falls by `fall` from one evaluation to the next and wavers by `noise` (sd, independent), and the onset
    is at the first of `patience` evaluations in a row below eps. With `between` it is where a straight line from the
    evaluation before it is at eps, as the rule `sustained` has it, and the course may be at eps anywhere between two
    evaluations; without, it is the evaluation itself, and the course is at eps at one. The chances of the evaluations
    are exact, those of places between them are taken at the quantiles of the noise. NaN where the metric does not fall,
    or by so little that the noise hides it.
    """
    if not (fall > 0 and noise <= _FLAT * fall):
        return math.nan
    if not between:
        return _distance(*_rows(noise, fall, patience, 0.0))
    if noise == 0:
        return 0.0
    places = _PLACES if noise / fall * _REACH < _WIDE else np.array([0.5])
    return float(np.mean([_distance(*_between(noise, fall, patience, float(place))) for place in places]))


def _distance(onset: FloatArray, chance: FloatArray) -> float:
    """Give the mean distance of onsets with these chances from their median."""
    order = np.argsort(onset, kind="stable")
    middle = np.searchsorted(np.cumsum(chance[order]), 0.5 * chance.sum())
    return float(np.abs(onset - onset[order[middle]]) @ chance / chance.sum())


def _rows(noise: float, fall: float, patience: int, at: float) -> tuple[FloatArray, FloatArray]:
    """Give the evaluations that may begin the streak, counted from the place of eps, and the chance of each.

    `at` is the place of eps after an evaluation, as a share of the way to the next.
    """
    reach = math.ceil(_REACH * noise / fall) + 1
    place = np.arange(-reach, reach + patience) - at
    below = special.ndtr(place * fall / noise) if noise > 0 else (place >= 0).astype(np.float64)
    streak = np.zeros(patience)  # the chance of being after so many evaluations in a row below eps, without an onset
    streak[0] = 1.0
    onset = np.zeros(len(place))
    for row, chance in enumerate(below.tolist()):
        onset[row] = streak[-1] * chance
        streak = np.concatenate(([streak.sum() * (1 - chance)], streak[:-1] * chance))
    start: FloatArray = (place - (patience - 1)).astype(np.float64)
    return start, onset


def _between(noise: float, fall: float, patience: int, at: float) -> tuple[FloatArray, FloatArray]:
    """Give the places between evaluations at which an onset may be, and the chance of each.

    The evaluation before the streak is above eps and the one that begins it below; with independent noise nothing else
    matters for where the line between the two is at eps.
    """
    rows, chance = _rows(noise, fall, patience, at)
    possible = chance > 1e-9
    rows, chance = rows[possible], chance[possible]
    over = _tail_quantiles((rows - 1) * fall / noise)[:, :, None]  # in sd of the noise, how far above eps before
    under = _tail_quantiles(-rows * fall / noise)[:, None, :]  # and how far below at the streak's first
    onset = (rows - 1)[:, None, None] + over / (over + under)
    return onset.ravel(), np.repeat(chance / len(_NODES) ** 2, len(_NODES) ** 2)


def _tail_quantiles(depth: FloatArray) -> FloatArray:
    """Give quantiles of how far a standard normal value lies beyond `depth`, given that it does; [rows, nodes]."""
    tail = special.ndtr(-depth)[:, None] * _NODES
    beyond: FloatArray = np.maximum(-special.ndtri(tail) - depth[:, None], 1e-12)
    return beyond
