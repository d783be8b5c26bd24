"""What is known of a run before it is trained: when the runs of the most similar condition collapsed (baseline B5)."""

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from ncdiag.analysis.conditions import CONDITION_COLUMNS
from ncdiag.domain.statistics import FloatArray, IntArray

_SAME = 1e-9  # distances that differ by less are equal but for rounding


def nearest_forecast(places: FloatArray, onset: FloatArray, folds: IntArray) -> FloatArray:
    """Give each run the median onset of the runs, outside its fold, of the condition nearest to its own.

    `places` are their `condition_places`. Of several conditions at the same distance, the runs of all count. A run
    without an onset (NaN) teaches nothing; where no other teaches, there is no forecast (NaN).
    """
    kinds, kind = np.unique(np.column_stack([places, folds]), axis=0, return_inverse=True)
    found = np.full(len(kinds), np.nan)
    for number, (*place, fold) in enumerate(kinds):
        others = np.flatnonzero((folds != fold) & np.isfinite(onset))
        if not len(others):
            continue
        distance = np.minimum(np.abs(places[others] - place), 1.0).sum(axis=1)
        found[number] = np.median(onset[others[distance <= distance.min() + _SAME]])
    return found[kind.ravel()]


def condition_places(runs: pd.DataFrame) -> FloatArray:
    """Give the place of each run in the space of hyperparameters; the distance of two runs is the sum of differences.

    A difference counts 1 at most. Numbers go by their rank among the values that occur, from 0 to 1: neither their unit
    matters, nor whether they are spaced by steps or by factors, and 0 needs no logarithm. Different words are 1 apart,
    and so are a known and an unknown value. What does not vary has no column.
    """
    found = [_places(runs[name]) for name in CONDITION_COLUMNS if runs[name].nunique(dropna=False) > 1]
    return np.column_stack([np.zeros(len(runs)), *found])


def _places(column: pd.Series) -> FloatArray:
    """Give the place of each run along one hyperparameter; places more than 1 apart count as 1 apart."""
    if not is_numeric_dtype(column):
        return pd.factorize(column)[0].astype(np.float64)
    codes, values = pd.factorize(column, sort=True)
    return np.where(codes < 0, -1.0, codes / max(len(values) - 1, 1))
