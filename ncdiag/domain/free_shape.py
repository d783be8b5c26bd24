"""Interaction of any shape in a table with one value per cell: whether the additive model leaves more than noise.

Noise has no direction: the singular values of the residuals differ by chance alone. An interaction has one. Two
classical statistics of the squared singular values look for it, and need no shape to be named beforehand.
"""

import math
from dataclasses import dataclass

import numpy as np

from ncdiag.domain.statistics import ROUNDING, BoolArray, FloatArray

_NULL_TABLES = 99_999


@dataclass(frozen=True, kw_only=True)
class FreeShape:
    """The squared singular values l of the residuals [a, b], with q = min(a, b) - 1 that chance leaves above 0.

    `boik` is (sum l)^2 / (q sum l^2), Boik's (1993) locally best invariant statistic: 1 without a direction, 1/q where
    one is all there is; `p_boik` that it is as small. `largest` is max(l) / sum l, the likelihood ratio of Johnson and
    Graybill (1972) for an interaction that is one product of a pattern per row and one per column; `p_largest` that it
    is as large. With q = 2 both order tables alike. NaN where q is 1, or where the table adds exactly.
    """

    boik: float = math.nan
    p_boik: float = math.nan
    largest: float = math.nan
    p_largest: float = math.nan


def free_shape(table: FloatArray, generator: np.random.Generator) -> FreeShape:
    """Look for an interaction of any shape in a table [a, b] without gaps, against random tables without one."""
    a, b = table.shape
    residual = table - table.mean(1, keepdims=True) - table.mean(0) + table.mean()
    if min(a, b) < 3 or float(np.sum(residual**2)) <= ROUNDING * float(np.sum(table**2)):
        return FreeShape()
    q = min(a, b) - 1
    boik, largest = _statistics(residual[None], q)
    null_boik, null_largest = _statistics(generator.standard_normal((_NULL_TABLES, a - 1, b - 1)), q)
    return FreeShape(
        boik=float(boik[0]),
        p_boik=_share(null_boik <= boik[0]),
        largest=float(largest[0]),
        p_largest=_share(null_largest >= largest[0]),
    )


def _statistics(residuals: FloatArray, q: int) -> tuple[FloatArray, FloatArray]:
    """Give Boik's T and the share of the largest squared singular value, of each matrix [m, a, b]."""
    small = residuals if residuals.shape[1] <= residuals.shape[2] else residuals.transpose(0, 2, 1)
    values = np.linalg.eigvalsh(small @ small.transpose(0, 2, 1))
    total = values.sum(axis=1)
    boik: FloatArray = total**2 / (q * np.sum(values**2, axis=1))
    largest: FloatArray = values[:, -1] / total
    return boik, largest


def _share(reached: BoolArray) -> float:
    return float((1 + np.count_nonzero(reached)) / (1 + _NULL_TABLES))
