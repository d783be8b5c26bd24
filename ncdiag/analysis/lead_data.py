"""What the alarms of a pair are judged on: onsets, conditions, and every observable of the runs."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from ncdiag.analysis.conditions import condition_numbers
from ncdiag.analysis.lead_nearest import condition_places
from ncdiag.analysis.pair_curves import EpochTable, PairCurves, pair_curves
from ncdiag.domain.crossing import Curves, find_crossings
from ncdiag.domain.lead import fold_directions, fold_levels
from ncdiag.domain.onset import OPEN
from ncdiag.domain.onset_rule import OnsetRule
from ncdiag.domain.outlook import Outlooks, reach_levels, see_trends
from ncdiag.domain.records import OBSERVED
from ncdiag.domain.statistics import BoolArray, FloatArray, IntArray

LANDMARKS = (0.1, 0.25, 0.5, 0.75)  # of the median onset of the pair: the epochs at which all are asked
# Multiples of its value at onset at which an observable may raise an alarm: below 1 where it wavers before onset.
MULTIPLES = np.exp(np.linspace(np.log(0.3), np.log(100.0), 30))
NORM = "feature_norm"
ALARMS = (*(name for name in OBSERVED if name != NORM), "train_loss", "train_accuracy", "test_accuracy")
_LEARNED = 0.999  # the train accuracy of baseline B1
_ROUNDING = 1e-12  # what never moves is at its own mean, whatever rounding says
_KNOWN = 0.9  # the share of the runs with an onset that must have an observable there for it to compete


@dataclass(frozen=True, kw_only=True)
class LeadData:
    """The runs of a pair: first those with an onset and a feature norm there, then those that ended without one.

    `table` has their rows of the onset table, in this order.
    """

    table: pd.DataFrame
    epochs: PairCurves
    rule: OnsetRule

    @cached_property
    def onset(self) -> FloatArray:
        """The onset of each run, NaN where there is none."""
        return np.where(self.known, self.table["onset"].to_numpy(dtype=np.float64), np.nan)

    @cached_property
    def end(self) -> FloatArray:
        """The epoch until which a run is known to have no onset; NaN for runs that have one."""
        return np.where(self.known, np.nan, self.table["censored_at"].to_numpy(dtype=np.float64))

    @cached_property
    def seen_until(self) -> FloatArray:
        """The last evaluation of fn of each run, after which no alarm is seen; 0 where there is none."""
        found: FloatArray = np.nanmax(self.norm.curves.epoch, axis=1, initial=0.0)
        return found

    @cached_property
    def known(self) -> BoolArray:
        """Mark the runs with an onset."""
        return (self.table["state"] == "collapsed").to_numpy(dtype=bool)

    @cached_property
    def norm_logs(self) -> FloatArray:
        """The ln fn of each run at its onset."""
        return np.log(np.where(self.known, self.table["fn_star"].to_numpy(dtype=np.float64), np.nan))

    @cached_property
    def condition(self) -> IntArray:
        """The condition of each run."""
        return condition_numbers(self.table)

    @cached_property
    def places(self) -> FloatArray:
        """The place of each run in the space of hyperparameters; see `condition_places`."""
        return condition_places(self.table)

    @property
    def between(self) -> bool:
        """Whether crossings lie between evaluations; the published rule reads evaluations."""
        return self.rule.between

    @property
    def patience(self) -> int:
        """How many evaluations confirm a crossing."""
        return self.rule.needed

    @cached_property
    def landmarks(self) -> FloatArray:
        """The epochs of `LANDMARKS`."""
        return np.array(LANDMARKS) * float(np.median(self.onset[self.known]))

    @cached_property
    def learned_at(self) -> FloatArray:
        """The first evaluation of each run with a train accuracy of 99.9 % or more, NaN where there is none."""
        return self.epochs.first_at("train_accuracy", _LEARNED)

    def observable(self, column: str) -> "Observable | None":
        """Give an observable, if nearly all runs with an onset have it there."""
        if column not in self.epochs.table:
            return None
        curves = self.epochs.curves(column)
        logs = curves.at(self.onset)
        if np.isfinite(logs[self.known]).mean() < _KNOWN:
            return None
        return Observable(data=self, curves=curves, logs=logs)

    @cached_property
    def norm(self) -> "Observable":
        """The feature norm, with its value at onset as the onset table has it."""
        return Observable(data=self, curves=self.epochs.curves(NORM), logs=self.norm_logs)


@dataclass(frozen=True, kw_only=True)
class Observable:
    """One observable of the runs of a pair, with its logarithm at onset, NaN where it is not known."""

    data: LeadData
    curves: Curves
    logs: FloatArray

    @cached_property
    def falls(self) -> FloatArray:
        """For each run 1 if it is lower at onset than it mostly was before, -1 if higher, 0 if neither or unknown."""
        before = self.curves.epoch < self.data.onset[:, None]
        with np.errstate(invalid="ignore"):  # of 0, whose logarithm is infinite
            apart = self.curves.log - self.logs[:, None]
        higher, lower = (np.count_nonzero(before & (sign * apart > _ROUNDING), axis=1) for sign in (1, -1))
        return np.where(np.isfinite(self.logs), np.sign(higher - lower).astype(np.float64), 0.0)

    def levels(self, folds: IntArray) -> list[tuple[Curves, IntArray, FloatArray]]:
        """Give the level at onset for each fold, learned outside it, by direction.

        Each entry has the curves, turned so that they fall to their level, the folds that see them so, and their
        levels (on logs).
        """
        levels, signs = fold_levels(self.logs, self.data.condition, folds), fold_directions(self.falls, folds)
        found = []
        for sign, curves in ((1.0, self.curves), (-1.0, self.curves.turned)):
            members = np.flatnonzero((signs == sign) & np.isfinite(levels))
            if len(members):
                found.append((curves, members, sign * levels[members] + _ROUNDING))
        return found

    def alarms(self, folds: IntArray, offsets: FloatArray) -> FloatArray:
        """Give when the observable is at its level at onset plus some offsets (on logs); shape (runs, folds, offsets).

        The level of a fold is learned outside it, and so is whether the observable falls towards onset or rises.
        """
        found = np.full((len(folds), int(folds.max()) + 1, len(offsets)), np.nan)
        for curves, members, levels in self.levels(folds):
            wanted = (levels[:, None] + offsets).ravel()
            crossed = find_crossings(curves, wanted, between=self.data.between)
            found[:, members] = crossed.reshape(len(folds), len(members), len(offsets))
        return found

    @cached_property
    def trends(self) -> list[Outlooks]:
        """The trend of each run as it was seen at each landmark."""
        epoch = self.curves.epoch
        return [see_trends(self.curves, np.count_nonzero(epoch <= now, axis=1)) for now in self.data.landmarks]

    def outlook(self, folds: IntArray) -> FloatArray:
        """Give when the observable is or will be at its level at onset, as seen at each landmark.

        Shape (landmarks, runs, folds); NaN where its trend does not head there.
        """
        found = np.full((len(LANDMARKS), len(folds), int(folds.max()) + 1), np.nan)
        for curves, members, levels in self.levels(folds):
            trends = self.trends if curves is self.curves else [seen.turned for seen in self.trends]
            reached = reach_levels(curves, trends, levels, between=self.data.between)
            for place, reading in enumerate(reached):
                found[place][:, members] = reading
        return found


def lead_data(pair: pd.DataFrame, table: EpochTable, rule: OnsetRule) -> LeadData:
    """Give what the alarms of a pair are judged on; `pair` are its rows of the onset table."""
    usable = (pair["state"] == "collapsed") & (pair["fn_star"] > 0)
    order = np.concatenate([np.flatnonzero(usable), np.flatnonzero(pair["state"].isin(OPEN))])
    judged = pair.iloc[order].reset_index(drop=True)
    return LeadData(table=judged, epochs=pair_curves(table, [str(run) for run in judged["run"]]), rule=rule)
