"""Is a difference of logarithms small enough to call it none? Two one-sided tests, and what they cannot say.

A large p of a t-test does not show that two things are equal: it also comes from having looked at too few. Equality
has to be shown: a difference counts as none if both one-sided tests put it within a margin fixed beforehand.
Distribution functions come from `scipy.special`, which loads in a fraction of the time of `scipy.stats`.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy import special

from ncdiag.domain.levels import alpha_of
from ncdiag.domain.statistics import ROUNDING, FloatArray, IntArray, group_spread, is_constant, t_quantile, t_test_p

MARGIN = math.log(1.08)  # the 8 % of the abstract of arXiv 2604.00230, symmetric on logs
ALPHA = 0.05
_GOOD_POWER = 0.8
_SAME = 1e-9  # logs of measured norms are known to 7 digits; differences that vary less are equal
_MOST_PAIRS = 1000

Outcome = Literal["equivalent", "equivalent but different", "different", "inconclusive", "not testable"]


@dataclass(frozen=True, kw_only=True)
class Equivalence:
    """A mean difference of logs, the test that it lies within +-`MARGIN`, and the test that it is not 0.

    `p` is the larger of the two one-sided p-values (Schuirmann 1987); `lo` and `hi` limit the difference at 1 - 2 alpha
    (90 % at the usual alpha of 5 %), so that they lie within the margin exactly when p < alpha. `p_difference` is the
    two-sided p of Student's t, and `difference_lo`, `difference_hi` its interval at 1 - alpha; `p_beyond` is that of
    the test that the difference is larger than the margin, either way. What is not defined is NaN. `status` is ok,
    too_few or zero_variance.
    """

    estimate: float
    n: int
    sd: float = math.nan
    p: float = math.nan
    lo: float = math.nan
    hi: float = math.nan
    p_difference: float = math.nan
    difference_lo: float = math.nan
    difference_hi: float = math.nan
    p_beyond: float = math.nan
    alpha: float = ALPHA
    status: Literal["ok", "too_few", "zero_variance"] = "ok"

    @property
    def outcome(self) -> Outcome:
        """Say what was shown at `alpha`; a small difference can be both real and within the margin."""
        if self.status != "ok":
            return "not testable"
        equivalent, different = self.p <= self.alpha, self.p_difference <= self.alpha
        if equivalent:
            return "equivalent but different" if different else "equivalent"
        return "different" if different else "inconclusive"


def paired_equivalence(differences: FloatArray, alpha: float = ALPHA) -> Equivalence:
    """Test whether the mean of paired differences lies within +-`MARGIN`; at least one difference."""
    n, mean = len(differences), float(differences.mean())
    if n < 2:
        return Equivalence(estimate=mean, n=n, status="too_few")
    if is_constant(differences) or float(differences.std()) < _SAME:
        return Equivalence(estimate=mean, n=n, sd=0.0, status="zero_variance")
    sd = float(differences.std(ddof=1))
    return _tested(mean, sd / math.sqrt(n), n - 1, n, sd, alpha)


def each_equivalence(differences: FloatArray, group: IntArray, alpha: float = ALPHA) -> list[Equivalence]:
    """Test the mean difference of each group, of which there are several, numbered from 0 without gaps.

    Each has its own variance. A single difference is given that of the others to be shown within the margin, and is
    never shown to be beyond it: it does not say how much its like vary.
    """
    sizes = np.bincount(group)
    means = np.bincount(group, weights=differences) / sizes
    residual = differences - means[group]
    if sizes.max() < 2 or float(np.abs(residual).max()) < _SAME:
        status: Literal["too_few", "zero_variance"] = "too_few" if sizes.max() < 2 else "zero_variance"
        return [
            Equivalence(estimate=float(mean), n=int(n), status=status) for mean, n in zip(means, sizes, strict=True)
        ]
    errors, dfs = group_spread(differences, group).of_contrast(np.eye(len(sizes)), sizes)
    found = [
        _tested(float(mean), float(se), float(df), int(n), float(se) * math.sqrt(n), alpha)
        for mean, se, df, n in zip(means, errors, dfs, sizes, strict=True)
    ]
    return [test if test.n > 1 else replace(test, p_beyond=math.nan) for test in found]


def pooled_t_test(first: FloatArray, second: FloatArray) -> float:
    """Give the two-sided p of Student's t-test with equal variances, the published test; NaN where it is undefined."""
    n = len(first) + len(second)
    if min(len(first), len(second)) < 2:
        return math.nan
    residuals = np.concatenate([first - first.mean(), second - second.mean()])
    squares = float(residuals @ residuals)
    if squares <= ROUNDING * float(first @ first + second @ second):
        return math.nan
    se = math.sqrt(squares / (n - 2) * (1 / len(first) + 1 / len(second)))
    return t_test_p(float(first.mean() - second.mean()) / se, n - 2)


def equality_level(level: float) -> float:
    """Give the confidence of the interval that goes with tests of equality: 90 % at 95 %, none at 50 %."""
    return 1 - 2 * alpha_of(level)


@lru_cache(maxsize=256)
def pairs_needed(sd: float, alpha: float) -> int | None:
    """Give how many pairs whose differences have an sd > 0 show equivalence with 80 % power if there is none.

    None beyond 1000 pairs.
    """
    return next((n for n in range(2, _MOST_PAIRS + 1) if _power(n, sd, alpha) >= _GOOD_POWER), None)


def _tested(mean: float, se: float, df: float, n: int, sd: float, alpha: float) -> Equivalence:
    p = max(float(special.stdtr(df, -(mean + MARGIN) / se)), float(special.stdtr(df, (mean - MARGIN) / se)))
    half = float(special.stdtrit(df, 1 - alpha)) * se
    wide = float(special.stdtrit(df, 1 - alpha / 2)) * se
    return Equivalence(
        estimate=mean,
        n=n,
        sd=sd,
        p=p,
        lo=mean - half,
        hi=mean + half,
        p_difference=t_test_p(mean / se, df),
        difference_lo=mean - wide,
        difference_hi=mean + wide,
        alpha=alpha,
        p_beyond=min(1.0, 2 * min(float(special.stdtr(df, (side * mean + MARGIN) / se)) for side in (1, -1))),
    )


def _power(n: int, sd: float, alpha: float) -> float:
    """Integrate the chance that |mean| < `MARGIN` - t s / sqrt(n) over the distribution of the sample sd s."""
    shares = (np.arange(400) + 0.5) / 400
    s = sd * np.sqrt(special.chdtri(n - 1, 1 - shares) / (n - 1))
    room = MARGIN - t_quantile(1 - 2 * alpha, n - 1) * s / math.sqrt(n)
    z = np.maximum(room, 0.0) / (sd / math.sqrt(n))
    return float(np.mean(2 * special.ndtr(z) - 1))
