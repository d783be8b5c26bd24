"""The observables of each run as curves of their logarithm."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from ncdiag.domain.crossing import Curve


def observable_curves(epochs: pd.DataFrame, columns: Sequence[str]) -> dict[str, dict[str, Curve]]:
    """Give, for each column and each run, the curve over the evaluations at which it was finite and positive.

    `epochs` is the frame of the store. A run without such an evaluation has an empty curve.
    """
    codes, names = pd.factorize(epochs["run"])
    epoch = epochs["epoch"].to_numpy(dtype=np.float64)
    order = np.lexsort((epoch, codes))
    codes, epoch = codes[order], epoch[order]
    phase = np.nan_to_num(epochs["phase"].to_numpy(dtype=np.float64, na_value=np.nan)[order])
    found: dict[str, dict[str, Curve]] = {}
    for column in columns:
        values = epochs[column].to_numpy(dtype=np.float64, na_value=np.nan)[order]
        usable = np.isfinite(values) & (values > 0)
        rows, logs, at, phases = codes[usable], np.log(values[usable]), epoch[usable], phase[usable]
        switched = np.diff(phases, prepend=phases[:1]) != 0
        bounds = np.searchsorted(rows, np.arange(len(names) + 1))
        switched[bounds[:-1][bounds[:-1] < len(switched)]] = False  # a run's first row switches from nothing
        parts = [slice(*pair) for pair in pairwise(bounds.tolist())]
        found[column] = {
            str(name): Curve(epoch=at[part], log=logs[part], switched=switched[part])
            for name, part in zip(names, parts, strict=True)
        }
    return found
