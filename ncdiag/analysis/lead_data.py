"""What the alarms of a pair are judged on: onsets, conditions, and every observable of the runs as a curve."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from ncdiag.analysis.conditions import condition_numbers
from ncdiag.domain.crossing import Curve, find_crossings
from ncdiag.domain.lead import fold_levels
from ncdiag.domain.onset import OnsetRule
from ncdiag.domain.records import METRICS
from ncdiag.domain.statistics import FloatArray, IntArray

# Multiples of its value at onset at which an observable may raise an alarm: below 1 where it wavers before onset.
MULTIPLES = np.exp(np.linspace(np.log(0.3), np.log(100.0), 30))
OBSERVABLES = (*(name for name in METRICS if name not in ("feature_norm", "nc1_rank")), "train_loss")
_LEARNED = 0.999  # the train accuracy of baseline B1

Curves = Mapping[str, Mapping[str, Curve]]


@dataclass(frozen=True, kw_only=True)
class LeadData:
    """The runs of a pair with an onset and a feature norm there, in the order of the table `usable`."""

    usable: pd.DataFrame
    curves: Curves
    rule: OnsetRule
    _known_falls: dict[str, FloatArray] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def onset(self) -> FloatArray:
        """The onset of each run."""
        found: FloatArray = self.usable["onset"].to_numpy(dtype=np.float64)
        return found

    @cached_property
    def logs(self) -> FloatArray:
        """The ln fn of each run at its onset."""
        found: FloatArray = np.log(self.usable["fn_star"].to_numpy(dtype=np.float64))
        return found

    @cached_property
    def condition(self) -> IntArray:
        """The condition of each run."""
        return condition_numbers(self.usable)

    @property
    def between(self) -> bool:
        """Whether crossings lie between evaluations; the published rule reads evaluations."""
        return self.rule.rule == "sustained"

    @property
    def patience(self) -> int:
        """How many evaluations confirm a crossing."""
        return self.rule.patience if self.between else 1

    def of(self, column: str) -> list[Curve]:
        """Give the curve of an observable for each run."""
        return [self.curves[column][str(run)] for run in self.usable["run"]]

    def alarms(self, column: str, folds: IntArray, logs: FloatArray, offsets: FloatArray) -> FloatArray:
        """Give when an observable is at its level at onset plus some offsets (on logs); shape (runs, folds, offsets).

        The level of a fold is learned outside it, and so is whether the observable falls towards onset or rises.
        """
        curves = self.of(column)
        levels, signs = fold_levels(logs, self.condition, folds), _directions(self._falls(column, logs), folds)
        wanted = (signs * levels)[:, None] + offsets
        found = np.full((len(curves), *wanted.shape), np.nan)
        for run, curve in enumerate(curves):
            for sign in (1.0, -1.0):
                rows = (signs == sign) & np.isfinite(levels)
                if rows.any():
                    turned = Curve(epoch=curve.epoch, log=sign * curve.log, switched=curve.switched)
                    crossed = find_crossings(turned, wanted[rows].ravel(), between=self.between)
                    found[run, rows] = crossed.epoch.reshape(-1, len(offsets))
        return found

    def _falls(self, column: str, logs: FloatArray) -> FloatArray:
        """Say for each run whether an observable is lower at onset (1) than it mostly was before, or higher (-1)."""
        if column not in self._known_falls:
            falls = np.zeros(len(logs))
            for run, (curve, t) in enumerate(zip(self.of(column), self.onset, strict=True)):
                before = curve.log[: int(np.searchsorted(curve.epoch, t))]
                if len(before) and np.isfinite(logs[run]):
                    higher = np.count_nonzero(before > logs[run])
                    falls[run] = np.sign(2 * higher - len(before))
            self._known_falls[column] = falls
        return self._known_falls[column]

    @cached_property
    def observables(self) -> dict[str, FloatArray]:
        """The logarithm at onset of each further observable that nearly all runs have, for each run."""
        found = {}
        for column in [name for name in OBSERVABLES if name in self.curves]:
            logs = np.array([curve.at(t) for curve, t in zip(self.of(column), self.onset, strict=True)])
            if np.isfinite(logs).mean() >= 0.9:
                found[column] = logs
        return found


def learned_at(epochs: pd.DataFrame, runs: Sequence[str]) -> FloatArray:
    """Give the first evaluation of each run with a train accuracy of 99.9 % or more, NaN where there is none."""
    accuracy = epochs["train_accuracy"].to_numpy(dtype=np.float64, na_value=np.nan)
    first = epochs[accuracy >= _LEARNED].groupby("run")["epoch"].min()
    return first.reindex(list(runs)).to_numpy(dtype=np.float64, na_value=np.nan)


def _directions(falls: FloatArray, folds: IntArray) -> FloatArray:
    """Give for each fold 1 where the observable falls towards onset in most runs outside it, -1 where it rises."""
    return np.array([1.0 if falls[folds != fold].sum() >= 0 else -1.0 for fold in range(int(folds.max()) + 1)])
