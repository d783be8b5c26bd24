"""The observables of some runs as matrices, cut from the epochs of all runs without copying these."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from ncdiag.analysis.by_run import by_run, floats
from ncdiag.domain.crossing import Curves
from ncdiag.domain.statistics import BoolArray, FloatArray, IntArray


class EpochTable:
    """The epochs frame of the store with an index of its rows, so that the rows of a few runs are found at once."""

    def __init__(self, epochs: pd.DataFrame) -> None:
        self._frame = epochs
        self.epoch = floats(epochs, "epoch")
        self.phase: FloatArray = np.nan_to_num(floats(epochs, "phase"))
        ordered = by_run(epochs)
        self._order = ordered.order
        self._spans = dict(ordered.spans())

    def __contains__(self, column: str) -> bool:
        """Say whether there is such a column."""
        return column in self._frame

    def rows(self, runs: Sequence[str]) -> tuple[IntArray, IntArray]:
        """Give the rows of some runs, by run and epoch, and for each the place of its run in `runs`."""
        found = [self._order[self._spans.get(run, slice(0))] for run in runs]
        number = np.repeat(np.arange(len(runs)), [len(own) for own in found])
        return np.concatenate([np.empty(0, dtype=np.int64), *found]), number

    def values(self, column: str, rows: IntArray) -> FloatArray:
        """Give a column in some rows; missing is NaN."""
        return floats(self._frame, column)[rows]


@dataclass(frozen=True, kw_only=True)
class _Evaluations:
    """Where each evaluation goes in the matrices of a pair, and those that do not depend on what was measured."""

    run: IntArray
    place: IntArray
    epoch: FloatArray
    switched: BoolArray


@dataclass(frozen=True, kw_only=True)
class PairCurves:
    """The epochs of the runs of a pair; `number` is the place of a row's run."""

    table: EpochTable
    rows: IntArray
    number: IntArray
    runs: int

    def curves(self, column: str) -> Curves:
        """Give a column over the evaluations at which it was finite and positive; a row per run, perhaps empty."""
        values = self.table.values(column, self.rows)
        usable = np.isfinite(values) & (values > 0)
        evaluations = self._everywhere if usable.all() else self._evaluations(usable)
        log = np.full(evaluations.epoch.shape, np.inf)
        log[evaluations.run, evaluations.place] = np.log(values[usable])
        return Curves(epoch=evaluations.epoch, log=log, switched=evaluations.switched)

    @cached_property
    def _everywhere(self) -> "_Evaluations":
        return self._evaluations(np.ones(len(self.rows), dtype=bool))

    def _evaluations(self, usable: BoolArray) -> "_Evaluations":
        run, rows = self.number[usable], self.rows[usable]
        counts = np.bincount(run, minlength=self.runs)
        place = np.arange(len(run)) - np.repeat(np.cumsum(counts) - counts, counts)
        shape = (self.runs, max(int(counts.max(initial=0)), 1))
        epoch, switched = np.full(shape, np.nan), np.zeros(shape, dtype=bool)
        epoch[run, place] = self.table.epoch[rows]
        phase = self.table.phase[rows]
        switched[run, place] = (np.diff(phase, prepend=phase[:1]) != 0) & (place > 0)
        return _Evaluations(run=run, place=place, epoch=epoch, switched=switched)

    def first_at(self, column: str, level: float) -> FloatArray:
        """Give the first evaluation of each run with a value of at least `level`, NaN where there is none."""
        found = np.full(self.runs, np.inf)
        reached = self.table.values(column, self.rows) >= level
        np.minimum.at(found, self.number[reached], self.table.epoch[self.rows[reached]])
        return np.where(np.isinf(found), np.nan, found)


def pair_curves(table: EpochTable, runs: Sequence[str]) -> PairCurves:
    """Give the epochs of some runs, in their order."""
    rows, number = table.rows(runs)
    return PairCurves(table=table, rows=rows, number=number, runs=len(runs))
