"""What a grid of cells says about two factors: whether they add, multiply, or neither.

Additivity is a statement about a scale: factors that multiply do not add, and nothing is wrong with either. Only a
crossover, where the order of two rows differs between columns, cannot be removed by any monotone scale.
"""

import math
from dataclasses import dataclass
from itertools import combinations, product
from typing import Literal

import numpy as np
from scipy import optimize, special

from ncdiag.domain.free_shape import free_shape
from ncdiag.domain.interaction import Grid, Interaction, contrast, estimate_interaction, grid_of, mean_table
from ncdiag.domain.permutations import generator_of
from ncdiag.domain.result import Status
from ncdiag.domain.statistics import ROUNDING, FloatArray, IntArray, Interval, exponential

GridVerdict = Literal["additive", "multiplicative", "removable", "crossover", "neither", "not testable"]

_POWERS = (-6.0, 6.0)  # powers of a norm beyond these are no scale that anybody would read
_TRIED = 25


@dataclass(frozen=True, kw_only=True)
class Tukey:
    """Tukey's one degree of freedom for non-additivity, in a table with one value per cell.

    `ss` is the part of `ss_residual` (what the additive model leaves) that is a product of row and column effects, `d`
    its coefficient, `power` the power of the values that would remove it. Figures that are not defined are NaN.
    """

    statistic: float = math.nan
    df2: int = 0
    p: float = math.nan
    ss: float = math.nan
    ss_residual: float = math.nan
    d: float = math.nan
    power: float = math.nan
    status: Status = "ok"


@dataclass(frozen=True, kw_only=True)
class GridJudgement:
    """The verdict on a grid; `power` removes the interaction with the p `p_power`, `crossings` are pairs of contrasts.

    A crossing is (rows, columns, kind): the effect of the two `rows` changes its sign between the two `columns`, or,
    where `kind` is "columns", that of the columns between the rows. `reversals` counts the pairs of lines whose means
    are in another order in some other line, be it by noise.
    """

    verdict: GridVerdict
    power: float = math.nan
    p_power: float = math.nan
    crossings: tuple[tuple[tuple[int, int], tuple[int, int], str], ...] = ()
    reversals: int = 0


def tukey_one_df(table: FloatArray) -> Tukey:
    """Give Tukey's test (1949) of a table [a, b] without gaps; it sees only product-shaped interaction.

    A 2 x 2 table has no degree of freedom left (not_testable); without any residual it is exactly_additive.
    """
    mean = float(table.mean())
    rows, columns = table.mean(1) - mean, table.mean(0) - mean
    residual = table - mean - rows[:, None] - columns
    ss_residual = float(np.sum(residual**2))
    size = float(rows @ rows) * float(columns @ columns)
    product_sum = float(rows @ table @ columns)
    df2 = (len(rows) - 1) * (len(columns) - 1) - 1
    rounding = ROUNDING * float(np.sum(table**2))
    if ss_residual <= rounding:
        return Tukey(df2=df2, ss=0.0, ss_residual=0.0, d=0.0, power=1.0, status="exactly_additive")
    if size <= rounding**2:
        return Tukey(df2=df2, ss_residual=ss_residual, status="not_testable")
    d, ss = product_sum / size, product_sum**2 / size
    power = 1 - d * mean
    if df2 < 1:
        return Tukey(df2=df2, ss=ss, ss_residual=ss_residual, d=d, power=power, status="not_testable")
    rest = ss_residual - ss
    if rest <= rounding:  # the product explains all there is: F is infinite, and no test
        return Tukey(df2=df2, ss=ss, ss_residual=ss_residual, d=d, power=power, status="zero_variance")
    statistic = ss / (rest / df2)
    p = float(special.fdtrc(1, df2, statistic))
    return Tukey(statistic=statistic, df2=df2, p=p, ss=ss, ss_residual=ss_residual, d=d, power=power)


def ratio_of_ratios(
    logs: FloatArray, grid: Grid, rows: tuple[int, int], columns: tuple[int, int], level: float
) -> Interval:
    """Give (second row / first row in the first column) / (the same in the second column), with its t interval.

    `logs` are logarithms; each cell has its own variance (Welch). A grid without one of the four cells has no estimate.
    """
    weights = _signs(grid, rows, columns)
    if weights is None:
        return Interval()
    return exponential(contrast(logs, grid, weights, level)[0])


def judge(
    values: FloatArray,
    row: IntArray,
    column: IntArray,
    raw: Interaction | Tukey,
    log: Interaction | Tukey,
    alpha: float,
) -> GridJudgement:
    """Give the verdict on positive values: raw is tested first, logarithms only if raw is rejected.

    This order needs no correction: log is looked at only after raw has been rejected. The p that lets the cells differ
    in variance decides where there is one. "additive" and "multiplicative" mean that nothing speaks against it.
    """
    if raw.status == "exactly_additive":
        return GridJudgement(verdict="additive")
    if log.status == "exactly_additive":
        return GridJudgement(verdict="multiplicative")
    p_raw, p_log = deciding_p(raw), deciding_p(log)
    if math.isnan(p_raw) or math.isnan(p_log):
        return GridJudgement(verdict="not testable")
    if p_raw > alpha:
        return GridJudgement(verdict="additive")
    if p_log > alpha:
        return GridJudgement(verdict="multiplicative")
    crossings = list_crossings(np.log(values), row, column, alpha)
    if crossings:
        return GridJudgement(verdict="crossover", crossings=crossings)
    power, p_power = removing_power(values, row, column, alpha)
    if isinstance(raw, Tukey) and p_power > alpha:  # which is all but certain at the power that Tukey's test suggests
        p_power = min(p_power, _p_of_any_shape(values, grid_of(row, column), power))
    return GridJudgement(
        verdict="removable" if p_power > alpha else "neither",
        power=power,
        p_power=p_power,
        reversals=_count_reversals(values, grid_of(row, column)),
    )


def _p_of_any_shape(values: FloatArray, grid: Grid, power: float) -> float:
    """Give the p of an interaction of any shape that a power leaves in a table; 1 where there is no such test."""
    found = free_shape(mean_table(_to_power(values, power), grid), generator_of(values))
    return min([p for p in (found.p_boik, found.p_largest) if not math.isnan(p)], default=1.0)


def _count_reversals(values: FloatArray, grid: Grid) -> int:
    """Count the pairs of rows, and of columns, whose cells are not everywhere in one order."""
    if not grid.is_complete:
        return 0
    table = mean_table(np.log(values), grid)
    return sum(
        bool((lines[a] > lines[b]).any() and (lines[a] < lines[b]).any())
        for lines in (table, table.T)
        for a, b in combinations(range(len(lines)), 2)
    )


def list_crossings(
    logs: FloatArray, row: IntArray, column: IntArray, alpha: float
) -> tuple[tuple[tuple[int, int], tuple[int, int], str], ...]:
    """Give the effects that change their sign, each of the two with an interval that excludes no effect.

    The intervals are those of Gail and Simon's (1985) question, corrected for the number of 2 x 2 parts of the grid.
    """
    grid = grid_of(row, column)
    parts = list(product(combinations(np.unique(row).tolist(), 2), combinations(np.unique(column).tolist(), 2)))
    level = 1 - alpha / max(len(parts), 1)
    found = []
    for rows, columns in parts:
        if _signs(grid, rows, columns) is None:
            continue
        for kind in ("rows", "columns"):
            lines, others = (rows, columns) if kind == "rows" else (columns, rows)
            first, second = (_difference(logs, grid, lines, other, kind, level) for other in others)
            if first * second < 0:
                found.append((rows, columns, kind))
    return tuple(found)


def removing_power(values: FloatArray, row: IntArray, column: IntArray, alpha: float) -> tuple[float, float]:
    """Give the power of the values on which they add best, and the p of the interaction there.

    Tukey's suggestion is tried first and kept if the interaction is no longer significant; else the power with the
    largest p is found.
    """
    grid = grid_of(row, column)
    if grid.is_complete:
        power = tukey_one_df(mean_table(values, grid)).power
        p = _p_at(values, row, column, power)
        if p > alpha:
            return power, p
    tried = np.linspace(*_POWERS, _TRIED)  # p has flat parts and several hills
    at = int(np.argmax([_p_at(values, row, column, power) for power in tried.tolist()]))
    around = (float(tried[max(at - 1, 0)]), float(tried[min(at + 1, _TRIED - 1)]))
    best = optimize.minimize_scalar(lambda power: -_p_at(values, row, column, power), bounds=around, method="bounded")
    return float(best.x), _p_at(values, row, column, float(best.x))


def _p_at(values: FloatArray, row: IntArray, column: IntArray, power: float) -> float:
    if not abs(power) <= _POWERS[1]:
        return 0.0
    changed = _to_power(values, power)
    found, grid = estimate_interaction(changed, row, column), grid_of(row, column)
    if found.df2 < 1 and grid.is_complete:
        p = tukey_one_df(mean_table(changed, grid)).p
        return 0.0 if math.isnan(p) else p
    return deciding_p(found) if found.status == "ok" else 0.0


def _to_power(values: FloatArray, power: float) -> FloatArray:
    """Give powers of positive values over their geometric mean, of which the logarithm is the zeroth."""
    scaled = values / np.exp(np.log(values).mean())
    changed: FloatArray = np.log(scaled) if abs(power) < 1e-6 else scaled**power
    return changed


def deciding_p(found: Interaction | Tukey) -> float:
    """Give the p that decides: the one that lets cells differ in variance where there is one, as measured cells do."""
    if isinstance(found, Interaction) and not math.isnan(found.p_robust):
        return found.p_robust
    return found.p


def _signs(grid: Grid, rows: tuple[int, int], columns: tuple[int, int]) -> FloatArray | None:
    """Give the weights of the four cells of (second - first row) in the first minus in the second column."""
    of_row = np.select([grid.row == rows[0], grid.row == rows[1]], [-1.0, 1.0], 0.0)
    of_column = np.select([grid.column == columns[0], grid.column == columns[1]], [1.0, -1.0], 0.0)
    weights = of_row * of_column
    return weights if np.count_nonzero(weights) == 4 else None


def _difference(
    logs: FloatArray, grid: Grid, lines: tuple[int, int], other: int, kind: str, level: float
) -> Literal[-1, 0, 1]:
    """Give the sign of the difference between two lines of the grid within one other line, 0 where it is not clear."""
    along, across = (grid.row, grid.column) if kind == "rows" else (grid.column, grid.row)
    weights = np.select([along == lines[0], along == lines[1]], [-1.0, 1.0], 0.0) * (across == other)
    found, _ = contrast(logs, grid, weights, level)
    return 1 if found.lo > 0 else -1 if found.hi < 0 else 0
