"""The interval of a forecast, from the errors that the whole procedure made on runs it had not seen."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ncdiag.domain.contenders import BASELINE
from ncdiag.domain.landmark import CensoredRun
from ncdiag.domain.statistics import (
    FloatArray,
    IntArray,
    Interval,
    conformal_minimum,
    effective_size,
    jackknife_plus,
    prediction_half_width,
    upper_limit,
)
from ncdiag.domain.survival import weights_to_the_right
from ncdiag.domain.tournament import Contest

_MIN_DISTRIBUTION_FREE = 9  # below, jackknife+ limits are the extremes of the sample, and often infinite
_EVEN = 0.8  # of the sample; at .5 an interval of 95 % held 85 to 90 % where most runs ended between the onsets
_EQUAL = 1e-9  # a spread of ln onset that is nothing but rounding
_T = "t interval (model-based)"
TWO_LEVEL_T = f"two-level {_T}"
_JACKKNIFE = "jackknife+ interval"
NO_INTERVAL = "no interval"
_LATEST = 700.0  # the largest logarithm that still has an exponential


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """The forecasts made for some courses of a contest without one fold, with what their intervals are made of.

    `logs` is ln onset; `errors` are those of the runs outside the fold, with their `onset` in epochs and of the
    conditions `condition`, each forecast without its own fold by the rule chosen without it; `fitted` [run, course] are
    the forecasts without the fold of each run. `of_median` marks that no rule but the median has a say.
    """

    logs: FloatArray
    errors: FloatArray
    onset: FloatArray
    condition: IntArray
    fitted: FloatArray
    of_median: bool

    def limits(
        self, level: float, censored: Sequence[CensoredRun], *, by_condition: bool
    ) -> tuple[list[Interval], str]:
        """Give the limits of each onset in epochs, and the name of the way they were found.

        With `by_condition` the onsets are those of a new condition, and conditions are the sample; else runs are. From
        nine of them on the limits are those of jackknife+, and below that of a t distribution, with a level for
        conditions and one for runs; where nine are too few for the level, those of t hold the widest that jackknife+
        can give. Limits are NaN where the runs are forecast without any error. Runs that never collapsed move the upper
        limit alone, see `_upper_of_all`; the lower one is that of runs that do collapse. Of two intervals the one at
        the higher level holds the other.
        """
        if float(np.abs(self.errors).max()) < _EQUAL:
            return [Interval() for _ in self.logs], NO_INTERVAL
        units = np.append(self.condition, [run.condition for run in censored]).astype(np.int64)
        if not by_condition:
            units = np.arange(len(units))
        limits, method = self._of_collapsed(level, units[: len(self.errors)], by_condition=by_condition)
        if censored:
            highs = self._upper_of_all([each.hi for each in limits], level, units, [run.end for run in censored])
            limits = [replace(each, hi=hi) for each, hi in zip(limits, highs, strict=True)]
        return limits, method

    def _upper_of_all(
        self, collapsed: list[float], level: float, units: IntArray, ends: Sequence[float]
    ) -> list[float]:
        """Give the upper limits in epochs where some runs never collapsed; `collapsed` are those of runs that do.

        Infinite where more never collapse than the share (1 - level) / 2 that may lie above: so with jackknife+ they
        count twice, for its limits are made of errors in both directions. A run that ended before the last onset leaves
        its weight to those that went on, and the sample is as large as the weights then are. Infinite, too, where these
        differ much, and the few that went on would have to speak for most.
        """
        runs = len(self.errors)
        _, member, sizes = np.unique(units, return_inverse=True, return_counts=True)
        event = np.arange(len(units)) < runs
        weights = weights_to_the_right(np.append(self.onset, ends), event, 1 / sizes[member])
        totals = np.bincount(member, weights)
        never, n = weights[~event].sum() / weights.sum(), effective_size(totals)
        count = len(np.unique(units[event]))
        if n < _EVEN * np.count_nonzero(totals):
            return [math.inf for _ in collapsed]
        if count < _MIN_DISTRIBUTION_FREE:
            return [math.inf if never > (1 - level) / 2 else hi for hi in collapsed]
        if min(count, n) < conformal_minimum(level):
            widest = self._by_jackknife(count / (count + 1), units[event])
            return [math.inf if never else max(hi, each.hi) for hi, each in zip(collapsed, widest, strict=True)]
        known = n / (n + 1)  # the new one has the rest
        each = weights[event] / weights.sum() * known
        highs = [upper_limit(logs + np.abs(self.errors), each, level + never * known) for logs in self.fitted.T]
        return [_epoch(hi) for hi in highs]

    def _of_collapsed(self, level: float, units: IntArray, *, by_condition: bool) -> tuple[list[Interval], str]:
        """Give the limits of runs that do collapse, and the name of the way they were found."""
        if _are_enough(units, level):
            return self._by_jackknife(level, units), _jackknife_name(by_condition)
        # Only the median is (about) a mean of the others. Errors of a winner stand as they are: corrected ones cover
        # too little, those of runs (tests/domain/test_forecast.py) and those of conditions (tests/simulation).
        half = prediction_half_width(self.errors, units, level, of_a_mean=self.of_median)
        limits = [_epochs(log - half, log + half) for log in self.logs.tolist()]
        count = len(np.unique(units))
        if count >= _MIN_DISTRIBUTION_FREE:
            widest = self._by_jackknife(count / (count + 1), units)
            limits = [
                Interval(lo=min(own.lo, other.lo), hi=max(own.hi, other.hi))
                for own, other in zip(limits, widest, strict=True)
            ]
        return limits, TWO_LEVEL_T if by_condition else _T

    def _by_jackknife(self, level: float, units: IntArray) -> list[Interval]:
        sizes = np.abs(self.errors)
        return [_epochs(*jackknife_plus(logs, sizes, level, units)) for logs in self.fitted.T]


def _are_enough(units: IntArray, level: float) -> bool:
    return len(np.unique(units)) >= max(_MIN_DISTRIBUTION_FREE, conformal_minimum(level))


def _jackknife_name(by_condition: bool) -> str:
    return f"two-level {_JACKKNIFE}" if by_condition else _JACKKNIFE


def predictions(contest: Contest, without: int, rule: str | None = None) -> Predictions:
    """Give the forecasts for the courses of one fold; `landmark.folds` is that of the target.

    They are those of a `rule`, or of the winners without the fold.
    """
    landmark = contest.landmark
    fold = landmark.asked_fold
    runs = len(landmark.asked_log_onset)
    asked = np.flatnonzero(fold == without)
    others = np.flatnonzero(fold[:runs] != without)
    chosen = contest.chosen(without) if rule is None else contest.logs[contest.place(rule), without]
    units = fold[others]
    run, course = np.meshgrid(np.arange(len(others)), asked, indexing="ij")
    if rule is None:
        places = contest.winners(np.full(run.shape, without), units[run], course)
    else:
        places = np.full(run.shape, contest.place(rule))
    return Predictions(
        logs=chosen[asked],
        errors=(landmark.asked_log_onset - chosen[:runs])[others],
        onset=np.array([run.onset for run in landmark.runs])[landmark.at_risk][others],
        condition=landmark.condition[others],
        fitted=contest.logs[places, units[run], course],
        of_median=rule == BASELINE or contest.only_median,
    )


def _epochs(lo: float, hi: float) -> Interval:
    return Interval(lo=_epoch(lo), hi=_epoch(hi))


def _epoch(log: float) -> float:
    return math.inf if log == math.inf else math.exp(min(log, _LATEST))
