"""Groups without an order, and shares: whether they differ, by how much, and how many runs it takes to show it."""

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from scipy import special

from ncdiag.domain.multiplicity import holm
from ncdiag.domain.permutations import RELABELLED_RUNS, Labels, permutation_p, smallest_p
from ncdiag.domain.statistics import (
    FloatArray,
    IntArray,
    Interval,
    exponential,
    has_company,
    is_constant,
    t_comparison,
    t_interval,
    welch_df,
)

_SMALLEST = 1e-9  # of the variance of all values: what a group of equal values, by chance or at the budget, is given
_FISHER_RUNS = 100  # the search behind Boschloo's p takes seconds beyond this, and gains nothing


@dataclass(frozen=True, kw_only=True)
class OneWay:
    """A one-way comparison: Welch's F with its p from the F distribution (`p_normal`) and from relabelling (`p`).

    Of groups of unequal size `p` is the larger of both. Beyond 200 values both are the former, and `relabellings` is 0.
    """

    statistic: float = math.nan
    df1: int = 0
    df2: float = 0
    p_normal: float = math.nan
    p: float = math.nan
    p_min: float = math.nan
    relabellings: int = 0
    status: str = "ok"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Welch's comparison of two groups: the mean of `second` less that of `first`, its interval, p and Holm's p."""

    first: int
    second: int
    difference: Interval
    p: float
    p_holm: float


def one_way(values: FloatArray, group: IntArray, generator: np.random.Generator) -> OneWay:
    """Compare the groups of two values and more; without two such groups, or variance within them, there is no test.

    Groups may vary differently (Welch 1951): relabelling the classical F errs in 10 % where one of three groups has
    three times the sd of the others. Relabelling takes groups for alike all the same, which matters where their sizes
    differ: with 3 loud values beside 10 it errs in 10 to 12 %. There the larger of both p counts. A group of one value
    says nothing of how much it varies, and takes no part: beside two groups of five it would err in 24 %.
    """
    taken = has_company(group)
    values = values[taken]
    _, group, sizes = np.unique(group[taken], return_inverse=True, return_counts=True)
    k, n = len(sizes), len(values)
    p_min = smallest_p(sizes.tolist(), ordered=False) if n else math.nan
    if k < 2:
        return OneWay(df1=max(k - 1, 0), df2=max(n - k, 0), p_min=p_min, status="not_testable")
    centred = values - values.mean()
    total = float(centred @ centred)
    within = total - float(np.sum(np.bincount(group, weights=centred) ** 2 / sizes))
    if within <= 1e-14 * total or is_constant(values):
        return OneWay(df1=k - 1, df2=n - k, p_min=p_min, status="zero_variance")

    def f_of(labels: Labels) -> FloatArray:
        return _welch_f(*_of_groups(centred, sizes, labels), sizes)[0]

    statistic, df2 = (float(each[0]) for each in _welch_f(*_of_groups(centred, sizes, group[None, :]), sizes))
    p_normal = float(special.fdtrc(k - 1, df2, statistic))
    p, looked_at = p_normal, 0
    if n <= RELABELLED_RUNS:
        p, looked_at = permutation_p(f_of, group.astype(np.int64), generator, ordered=False)
        if np.ptp(sizes):
            p = max(p, p_normal)
    return OneWay(
        statistic=statistic,
        df1=k - 1,
        df2=df2,
        p_normal=p_normal,
        p=p,
        p_min=p_min,
        relabellings=looked_at,
    )


def pairwise_welch(values: FloatArray, group: IntArray, level: float) -> list[Difference]:
    """Compare every two groups by Welch's t, with Holm's correction over the pairs; NaN where there is no test."""
    found = []
    for first, second in combinations(np.unique(group).tolist(), 2):
        found.append((first, second, *_welch(values[group == first], values[group == second], level)))
    adjusted = holm(np.array([p for *_, p in found]))
    return [
        Difference(first=first, second=second, difference=difference, p=p, p_holm=float(corrected))
        for (first, second, difference, p), corrected in zip(found, adjusted, strict=True)
    ]


def welch_to_first(values: FloatArray, group: IntArray, other: int, level: float) -> Interval:
    """Give the difference of one group's mean from that of the first (number 0) by Welch's t, with simultaneous limits.

    They hold for all groups beside the first at once (Sidak 1967), so `other` may have been picked; NaN without a test.
    """
    comparisons = len(np.unique(group)) - 1
    return _welch(values[group == 0], values[group == other], level ** (1 / comparisons))[0]


def largest_shift(values: FloatArray, group: IntArray, base: int, level: float) -> tuple[Interval, int]:
    """Give the largest absolute difference of a group mean from that of `base`, and the group that has it.

    With the confidence given, no group differs by more than `hi`: the furthest limit of Welch's t to each of the k - 1
    other groups, at Sidak's level for all of them. (Dunnett's bound is sharper, but takes the groups to vary alike: it
    is too small in 15 to 27 % where a group of two or three varies four to six times as much.) NaN where a group has a
    single value, or no limits.
    """
    others = [g for g in np.unique(group).tolist() if g != base]
    each = level ** (1 / len(others))
    shifts = {g: _welch(values[group == base], values[group == g], each)[0] for g in others}
    largest = max(shifts, key=lambda g: abs(shifts[g].estimate))
    bound = float(np.max([(-shift.lo, shift.hi) for shift in shifts.values()]))
    return Interval(estimate=abs(shifts[largest].estimate), lo=0 * bound, hi=bound), largest


def fewer_collapse(collapsed: tuple[int, int], runs: tuple[int, int]) -> tuple[float, float]:
    """Give Boschloo's (1970) one-sided p that the first share is smaller, and the smallest p of such samples.

    Beyond 100 runs it is Fisher's exact p, which is a little larger and takes no search.
    """
    return _boschloo(collapsed, runs), _boschloo((0, runs[1]), runs)


def largest_gain(scores: FloatArray, level: IntArray) -> tuple[float, int]:
    """Test by Welch's t whether any level has larger scores than the first; gives the p, and the level it is of.

    The smallest p counts, times the number of levels that it was picked from; NaN where nothing varies. Every level has
    several values. To relabel all runs, and repeat the choice, takes no such factor; but it takes all runs for alike,
    and errs in 9 to 12 % where one level varies four times as much as another, and in 4 to 5 % where 1.25 % is allowed.
    """
    first, *others = np.unique(level).tolist()
    ps = np.array([_larger(scores[level == first], scores[level == other]) for other in others])
    if np.isnan(ps).all():
        return math.nan, int(others[0])
    best = int(np.nanargmin(ps))
    return min(1.0, len(others) * float(ps[best])), int(others[best])


def _larger(first: FloatArray, second: FloatArray) -> float:
    """Give Welch's one-sided p that the mean of `second` is the larger one."""
    difference, p = _welch(first, second, 0.95)
    return p / 2 if difference.estimate > 0 else 1 - p / 2


def geometric_mean(values: FloatArray, level: float) -> Interval:
    """Give exp of the mean of logarithms with its t interval, for ratios."""
    if not len(values):
        return Interval()
    return exponential(t_interval(values, level))


def _of_groups(centred: FloatArray, sizes: IntArray, labels: Labels) -> tuple[FloatArray, FloatArray]:
    """Give the mean of each group under each labelling [m, n], and the variance of that mean: [k, m] each."""
    squares = float(centred @ centred) / len(centred)
    means, errors = np.empty((2, len(sizes), len(labels)))
    for g, size in enumerate(sizes.tolist()):
        own = labels == g
        means[g] = own.astype(np.float64) @ centred / size
        # From the own mean: less the square of a mean, a small variance would be lost to rounding, and with it that a
        # labelling is as extreme as itself.
        away = np.where(own, centred - means[g][:, None], 0.0)
        errors[g] = np.maximum(np.einsum("ij,ij->i", away, away) / size, _SMALLEST * squares) / (size - 1)
    return means, errors


def _welch_f(means: FloatArray, errors: FloatArray, sizes: IntArray) -> tuple[FloatArray, FloatArray]:
    """Give Welch's F and its second degrees of freedom for means [k, m] whose own variances are `errors`."""
    k, weight = len(sizes), 1 / errors
    share = weight / weight.sum(axis=0)
    between = np.sum(weight * (means - np.sum(share * means, axis=0)) ** 2, axis=0) / (k - 1)
    tail = np.sum((1 - share) ** 2 / np.maximum(sizes - 1, 1)[:, None], axis=0)
    return between / (1 + 2 * (k - 2) / (k * k - 1) * tail), (k * k - 1) / (3 * tail)


def _welch(first: FloatArray, second: FloatArray, level: float) -> tuple[Interval, float]:
    estimate = float(second.mean() - first.mean())
    if min(len(first), len(second)) < 2:
        return Interval(estimate=estimate), math.nan
    parts = [float(sample.var(ddof=1)) / len(sample) for sample in (first, second)]
    if is_constant(first) and is_constant(second):
        return Interval(estimate=estimate), math.nan
    variance = sum(parts)
    df = variance**2 / sum(part**2 / (len(sample) - 1) for part, sample in zip(parts, (first, second), strict=True))
    df = float(welch_df(np.array(df), np.array(len(first)), np.array(len(second))))
    return t_comparison(estimate, math.sqrt(variance), df, level)


@lru_cache(maxsize=256)
def _boschloo(collapsed: tuple[int, int], runs: tuple[int, int]) -> float:
    if sum(collapsed) in (0, sum(runs)):  # none collapsed, or all: nothing to compare
        return 1.0
    from scipy import stats  # takes longer to load than most questions to answer

    if sum(runs) > _FISHER_RUNS:
        return float(stats.hypergeom.cdf(collapsed[0], sum(runs), sum(collapsed), runs[0]))
    table = [collapsed, (runs[0] - collapsed[0], runs[1] - collapsed[1])]
    return float(stats.boschloo_exact(table, alternative="less").pvalue)
