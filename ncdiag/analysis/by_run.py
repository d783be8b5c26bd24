"""The rows of the store's epochs frame, run by run."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from ncdiag.domain.statistics import FloatArray, IntArray


@dataclass(frozen=True, kw_only=True)
class ByRun:
    """An order of the rows, by run and within a run by epoch; runs keep the order in which they come.

    `run` is the place in `names` of each row's run, in that order.
    """

    names: list[str]
    order: IntArray
    run: IntArray

    def spans(self) -> Iterator[tuple[str, slice]]:
        """Give each run with its rows in the order."""
        bounds = np.searchsorted(self.run, np.arange(len(self.names) + 1)).tolist()
        yield from ((name, slice(*ends)) for name, ends in zip(self.names, pairwise(bounds), strict=True))


def by_run(epochs: pd.DataFrame) -> ByRun:
    """Find the order of some rows by run and epoch."""
    codes, names = pd.factorize(epochs["run"])
    order = np.lexsort((floats(epochs, "epoch"), codes))
    return ByRun(names=[str(name) for name in names], order=order, run=codes[order])


def floats(epochs: pd.DataFrame, column: str) -> FloatArray:
    """Give a column as it is in the frame; what is missing is NaN."""
    return epochs[column].to_numpy(dtype=np.float64, na_value=np.nan)
