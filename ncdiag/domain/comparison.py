"""Which of two readings of the same runs varies less, and whether two readings go together: tests for small samples."""

import math
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import permutations
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from ncdiag.domain.statistics import ROUNDING, FloatArray, is_constant

MIN_UNITS = 4  # below, no p-value can fall below .05: 1 / 3! = .167
_RANKS_FROM = 6  # from here on ranks, which an odd run cannot rule; below they have too few values
_ENUMERATED = 8  # 8! = 40,320 pairings are enumerated, of more units a sample is drawn
_DRAWN = 100  # of yet more units, Student's t says the same
_DRAWS = 20_000
_SAME = 1e-12


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A correlation `r` over `n` units with its one-sided p; `p_min` is the smallest p that n units can reach.

    `p_other` is the p of the other side. `r` and both are NaN with a `status` other than ok: too_few units, or
    zero_variance.
    """

    n: int
    p_min: float
    r: float = math.nan
    p: float = math.nan
    p_other: float = math.nan
    status: Literal["ok", "too_few", "zero_variance"] = "ok"


def smallest_pairing_p(n: int) -> float:
    """Give the smallest one-sided p of a test that pairs n units, 1 / n!."""
    return 1 / math.factorial(n) if n < 100 else 0.0


def less_variable(first: FloatArray, second: FloatArray) -> Comparison:
    """Test whether `first` varies less than `second` over the same units (Pitman 1939, Morgan 1939), one-sided.

    The correlation of sum and difference has the sign of the difference of the variances: -1 where `first` is `second`
    without its spread. Pearson's correlation below 6 units and Spearman's from 6 on. Up to 8 ranks every pairing is
    counted; elsewhere p is that of Student's t, but never below 1 / n!, which is what a permutation test could reach.
    """
    n = len(first)
    p_min = smallest_pairing_p(n)
    if n < MIN_UNITS:
        return Comparison(n=n, p_min=p_min, status="too_few")
    both = np.stack([first - first.mean(), second - second.mean()])
    total, difference = both[0] + both[1], both[0] - both[1]
    scale = float(first @ first + second @ second)
    if any(float(part @ part) <= ROUNDING * scale for part in (total, difference)):
        return Comparison(n=n, p_min=p_min, status="zero_variance")
    if n >= _RANKS_FROM:
        total, difference = ranks(_settled(total)), ranks(_settled(difference))
    r = correlation(total, difference)
    if math.isnan(r):
        return Comparison(n=n, p_min=p_min, status="zero_variance")
    if _RANKS_FROM <= n <= _ENUMERATED:
        above, below = _pairing_p(total, difference)
        return Comparison(n=n, p_min=p_min, r=r, p=below, p_other=above)
    below, above = (max(_student_p(sign * r, n), p_min) for sign in (-1, 1))
    return Comparison(n=n, p_min=p_min, r=r, p=below, p_other=above)


def associated(first: FloatArray, second: FloatArray) -> Comparison:
    """Test whether two readings rise together over the same units: Spearman's r against all pairings, one-sided.

    Up to 8 units every pairing is counted; up to 100, 20,000 are drawn from a fixed seed, and p counts the observed one
    with them; beyond that p is that of Student's t.
    """
    n = len(first)
    p_min = smallest_pairing_p(n)
    if n < MIN_UNITS:
        return Comparison(n=n, p_min=p_min, status="too_few")
    if is_constant(first) or is_constant(second):
        return Comparison(n=n, p_min=p_min, status="zero_variance")
    a, b = ranks(first), ranks(second)
    r = correlation(a, b)
    if n > _DRAWN:
        return Comparison(n=n, p_min=p_min, r=r, p=_student_p(r, n), p_other=_student_p(-r, n))
    if n <= _ENUMERATED:
        above, below = _pairing_p(a, b)
        return Comparison(n=n, p_min=p_min, r=r, p=above, p_other=below)
    above, below = ((count + 1) / (_DRAWS + 1) for count in _count_beyond(a, b, _drawn_orders(n)))
    return Comparison(n=n, p_min=1 / (_DRAWS + 1), r=r, p=above, p_other=below)


def _pairing_p(a: FloatArray, b: FloatArray) -> tuple[float, float]:
    """Give the shares of all pairings in which two readings go together at least, and at most, as they do."""
    sums = _all_sums(tuple(sorted(a.tolist())), tuple(sorted(b.tolist())))
    observed = float((a - a.mean()) @ b)
    same = _SAME * abs(observed)
    above = len(sums) - int(np.searchsorted(sums, observed - same, "left"))
    return above / len(sums), int(np.searchsorted(sums, observed + same, "right")) / len(sums)


def _count_beyond(a: FloatArray, b: FloatArray, orders: NDArray[np.uint8]) -> tuple[int, int]:
    """Count the orders of `b` in which it goes with `a` at least as it does now, and at most so."""
    centred = a - a.mean()
    observed = float(centred @ b)
    found, same = b[orders] @ centred, _SAME * abs(observed)
    return int(np.count_nonzero(found >= observed - same)), int(np.count_nonzero(found <= observed + same))


@lru_cache(maxsize=64)  # ranks without equals are the same for all readings of as many units
def _all_sums(a: tuple[float, ...], b: tuple[float, ...]) -> FloatArray:
    """Give the sums of products of `a`, centred, with every order of `b`, the smallest first; shape (n!,)."""
    centred = np.array(a) - np.mean(a)
    return np.sort(np.array(b)[_all_orders(len(b))] @ centred)


@cache
def _all_orders(n: int) -> NDArray[np.uint8]:
    """Give every order of n units; shape (n!, n)."""
    return np.array(list(permutations(range(n))), dtype=np.uint8)


@cache
def _drawn_orders(n: int) -> NDArray[np.uint8]:
    """Give random orders of n units, the same each time; shape (draws, n)."""
    return np.random.default_rng(0).permuted(np.tile(np.arange(n, dtype=np.uint8), (_DRAWS, 1)), axis=1)


def _student_p(r: float, n: int) -> float:
    """Give the one-sided p of a correlation above 0, by Student's t."""
    return float(special.stdtr(n - 2, -r * math.sqrt((n - 2) / max(1 - r * r, 1e-300))))


def _settled(values: FloatArray) -> FloatArray:
    """Let values be equal that differ by rounding alone: their ranks would be random."""
    found: FloatArray = np.round(values / np.abs(values).max(), 9)
    return found


def sign_test(positive: int, n: int) -> float:
    """Give the one-sided p of `positive` of n signs, P(X >= positive) at one half; NaN without signs."""
    return float(special.bdtrc(positive - 1, n, 0.5)) if positive and n else (1.0 if n else math.nan)


def correlation(first: FloatArray, second: FloatArray) -> float:
    """Give Pearson's correlation, NaN where one side does not vary."""
    a, b = first - first.mean(), second - second.mean()
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return min(max(float(a @ b) / scale, -1.0), 1.0) if scale > 0 else math.nan


def ranks(values: FloatArray) -> FloatArray:
    """Give the ranks from 1, the mean rank to equals."""
    _, member, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    result: FloatArray = (last - (counts - 1) / 2)[member]
    return result
