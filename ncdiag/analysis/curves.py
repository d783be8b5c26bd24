"""The observables of each run as curves of their logarithm."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from ncdiag.analysis.by_run import by_run, floats
from ncdiag.domain.crossing import Curve


def observable_curves(epochs: pd.DataFrame, columns: Sequence[str]) -> dict[str, dict[str, Curve]]:
    """Give, for each column and each run, the curve over the evaluations at which it was finite and positive.

    `epochs` is the frame of the store. A run without such an evaluation has an empty curve.
    """
    ordered = by_run(epochs)
    epoch = floats(epochs, "epoch")[ordered.order]
    phase = np.nan_to_num(floats(epochs, "phase")[ordered.order])
    found: dict[str, dict[str, Curve]] = {}
    for column in columns:
        values = floats(epochs, column)[ordered.order]
        usable = np.isfinite(values) & (values > 0)
        logs, at, phases = np.log(values[usable]), epoch[usable], phase[usable]
        own = replace(ordered, order=ordered.order[usable], run=ordered.run[usable])
        # A run's first row switches from nothing.
        switched = (np.diff(phases, prepend=phases[:1]) != 0) & (np.diff(own.run, prepend=own.run[:1]) == 0)
        found[column] = {
            name: Curve(epoch=at[part], log=logs[part], switched=switched[part]) for name, part in own.spans()
        }
    return found
