"""Is a figure the same under all conditions? Each condition's mean is held against the grand mean, by equivalence.

An F-test that finds no difference does not show that there is none. Here every condition has to show, by two one-sided
tests, that it lies within a margin of the grand mean: the claim is that all of them do, so the largest p counts and
needs no correction (intersection-union).
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from ncdiag.domain.equivalence import ALPHA, MARGIN
from ncdiag.domain.statistics import FloatArray, IntArray, group_spread, is_constant


@dataclass(frozen=True, kw_only=True)
class Invariance:
    """How far the mean of any condition is from the grand mean of the conditions, on logs.

    `estimate` is the largest absolute distance, that of condition `furthest`; `hi` is below `margin` exactly where
    `p`, the largest of the conditions' p-values, is below 5 %. `lo` is the largest distance that is sure with 95 %
    over all conditions, and `p_beyond` the p that some condition is further away than the margin (Bonferroni).
    `distances` are those of the conditions, in the order of their numbers. `status` is ok, too_few or zero_variance.
    """

    estimate: float = math.nan
    lo: float = math.nan
    hi: float = math.nan
    p: float = math.nan
    p_beyond: float = math.nan
    margin: float = MARGIN
    furthest: int = 0
    distances: tuple[float, ...] = ()
    df: int = 0
    status: str = "ok"


def check_invariance(logs: FloatArray, condition: IntArray, margin: float = MARGIN) -> Invariance:
    """Test whether the means of all conditions lie within +-`margin` of their own mean (STATISTICS Q3).

    Each condition has its own variance (Welch): with four times the sd in one of four conditions, a pooled test errs in
    15 to 17 %. A condition with one value is given that of the others, so one needs two; a single condition has nothing
    to be compared with.
    """
    _, member, sizes = np.unique(condition, return_inverse=True, return_counts=True)
    k, df = len(sizes), len(logs) - len(sizes)
    if k < 2 or df < 1:
        return Invariance(margin=margin, df=max(df, 0), status="too_few")
    means = np.bincount(member, weights=logs) / sizes
    distances = means - means.mean()
    furthest = int(np.argmax(np.abs(distances)))
    found = {"estimate": float(abs(distances[furthest])), "furthest": furthest, "distances": tuple(distances.tolist())}
    residual = logs - means[member]
    if float(residual @ residual) <= 1e-20 * float(logs @ logs) or is_constant(logs):
        return Invariance(margin=margin, df=df, status="zero_variance", **found)  # type: ignore[arg-type]
    # a mean is 1/k of the grand mean itself
    se, of = group_spread(logs, member).of_contrast(np.eye(k) - 1 / k, sizes)
    within = np.maximum(special.stdtr(of, (distances - margin) / se), special.stdtr(of, -(distances + margin) / se))
    beyond = np.minimum(special.stdtr(of, (margin - distances) / se), special.stdtr(of, (margin + distances) / se))
    width = special.stdtrit(of, 1 - ALPHA) * se
    sure = np.abs(distances) - special.stdtrit(of, 1 - ALPHA / (2 * k)) * se
    return Invariance(
        lo=max(float(sure.max()), 0.0),
        hi=float((np.abs(distances) + width).max()),
        p=float(within.max()),
        p_beyond=min(1.0, 2 * k * float(beyond.min())),
        margin=margin,
        df=df,
        **found,  # type: ignore[arg-type]
    )
