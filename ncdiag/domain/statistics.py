"""Intervals for small samples, grouped samples and predictions; nothing here knows about neural collapse.

Runs come in groups: seeds within a condition. A group is an integer per value; values of one group share what the
group shares, so groups, not values, are the sample wherever the groups differ.
Quantiles come from `scipy.special`, which loads in a fraction of the time of `scipy.stats`.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

# A sum of squares this small beside the sum of the squared values is what rounding leaves of equal values.
ROUNDING = 1e-20

_SHARES = (np.arange(400) + 0.5) / 400  # of a distribution, whose quantiles stand for it

_ENOUGH = 5  # values that tell how much they vary
FEW_GROUPS = 3  # with fewer, groups tell too little of how much groups vary, and values are the sample


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with its limits; a limit is NaN where there is none, and infinite where it is not bounded."""

    estimate: float = math.nan
    lo: float = math.nan
    hi: float = math.nan

    @classmethod
    def around(cls, estimate: float, half: float) -> "Interval":
        """Give the interval with an estimate in its middle, from its half width; NaN where there are no limits."""
        return cls(estimate=estimate, lo=estimate - half, hi=estimate + half)


@dataclass(frozen=True, kw_only=True)
class Components:
    """The two levels of a grouped sample.

    `of_means` is the variance of the group means (`groups` - 1 degrees of freedom), `within` the mean of the variances
    within groups (`df_within`, NaN at 0), `size` the harmonic mean of the group sizes: `of_means` estimates the
    variance between groups plus `within` / `size`.
    """

    mean: float
    of_means: float
    within: float
    size: float
    groups: int
    df_within: float

    @property
    def total(self) -> float:
        """The variance of a single value: between groups plus within."""
        return self.of_means + self.within_part

    @property
    def between(self) -> float:
        """The variance between groups, what the group means vary beyond chance; 0 at least."""
        return max(self.of_means - self.within / self.size, 0.0) if self.df_within else math.nan

    @property
    def icc(self) -> float:
        """The share of the variance that lies between groups (intraclass correlation); NaN where it is not known."""
        total = self.between + self.within
        return self.between / total if total > 0 else math.nan

    @property
    def within_part(self) -> float:
        """The part of `within` that `of_means` does not hold already."""
        return (1 - 1 / self.size) * self.within if self.df_within else 0.0


def exponential(found: Interval) -> Interval:
    """Give e to the power of an estimate and its limits; what no number can hold, as at 99.99 % of two, is infinite."""
    with np.errstate(over="ignore"):
        return Interval(**{name: float(np.exp(value)) for name, value in vars(found).items()})


def is_constant(values: FloatArray) -> bool:
    """Say whether values are equal but for rounding, as a single one is: no test or interval on them means anything."""
    spread = values - values.mean()
    return bool(spread @ spread <= ROUNDING * (values @ values))


def t_quantile(level: float, df: float) -> float:
    """Give the t value that holds the share `level` of the distribution between minus and plus itself."""
    return float(special.stdtrit(df, (1 + level) / 2))


def t_test_p(statistic: float, df: float) -> float:
    """Give the two-sided p of a t statistic."""
    return float(2 * special.stdtr(df, -abs(statistic)))


def t_comparison(estimate: float, se: float, df: float, level: float) -> tuple[Interval, float]:
    """Give a difference with its t interval, and the two-sided p that it is not 0."""
    return Interval.around(estimate, t_quantile(level, df) * se), t_test_p(estimate / se, df)


def welch_df(df: FloatArray, first: IntArray, second: IntArray) -> FloatArray:
    """Give the degrees of freedom of Welch's t of two samples of these sizes, from those of Satterthwaite.

    Beside a larger sample one of two to four has its own at most: two values agree by chance, and then Satterthwaite
    takes their mean for exact. Of six comparisons of 10 values with 2 one would be below .05 / 6 in 10 %.
    """
    fewer = np.minimum(first, second)
    found: FloatArray = np.where((first == second) | (fewer >= _ENOUGH), df, np.minimum(df, np.maximum(fewer - 1, 1)))
    return found


def t_interval(values: FloatArray, level: float) -> Interval:
    """Give the mean with Student's t interval; no limits for one value or for equal values."""
    mean = float(values.mean())
    if is_constant(values):
        return Interval(estimate=mean)
    half = t_quantile(level, len(values) - 1) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Interval.around(mean, half)


def grouped_t_interval(values: FloatArray, groups: IntArray, level: float) -> Interval:
    """Give the mean of all values with Student's t interval over groups; over values where there are not three groups.

    What the values of one group share counts once: the squares are those of the groups' sums (Liang and Zeger 1986).
    The degrees of freedom are those of as many groups of one size as tell as much, (sum n)^2 / sum n^2: with those of
    the groups, of which one has ten values and three have one, 95 % would hold in 70 to 84 %. With groups of one size
    it is the t interval of the group means.
    """
    _, member, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    totals = np.bincount(member, weights=values - values.mean())
    k, mean = len(totals), float(values.mean())
    if k < FEW_GROUPS:
        return t_interval(values, level)
    squares = float(totals @ totals)
    if squares <= ROUNDING * float(values @ values):
        return Interval(estimate=mean)
    df = effective_size(sizes) - 1
    half = t_quantile(level, df) * math.sqrt(k / (k - 1) * squares) / len(values)
    return Interval.around(mean, half)


def log_cv(log_sd: float) -> float:
    """Give the coefficient of variation of a lognormal variable from the sd of its logarithm."""
    return math.inf if log_sd >= 25 else math.sqrt(math.expm1(log_sd**2))


def log_sd(cv: float) -> float:
    """Give the sd of the logarithm of a lognormal variable from its coefficient of variation."""
    return math.sqrt(math.log1p(cv**2))


def variance_factor(df: float, probability: float) -> float:
    """Give df / chi2 quantile: times a sample variance, it is exceeded by the true one with `probability`."""
    return float(df / special.chdtri(df, 1 - probability))


def variance_interval(values: FloatArray, level: float) -> Interval:
    """Give the variance of values that differ with its chi-square interval."""
    each = (1 + level) / 2
    return Interval(
        estimate=float(values.var(ddof=1)), lo=variance_lower(values, each), hi=variance_upper(values, each)
    )


def variance_upper(values: FloatArray, level: float) -> float:
    """Give the one-sided upper chi-square bound of the variance of values that differ."""
    return float(values.var(ddof=1)) * variance_factor(len(values) - 1, 1 - level)


def variance_lower(values: FloatArray, level: float) -> float:
    """Give the one-sided lower chi-square bound of the variance of values that differ."""
    return float(values.var(ddof=1)) * variance_factor(len(values) - 1, level)


def group_means(values: FloatArray, groups: IntArray) -> FloatArray:
    """Give the mean of each group, in the order of the group numbers."""
    _, member, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return np.bincount(member, weights=values) / sizes


def has_company(groups: IntArray) -> BoolArray:
    """Mark the values whose group has others: a group of one says nothing of how much it varies."""
    _, member, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    found: BoolArray = sizes[member] > 1
    return found


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The variance within each group and its degrees of freedom: slow or small groups may vary more than others."""

    variance: FloatArray
    df: FloatArray
    tells: BoolArray  # whether the variance is the group's own; the others share one

    def of_contrast(self, weights: FloatArray, sizes: IntArray) -> tuple[FloatArray, FloatArray]:
        """Give the standard error of weighted sums [..., groups] of group means, and its degrees of freedom.

        Welch (1947) and Satterthwaite (1946): no group's variance is taken for another's. What groups share counts
        for the groups that it comes from, so that no degree of freedom is used twice.
        """
        own = weights**2 / sizes
        borrowed = np.sum(own, axis=-1, where=~self.tells, keepdims=True) * self.df / self.df[self.tells].sum()
        parts = ((own + borrowed) * self.variance)[..., self.tells]
        total = parts.sum(axis=-1)
        return np.sqrt(total), total**2 / np.sum(parts**2 / self.df[self.tells], axis=-1)


def group_spread(values: FloatArray, groups: IntArray, silent: IntArray | None = None) -> Spread:
    """Give the variance within groups numbered from 0 without gaps, some of which have two values that differ.

    A group that cannot tell its own variance (one value, equal values, or one of `silent`) gets that of all others.
    """
    sizes = np.bincount(groups)
    residual = values - (np.bincount(groups, weights=values) / sizes)[groups]
    squares, df = np.bincount(groups, weights=residual**2), (sizes - 1).astype(np.float64)
    tells = squares > ROUNDING * float(values @ values)
    if silent is not None:
        tells[silent] = False
    pooled = float(squares[tells].sum() / df[tells].sum())
    return Spread(
        variance=np.where(tells, squares / np.maximum(df, 1), pooled),
        df=np.where(tells, df, df[tells].sum()),
        tells=tells,
    )


def variance_components(values: FloatArray, groups: IntArray) -> Components:
    """Split the variance of a grouped sample of at least two groups (unweighted means, exact when balanced).

    Groups weigh alike, in the variance within them too, whatever their sizes: it is the mean over those that have
    several values. Where these sizes differ it has Satterthwaite's degrees of freedom (1946): pooled by size, what a
    large quiet group says would hide a small loud one.
    """
    _, member, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    means = np.bincount(member, weights=values) / sizes
    several = sizes > 1
    df = sizes[several] - 1
    variances = np.bincount(member, weights=(values - means[member]) ** 2)[several] / df
    df_within = float(df.sum())
    if len(df) and np.ptp(df) and variances.any():
        df_within = float(variances.sum() ** 2 / np.sum(variances**2 / df))
    return Components(
        mean=float(means.mean()),
        of_means=float(means.var(ddof=1)),
        within=float(variances.mean()) if len(df) else math.nan,
        size=len(sizes) / float((1 / sizes).sum()),
        groups=len(means),
        df_within=df_within,
    )


def total_variance_upper(components: Components, level: float) -> float:
    """Give the one-sided upper bound of the variance of a single value (Graybill and Wang 1980)."""
    return components.total + _half_width(components, 1 - level)


def total_variance_lower(components: Components, level: float) -> float:
    """Give the one-sided lower bound of the variance of a single value (Graybill and Wang 1980)."""
    return max(components.total - _half_width(components, level), 0.0)


def total_variance_p(components: Components, limit: float) -> float:
    """Give the generalised p that the variance of a single value is above a limit (Tsui and Weerahandi 1989).

    Both mean squares over chi-square variables of their degrees of freedom stand for what they estimate; needs several
    values in some group.
    """
    between, within = (components.groups - 1) * components.of_means, components.df_within * components.within_part
    least = special.chdtrc(components.df_within, within / limit)  # beyond it, the part within is below the limit
    room = limit - within / special.chdtri(components.df_within, least * _SHARES)
    return float(least * special.chdtrc(components.groups - 1, between / room).mean())


def total_variance_interval(components: Components, level: float) -> Interval:
    """Give the variance of a single value with the two-sided limits of Graybill and Wang (1980)."""
    each = (1 + level) / 2
    return Interval(
        estimate=components.total,
        lo=total_variance_lower(components, each),
        hi=total_variance_upper(components, each),
    )


def _half_width(components: Components, probability: float) -> float:
    """Combine the distances to the chi-square limits of both levels, as independent errors combine."""
    between = (variance_factor(components.groups - 1, probability) - 1) * components.of_means
    if not components.df_within:
        return abs(between)
    within = (variance_factor(components.df_within, probability) - 1) * components.within_part
    return math.hypot(between, within)


def prediction_half_width(errors: FloatArray, groups: IntArray, level: float, *, of_a_mean: bool) -> float:
    """Give the half width of the t interval for one value of a further group, from held-out errors.

    `errors` are value minus prediction, each predicted without its group, from at least two groups. Where the
    prediction is (about) a mean, a held-out error is k / (k - 1) times the deviation from the mean of all k groups;
    `of_a_mean` undoes this, and makes the interval the textbook one, mean +- t s sqrt(1 + 1/k). With several values to
    a group, the further value varies as the group means do, plus what a single value varies more than a mean.
    """
    parts, means = variance_components(errors, groups), group_means(errors, groups)
    k = parts.groups
    between = float(means @ means) / (k - 1)  # about 0, not about their mean: a bias counts as an error
    if of_a_mean:
        between *= ((k - 1) / k) ** 2 * (1 + 1 / k)
    return t_quantile(level, k - 1) * math.sqrt(between + parts.within_part)


def jackknife_plus(predictions: FloatArray, errors: FloatArray, level: float, groups: IntArray) -> tuple[float, float]:
    """Give the jackknife+ limits of Barber, Candes, Ramdas and Tibshirani (2021), infinite where n is too small.

    `predictions[j]` is the prediction for the new value, `errors[j]` the absolute error for value j, both fitted
    without the group of j. The new value is one of a further group: each group has the same weight, and so has the new
    one (Dunn, Wasserman and Ramdas 2023). Values that are the sample are groups of one. The guarantee is 2 level - 1
    for exchangeable values or groups, the usual coverage about `level`.
    """
    _, member, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    weights = 1 / (sizes[member] * (len(sizes) + 1))
    return -upper_limit(errors - predictions, weights, level), upper_limit(predictions + errors, weights, level)


def upper_limit(values: FloatArray, weights: FloatArray, level: float) -> float:
    """Give the smallest value that has at least the weight `level` up to it, infinity where all together have less."""
    order = np.argsort(values)
    place = int(np.searchsorted(np.cumsum(weights[order]), level - 1e-9))  # 4 / 5 must be 0.8, whatever the rounding
    return float(values[order[place]]) if place < len(values) else math.inf


def conformal_minimum(level: float) -> int:
    """Give the smallest sample with finite jackknife+ limits: 4 at 80 %, 9 at 90 %, 19 at 95 %."""
    return math.ceil(level / (1 - level) - 1e-9)


def clopper_pearson(count: float, n: float, level: float) -> Interval:
    """Give a share with its exact interval; [0, 1] and no estimate when nothing was observed.

    A count may be broken, the sum of shares of n units, and so may n: the quantiles of the beta distribution go on
    between counts (Korn and Graubard 1998), and such a mean varies less than one of n yes and no.
    """
    if n == 0:
        return Interval(lo=0.0, hi=1.0)
    tail = (1 - level) / 2
    lo = float(special.betaincinv(count, n - count + 1, tail)) if count else 0.0
    hi = float(special.betaincinv(count + 1, n - count, 1 - tail)) if count < n else 1.0
    return Interval(estimate=count / n, lo=lo, hi=hi)


def grouped_share(hits: BoolArray, groups: IntArray, level: float, weights: FloatArray | None = None) -> Interval:
    """Give the share of hits with the exact interval of as many groups of one size as say as much; below 3, of all.

    What the hits of one group share counts once, and a group counts by its size, as in `grouped_t_interval`: taken for
    ten groups, one of ten values and nine of one would leave a share of .2 outside of 95 % in 20 %. Values may have
    `weights`; those of no weight take no part.
    """
    each = np.ones(len(hits)) if weights is None else weights
    if not each.any():
        return clopper_pearson(0, 0, level)
    member = np.unique(groups[each > 0], return_inverse=True)[1]
    totals = np.bincount(member, weights=each[each > 0])
    n = effective_size(totals if len(totals) >= FEW_GROUPS else each)
    return clopper_pearson(float(each[hits].sum() / each.sum()) * n, n, level)


def effective_size(weights: NDArray[Any]) -> float:
    """Give how many values of one weight each tell as much as those of these weights (Kish 1965)."""
    return float(weights.sum() ** 2 / (weights @ weights))
