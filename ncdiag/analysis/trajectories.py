"""The epochs frame of the store as one trajectory per run."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ncdiag.analysis.by_run import by_run, floats
from ncdiag.domain.onset import Trajectory
from ncdiag.domain.statistics import BoolArray


def trajectories(epochs: pd.DataFrame, metric: str) -> dict[str, Trajectory]:
    """Give the evaluations of each run, those rows in which `metric` was measured, in the order of the epochs.

    A metric that is NaN was measured as such if the column `nonfinite` names it, and was not measured otherwise.
    A run without any evaluation is missing from the result.
    """
    rows = epochs[measured(epochs, metric)]
    ordered = by_run(rows)
    loss = rows["loss"].astype(object).where(rows["loss"].notna(), None).to_numpy()[ordered.order].tolist()
    epoch, values, norm, accuracy, phase = (
        floats(rows, name)[ordered.order] for name in ("epoch", metric, "feature_norm", "train_accuracy", "phase")
    )
    return {
        name: Trajectory(
            epoch=epoch[own],
            metric=values[own],
            feature_norm=norm[own],
            train_accuracy=accuracy[own],
            phase=phase[own],
            loss=loss[own],
        )
        for name, own in ordered.spans()
    }


def measured(epochs: pd.DataFrame, metric: str) -> BoolArray:
    """Mark the rows in which a metric was measured, be it as a number, as NaN or as infinite."""
    marked = epochs[metric].notna().to_numpy(dtype=bool, copy=True)
    unknown = np.flatnonzero(~marked)
    named = epochs["nonfinite"].to_numpy(dtype=object)[unknown]
    marked[unknown] = [isinstance(fields, Mapping) and metric in fields for fields in named]
    return marked
