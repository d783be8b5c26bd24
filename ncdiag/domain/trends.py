"""Trends over ordered levels: always one way (Jonckheere and Terpstra), or first down and then up (two lines).

Levels are numbered in their order, from 0; only the order counts for the tests. A value may be infinite where a rank
test takes it: a run that never collapsed is later than every one that did.
"""

import math
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

import numpy as np
from scipy import special

from ncdiag.domain.comparison import ranks
from ncdiag.domain.permutations import Labels, count_labellings, permutation_p
from ncdiag.domain.statistics import (
    ROUNDING,
    BoolArray,
    FloatArray,
    IntArray,
    Interval,
    Spread,
    group_spread,
    is_constant,
    t_quantile,
    welch_df,
)

Shape = Literal["valley", "peak"]

_EXACT_RUNS = 60  # up to here the exact distribution of J is a matter of milliseconds
_PAGE_COLUMNS = 8  # 8! orders of a block are 40,320
_DIGITS = 9  # means of equal values differ by rounding, and are equal


@dataclass(frozen=True, kw_only=True)
class Jonckheere:
    """Jonckheere and Terpstra's J: pairs of runs from two levels in rising order, ties as halves.

    `z` is J standardised, with the variance for ties; `p` is one-sided, by `method`; `p_min` the smallest possible.
    """

    j: float = math.nan
    z: float = math.nan
    p: float = math.nan
    p_min: float = math.nan
    method: str = ""
    status: str = "ok"


@dataclass(frozen=True, kw_only=True)
class TwoLines:
    """The two-lines test: a slope down to a level `turn` and a slope up from it, or the reverse for a peak.

    `p` covers every interior level, and both shapes unless one was declared. `left` and `right` are the differences of
    the means of the turn from the first level and of the last level from the turn, with their t intervals; `df` are
    the degrees of freedom of the arm that decides.
    """

    p: float = math.nan
    turn: int = -1
    shape: Shape = "valley"
    left: Interval
    right: Interval
    df: float = 0
    status: str = "ok"


@dataclass(frozen=True, kw_only=True)
class Reversals:
    """The p that values rise, and fall, from some level to a later one; `rise` are the levels that most clearly do."""

    p_rise: float = math.nan
    p_fall: float = math.nan
    rise: tuple[int, int] | None = None

    @property
    def p_unsteady(self) -> float:
        """The p that no steady curve, rising or falling, goes through the levels: both must show."""
        return max(self.p_rise, self.p_fall)


def jonckheere(values: FloatArray, level: IntArray, generator: np.random.Generator) -> Jonckheere:
    """Test for a rise over the levels: exactly without ties, by relabelling with ties or infinite values."""
    sizes = np.unique(level, return_counts=True)[1].tolist()
    if len(sizes) < 2:
        return Jonckheere(status="not_testable")
    j = _observed_pairs(values, level)
    p_min = 1 / count_labellings(sizes)
    if len(np.unique(values)) == 1:
        return Jonckheere(j=j, p_min=p_min, status="zero_variance")
    z = _standardised(j, values, sizes)
    if len(np.unique(values)) == len(values) and len(values) <= _EXACT_RUNS:
        pmf = jonckheere_distribution(sizes)
        return Jonckheere(j=j, z=z, p=float(pmf[round(j) :].sum()), p_min=p_min, method="exact")
    if len(values) > _EXACT_RUNS:
        return Jonckheere(j=j, z=z, p=float(special.ndtr(-z)), p_min=p_min, method="normal approximation")
    order = _order(values)
    p, looked_at = permutation_p(lambda labels: _count_pairs(labels, order), level, generator)
    return Jonckheere(j=j, z=z, p=p, p_min=p_min, method=f"{looked_at} relabellings")


def jonckheere_distribution(sizes: list[int]) -> FloatArray:
    """Give the probabilities of J = 0, 1, ... without ties, by convolution of Mann and Whitney's distributions."""
    total = np.ones(1)
    before = sizes[0]
    for size in sizes[1:]:
        total = np.convolve(total, _mann_whitney(before, size))
        before += size
    return total


def two_lines(
    values: FloatArray,
    level: IntArray,
    interval_level: float,
    declared: Shape | None = None,
    capped: IntArray | None = None,
) -> TwoLines:
    """Test for a turn inside the range: both slopes must show (intersection-union), by Welch's t.

    `level` runs from 0 without gaps. The p is the smallest over the interior levels (and the shapes), times their
    number. Levels in `capped` hold nothing but the budget: their means count, their lack of variance does not. Needs
    three levels and a run to spare; values that are equal within every other level are zero_variance. Variances are
    not pooled: slow levels vary more, and with three times the sd at one end a pooled test errs in 8 to 13 %.
    """
    count = int(level.max(initial=-1)) + 1
    none = Interval()
    sizes, means, df, varies = _levels(values, level, capped)
    if count < 3 or df < 1:
        return TwoLines(left=none, right=none, df=df, status="not_testable")
    if not varies:
        return TwoLines(left=none, right=none, df=df, status="zero_variance")
    spread = group_spread(values, level, capped)
    shapes: tuple[Shape, ...] = (declared,) if declared else ("valley", "peak")
    best, turn, shape = (math.inf, 0.0), 1, shapes[0]
    for b in range(1, count - 1):
        arms = [_slope(means, sizes, spread, inside) for inside in (np.arange(count) <= b, np.arange(count) >= b)]
        for candidate in shapes:
            signs = (1, -1) if candidate == "valley" else (-1, 1)
            p = max((float(special.stdtr(of, sign * t)), of) for sign, (t, of) in zip(signs, arms, strict=True))
            if p < best:
                best, turn, shape = p, b, candidate
    pairs = ((0, turn), (turn, count - 1))
    left, right = (_difference(means, sizes, pair, spread, interval_level) for pair in pairs)
    p_all = min(1.0, len(shapes) * (count - 2) * best[0])
    return TwoLines(p=p_all, turn=turn, shape=shape, left=left, right=right, df=best[1])


def reversals(values: FloatArray, level: IntArray, capped: IntArray) -> Reversals:
    """Test whether values rise, and whether they fall, from some level to some later one: Welch's t of every two.

    The smallest one-sided p counts, times the number of pairs. `level` and `capped` are those of `two_lines`; NaN where
    nothing varies within levels.
    """
    count = int(level.max(initial=-1)) + 1
    sizes, means, _, varies = _levels(values, level, capped)
    if count < 2 or not varies:
        return Reversals()
    lower, upper = np.triu_indices(count, k=1)
    pairs = np.arange(len(lower))
    weights = np.zeros((len(lower), count))
    weights[pairs, lower], weights[pairs, upper] = -1, 1
    errors, dfs = group_spread(values, level, capped).of_contrast(weights, sizes)
    dfs = welch_df(dfs, sizes[lower], sizes[upper])
    t = weights @ means / errors
    rise, fall = special.stdtr(dfs, -t), special.stdtr(dfs, t)
    steepest = int(np.argmin(rise))
    return Reversals(
        p_rise=min(1.0, len(lower) * float(rise[steepest])),
        p_fall=min(1.0, len(lower) * float(fall.min())),
        rise=(int(lower[steepest]), int(upper[steepest])),
    )


def trend_slope(x: FloatArray, values: FloatArray, level: IntArray, confidence: float, capped: IntArray) -> Interval:
    """Give the slope of the least-squares line of values on the x of their levels, with its t interval (Welch).

    What levels are off the line is no noise: only what varies within them is. No limits where a level has a single
    value, or nothing varies. `capped` are those of `two_lines`.
    """
    sizes, means, _, varies = _levels(values, level, capped)
    place = x - np.average(x, weights=sizes)
    weights = sizes * place / float(sizes @ place**2)
    slope = float(weights @ means)
    if sizes.min() < 2 or not varies:
        return Interval(estimate=slope)
    error, error_df = group_spread(values, level, capped).of_contrast(weights, sizes)
    return Interval.around(slope, t_quantile(confidence, float(error_df)) * float(error))


def page_trend(blocks: FloatArray) -> tuple[float, float]:
    """Give Page's L and its p for a rise over the columns of blocks [b, k]; NaN for one block or two columns.

    Up to 8 columns the p is exact, with ties as they are: every order of each block's own ranks is as likely as any
    other. Beyond that it is that of the normal approximation.
    """
    if blocks.shape[0] < 2 or blocks.shape[1] < 3 or np.isnan(blocks).any() or is_constant(blocks.reshape(-1)):
        return math.nan, math.nan
    columns = blocks.shape[1]
    ranked = np.array([ranks(block) for block in np.round(blocks, _DIGITS)])
    statistic = float(ranked.sum(axis=0) @ np.arange(1, columns + 1))
    if columns > _PAGE_COLUMNS:
        from scipy import stats  # takes longer to load than most questions to answer

        return statistic, float(stats.page_trend_test(ranked, ranked=True, method="asymptotic").pvalue)
    orders = np.array(list(permutations(range(1, columns + 1))), dtype=np.float64)
    chances = np.ones(1)  # of each L, in halves
    for block in ranked:
        sums = np.rint(2 * orders @ block).astype(np.int64)
        chances = np.convolve(chances, np.bincount(sums) / len(sums))
    return statistic, float(chances[round(2 * statistic) :].sum())


def _order(values: FloatArray) -> FloatArray:
    """Give [n, n]: 1 where the column's value is larger than the row's, a half where they are equal."""
    larger = values[None, :] > values[:, None]
    equal = values[None, :] == values[:, None]
    order: FloatArray = larger + 0.5 * equal
    return order


def _observed_pairs(values: FloatArray, level: IntArray) -> float:
    """Count the pairs in rising order: per level, how many of the runs at lower levels are smaller, ties as halves."""
    total = 0.0
    for label in np.unique(level)[1:]:
        lower, own = np.sort(values[level < label]), values[level == label]
        total += 0.5 * float(np.sum(np.searchsorted(lower, own, "left") + np.searchsorted(lower, own, "right")))
    return total


def _count_pairs(labels: Labels, order: FloatArray) -> FloatArray:
    """Count the pairs in rising order of each labelling [m, n]: sum over levels a < b of 1_a' order 1_b."""
    total = np.zeros(len(labels))
    for label in np.unique(labels[0])[:-1]:
        lower = (labels == label).astype(np.float64)
        higher = labels > label
        total += np.sum((lower @ order) * higher, axis=1)
    return total


def _standardised(j: float, values: FloatArray, sizes: list[int]) -> float:
    """Give (J - mean) / sd under the null, with the variance for ties (Hollander and Wolfe 1999, 6.19)."""
    n = len(values)
    tied = np.unique(values, return_counts=True)[1].astype(np.float64)
    g = np.array(sizes, dtype=np.float64)
    first = n * (n - 1) * (2 * n + 5) - np.sum(g * (g - 1) * (2 * g + 5)) - np.sum(tied * (tied - 1) * (2 * tied + 5))
    second = np.sum(g * (g - 1) * (g - 2)) * np.sum(tied * (tied - 1) * (tied - 2)) / (36 * n * (n - 1) * max(n - 2, 1))
    third = np.sum(g * (g - 1)) * np.sum(tied * (tied - 1)) / (8 * n * (n - 1))
    variance = first / 72 + second + third
    return float((j - (n * n - np.sum(g * g)) / 4) / math.sqrt(variance))


def _levels(values: FloatArray, level: IntArray, capped: IntArray | None) -> tuple[IntArray, FloatArray, int, bool]:
    """Give the sizes and means of the levels, the degrees of freedom within them, and whether values vary there.

    Levels that hold only the budget (`capped`) say nothing of either.
    """
    sizes = np.bincount(level)
    means = np.bincount(level, weights=values) / sizes
    counted = np.ones(len(level), dtype=bool) if capped is None else ~np.isin(level, capped)
    residual = (values - means[level])[counted]
    df = int(counted.sum()) - len(np.unique(level[counted]))
    return sizes, means, df, bool(df) and float(residual @ residual) > ROUNDING * float(values @ values)


def _mann_whitney(m: int, n: int) -> FloatArray:
    """Give the probabilities of U = 0 ... mn for groups of m and n, by the generating function of its counts."""
    counts = np.zeros(m * n + 1)
    counts[0] = 1.0
    for i in range(1, min(m, n) + 1):
        for place in range(m * n, max(m, n) + i - 1, -1):
            counts[place] -= counts[place - max(m, n) - i]
        for place in range(i, m * n + 1):
            counts[place] += counts[place - i]
    probabilities: FloatArray = counts / counts.sum()
    return probabilities


def _slope(means: FloatArray, sizes: IntArray, spread: Spread, inside: BoolArray) -> tuple[float, float]:
    """Give Welch's t of the least-squares slope over the levels inside an arm, and its degrees of freedom."""
    weight = sizes * inside
    place = np.arange(len(sizes)) - np.average(np.arange(len(sizes)), weights=weight)
    slope = weight * place / float(weight @ place**2)
    error, df = spread.of_contrast(slope, sizes)
    return float(slope @ means / error), float(df)


def _difference(means: FloatArray, sizes: IntArray, pair: tuple[int, int], spread: Spread, level: float) -> Interval:
    weights = np.zeros(len(sizes))
    weights[list(pair)] = -1, 1
    error, df = spread.of_contrast(weights, sizes)
    return Interval.around(float(weights @ means), t_quantile(level, float(df)) * float(error))
