"""Is a figure the same under all conditions? Each condition's mean is held against the grand mean, by equivalence.

An F-test that finds no difference does not show that there is none. Here every condition has to show, by two one-sided
tests, that it lies within a margin of the grand mean: the claim is that all of them do, so the largest p counts and
needs no correction (intersection-union).

That some condition is further away is another matter: one run tells nothing of how much runs of its condition vary, so
only conditions with several runs can show it, against their own mean.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special

from ncdiag.domain.equivalence import MARGIN
from ncdiag.domain.levels import alpha_of
from ncdiag.domain.statistics import ROUNDING, FloatArray, IntArray, group_spread

_SAME = 1e-9  # relative: rounding explains a smaller difference of two distances


@dataclass(frozen=True, kw_only=True)
class Invariance:
    """How far the mean of any condition is from the grand mean of the conditions, on logs.

    `estimate` is the largest absolute distance, that of condition `furthest`; `hi` is below `MARGIN` exactly where
    `p`, the largest of the conditions' p-values, is below 1 - level. `lo` is the largest distance that is sure with
    that level over all conditions with several runs, and `p_beyond` the p that one of them is further away from
    their mean than the margin (Bonferroni); `beyond` is the furthest of which that is shown. There is no such p
    without two such conditions. `distances` are those of
    the conditions, in the order of their numbers, and `sizes` their numbers of runs. `status` is ok, too_few or
    zero_variance.
    """

    estimate: float = math.nan
    lo: float = math.nan
    hi: float = math.nan
    p: float = math.nan
    p_beyond: float = math.nan
    furthest: int = 0
    beyond: int = 0
    distances: tuple[float, ...] = ()
    sizes: tuple[int, ...] = ()
    df: int = 0
    status: Literal["ok", "too_few", "zero_variance"] = "ok"


def check_invariance(logs: FloatArray, condition: IntArray, level: float) -> Invariance:
    """Test whether the means of all conditions lie within +-`MARGIN` of their own mean.

    Each condition has its own variance (Welch): with four times the sd in one of four conditions, a pooled test errs in
    15 to 17 %. A condition with one value is given that of the others to be shown alike, so one needs two; it is never
    shown to differ. A single condition has nothing to be compared with.
    """
    _, member, sizes = np.unique(condition, return_inverse=True, return_counts=True)
    k, df = len(sizes), len(logs) - len(sizes)
    if k < 2 or df < 1:
        return Invariance(df=max(df, 0), status="too_few")
    means = np.bincount(member, weights=logs) / sizes
    distances = means - means.mean()
    away = np.abs(distances)
    furthest = int(np.argmax(away >= away.max() * (1 - _SAME)))  # the first of those as far but for rounding
    found = {
        "estimate": float(abs(distances[furthest])),
        "furthest": furthest,
        "distances": tuple(distances.tolist()),
        "sizes": tuple(sizes.tolist()),
    }
    residual = logs - means[member]
    if float(residual @ residual) <= ROUNDING * float(logs @ logs):
        return Invariance(df=df, status="zero_variance", **found)  # type: ignore[arg-type]
    se, of = _errors(logs, member)
    within = np.maximum(special.stdtr(of, (distances - MARGIN) / se), special.stdtr(of, -(distances + MARGIN) / se))
    width = special.stdtrit(of, level) * se
    lo, p_beyond, beyond = _beyond(logs, member, sizes, level)
    return Invariance(
        lo=min(lo, float(abs(distances[furthest]))),
        hi=float((np.abs(distances) + width).max()),
        p=float(within.max()),
        p_beyond=p_beyond,
        beyond=beyond,
        df=df,
        **found,  # type: ignore[arg-type]
    )


def _errors(logs: FloatArray, member: IntArray) -> tuple[FloatArray, FloatArray]:
    """Give the standard error of each condition's distance from the grand mean, and its degrees of freedom."""
    sizes = np.bincount(member)
    k = len(sizes)
    return group_spread(logs, member).of_contrast(np.eye(k) - 1 / k, sizes)  # a mean is 1/k of the grand mean itself


def _beyond(logs: FloatArray, member: IntArray, sizes: IntArray, level: float) -> tuple[float, float, int]:
    """Give the largest distance that is sure, the p that one is beyond the margin, and the condition it is of."""
    several = np.flatnonzero(sizes > 1)
    if len(several) < 2:
        return 0.0, math.nan, 0
    own = np.isin(member, several)
    values, numbers = logs[own], np.searchsorted(several, member[own])
    means = np.bincount(numbers, weights=values) / sizes[several]
    distances, k = means - means.mean(), len(several)
    se, of = _errors(values, numbers)
    p = np.minimum(special.stdtr(of, (MARGIN - distances) / se), special.stdtr(of, (MARGIN + distances) / se))
    sure = np.abs(distances) - special.stdtrit(of, 1 - (1 - level) / (2 * k)) * se
    shown = np.flatnonzero(2 * k * p <= alpha_of(level))
    named = shown[np.argmax(np.abs(distances[shown]))] if len(shown) else np.argmin(p)
    return max(float(sure.max()), 0.0), min(1.0, 2 * k * float(p.min())), int(several[named])
