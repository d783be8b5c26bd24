"""The epochs frame of the store as one trajectory per run."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ncdiag.domain.onset import Trajectory
from ncdiag.domain.statistics import BoolArray, FloatArray


def trajectories(epochs: pd.DataFrame, metric: str) -> dict[str, Trajectory]:
    """Give the evaluations of each run, those rows in which `metric` was measured, in the order of the epochs.

    A metric that is NaN was measured as such if the column `nonfinite` names it, and was not measured otherwise.
    A run without any evaluation is missing from the result.
    """
    rows = epochs[measured(epochs, metric)]
    codes, names = pd.factorize(rows["run"])
    order = np.lexsort((_floats(rows, "epoch"), codes))
    if not np.array_equal(order, np.arange(len(order))):  # the store's own frame is in order
        rows, codes = rows.iloc[order], codes[order]
    loss = rows["loss"].astype(object).where(rows["loss"].notna(), None).tolist()
    epoch, values = _floats(rows, "epoch"), _floats(rows, metric)
    norm, accuracy, phase = (_floats(rows, name) for name in ("feature_norm", "train_accuracy", "phase"))
    starts = np.flatnonzero(np.diff(codes, prepend=-1)).tolist()
    parts = [slice(*bounds) for bounds in zip(starts, [*starts[1:], len(codes)], strict=True)] if starts else []
    return {
        str(names[codes[part.start]]): Trajectory(
            epoch=epoch[part],
            metric=values[part],
            feature_norm=norm[part],
            train_accuracy=accuracy[part],
            phase=phase[part],
            loss=loss[part],
        )
        for part in parts
    }


def measured(epochs: pd.DataFrame, metric: str) -> BoolArray:
    """Mark the rows in which a metric was measured, be it as a number, as NaN or as infinite."""
    marked = epochs[metric].notna().to_numpy(dtype=bool, copy=True)
    unknown = np.flatnonzero(~marked)
    named = epochs["nonfinite"].to_numpy(dtype=object)[unknown]
    marked[unknown] = [isinstance(fields, Mapping) and metric in fields for fields in named]
    return marked


def _floats(epochs: pd.DataFrame, column: str) -> FloatArray:
    return epochs[column].to_numpy(dtype=np.float64, na_value=np.nan)
