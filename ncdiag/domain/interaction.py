"""Whether two factors add up: the interaction in a grid of cells, by nested least squares.

The additive model gives every row and every column a number; the full model gives every cell one. What the full model
explains beyond the additive one is the interaction. Sizes of cells may differ and cells may be empty: degrees of
freedom come from ranks. On logarithms additive means multiplicative.
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize, special

from ncdiag.domain.permutations import permutations_for
from ncdiag.domain.result import Status
from ncdiag.domain.statistics import ROUNDING, FloatArray, IntArray, Interval, group_spread, t_comparison

EFFECT_LEVEL = 0.9  # the usual confidence of an eta squared: its lower limit then agrees with a test at 5 %
_CELLS = 4_000_000  # numbers held at once
_LARGEST_F = 1e6  # beyond it the noncentrality grows as F does, and scipy's distribution comes to its end


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The cells that hold values: `member` gives each value's cell, `row` and `column` say where each cell lies."""

    member: IntArray
    row: IntArray
    column: IntArray
    sizes: IntArray

    @property
    def is_complete(self) -> bool:
        """Whether every row meets every column."""
        return len(self.sizes) == len(np.unique(self.row)) * len(np.unique(self.column))


@dataclass(frozen=True, kw_only=True)
class Interaction:
    """The interaction of two factors: F = (`ss` / df1) / (`ss_error` / df2), with its p and its size.

    `eta2p` is ss / (ss + ss_error), with the 90 % interval of the noncentral F; `omega2p` the same without the share
    that chance explains. `p_robust` lets every cell have its own variance (Johansen 1980; in a 2 x 2 grid Welch and
    Satterthwaite's contrast). `p_permutation` is from `permutations` permutations of the residuals of the
    additive model. Undefined figures are NaN; `status` is ok, not_testable, zero_variance or exactly_additive.
    """

    statistic: float = math.nan
    df1: int = 0
    df2: int = 0
    p: float = math.nan
    p_robust: float = math.nan
    p_permutation: float = math.nan
    permutations: int = 0
    ss: float = math.nan
    ss_error: float = math.nan
    eta2p: Interval = field(default_factory=Interval)
    omega2p: float = math.nan
    status: Status = "ok"


def grid_of(row: IntArray, column: IntArray) -> Grid:
    """Find the cells that the rows and columns of the values make."""
    cells, member, sizes = np.unique(np.stack([row, column], 1), axis=0, return_inverse=True, return_counts=True)
    return Grid(member=member.reshape(-1), row=cells[:, 0], column=cells[:, 1], sizes=sizes)


def cell_means(values: FloatArray, grid: Grid) -> FloatArray:
    """Give the mean of each cell."""
    return np.bincount(grid.member, weights=values) / grid.sizes


def mean_table(values: FloatArray, grid: Grid) -> FloatArray:
    """Give the cell means of a grid without gaps as a table [rows, columns]."""
    return cell_means(values, grid).reshape(len(np.unique(grid.row)), -1)


def estimate_interaction(
    values: FloatArray, row: IntArray, column: IntArray, generator: np.random.Generator | None = None
) -> Interaction:
    """Give the interaction of two factors; with a generator, its permutation p as well."""
    grid = grid_of(row, column)
    additive = _orthonormal(_design(grid)[grid.member])
    residual = values - additive @ (additive.T @ values)
    within = values - cell_means(values, grid)[grid.member]
    ss_error = float(within @ within)
    ss = max(float(residual @ residual) - ss_error, 0.0)
    df1, df2 = len(grid.sizes) - additive.shape[1], len(values) - len(grid.sizes)
    found = Interaction(df1=df1, df2=df2, ss=ss, ss_error=ss_error)
    rounding = ROUNDING * float(values @ values)
    if df1 < 1 or df2 < 1:
        return replace(found, status="not_testable")
    if ss_error <= rounding:
        return replace(found, status="exactly_additive" if ss <= rounding else "zero_variance")
    statistic = (ss / df1) / (ss_error / df2)
    n = len(values)
    found = replace(
        found,
        statistic=statistic,
        p=float(special.fdtrc(df1, df2, statistic)),
        p_robust=_robust_p(values, grid),
        eta2p=eta_squared(statistic, df1, df2, n),
        omega2p=max(0.0, df1 * (statistic - 1) / (df1 * (statistic - 1) + n)),
    )
    if generator is None:
        return found
    rounds = permutations_for(n)
    p_permutation = _permutation_p(residual, additive, grid, statistic, rounds, generator)
    return replace(found, p_permutation=p_permutation, permutations=rounds)


def eta_squared(statistic: float, df1: int, df2: int, n: int) -> Interval:
    """Give partial eta squared with its limits at `EFFECT_LEVEL`.

    They are lambda / (lambda + n) for the limits lambda of the noncentrality of F.
    """
    tail = (1 - EFFECT_LEVEL) / 2
    lo, hi = (_noncentrality(statistic, df1, df2, share) for share in (1 - tail, tail))
    ratio = df1 * statistic
    return Interval(estimate=ratio / (ratio + df2), lo=lo / (lo + n), hi=hi / (hi + n))


def contrast(values: FloatArray, grid: Grid, weights: FloatArray, level: float) -> tuple[Interval, float]:
    """Give a weighted sum of cell means with its t interval (Welch), and its two-sided p.

    Both are NaN where there is no variance within cells, or only one value in each.
    """
    means = cell_means(values, grid)
    within = values - means[grid.member]
    estimate = float(weights @ means)
    if len(values) == len(means) or float(within @ within) <= ROUNDING * float(values @ values):
        return Interval(estimate=estimate), math.nan
    se, df = map(float, group_spread(values, grid.member).of_contrast(weights, grid.sizes))
    return t_comparison(estimate, se, df, level)


def _design(grid: Grid) -> FloatArray:
    """Give the additive model of the cells, a column per row and per column of the grid."""
    parts = [np.equal.outer(places, np.unique(places)) for places in (grid.row, grid.column)]
    return np.concatenate(parts, axis=1).astype(np.float64)


def _orthonormal(design: FloatArray) -> FloatArray:
    """Give an orthonormal basis of the columns: as many as the rank."""
    basis: FloatArray = linalg.orth(design, rcond=1e-10)
    return basis


def _robust_p(values: FloatArray, grid: Grid) -> float:
    """Give the p of the interaction when cells may differ in variance; needs two values in each cell.

    Johansen's (1980) approximate F of the interaction contrasts, each cell with its own variance; in a 2 x 2 grid it is
    Welch and Satterthwaite's t.
    """
    if grid.sizes.min() < 2:
        return math.nan
    contrasts = linalg.null_space(_design(grid).T).T
    spread = group_spread(values, grid.member)
    variance = spread.variance / grid.sizes
    observed = contrasts @ cell_means(values, grid)
    inverse = np.linalg.inv((contrasts * variance) @ contrasts.T)
    share = variance * np.einsum("ij,ik,kj->j", contrasts, inverse, contrasts)  # of its cell in the statistic's noise
    r, noise = len(contrasts), float(np.sum(share**2 / spread.df))
    statistic = float(observed @ inverse @ observed) / (r + 2 * noise - 6 * noise / (r + 2))
    return float(special.fdtrc(r, r * (r + 2) / (3 * noise), statistic))


def _permutation_p(
    residual: FloatArray,
    additive: FloatArray,
    grid: Grid,
    statistic: float,
    rounds: int,
    generator: np.random.Generator,
) -> float:
    """Permute the residuals of the additive model (ter Braak 1992), which keeps rows and columns as they are.

    The fitted values lie in both models, so only the permuted residuals decide.
    """
    n, df1 = len(residual), len(grid.sizes) - additive.shape[1]
    full: NDArray[np.float64] = np.equal.outer(grid.member, np.arange(len(grid.sizes))) / np.sqrt(grid.sizes)
    total, df2 = float(residual @ residual), n - len(grid.sizes)
    chunk = max(1, _CELLS // n)
    reached = 0
    for at in range(0, rounds, chunk):
        shuffled = generator.permuted(np.tile(residual, (min(chunk, rounds - at), 1)), axis=1)
        of_cells, of_lines = (np.sum((shuffled @ basis) ** 2, axis=1) for basis in (full, additive))
        error = np.maximum(total - of_cells, 0.0)
        reached += int(np.sum((of_cells - of_lines) * df2 >= statistic * (1 - 1e-9) * df1 * error))
    return (1 + reached) / (1 + rounds)


def _noncentrality(statistic: float, df1: int, df2: int, share: float) -> float:
    """Give the noncentrality at which a share of all F lies below the observed one, 0 where no noncentrality does."""
    from scipy import stats  # takes longer to load than most questions to answer

    if statistic > _LARGEST_F:
        return statistic / _LARGEST_F * _noncentrality(_LARGEST_F, df1, df2, share)

    def excess(noncentrality: float) -> float:
        return float(stats.ncf.cdf(statistic, df1, df2, noncentrality)) - share

    if special.fdtr(df1, df2, statistic) <= share:
        return 0.0
    high = 2 * (df1 * statistic + 10)
    while excess(high) > 0:
        high *= 2
    return float(optimize.brentq(excess, 0.0, high))
