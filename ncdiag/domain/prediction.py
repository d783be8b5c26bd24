"""The interval of a forecast, from the errors that the whole procedure made on runs it had not seen."""

import math
from dataclasses import dataclass

import numpy as np

from ncdiag.domain.statistics import (
    FloatArray,
    IntArray,
    Interval,
    conformal_minimum,
    jackknife_plus,
    prediction_half_width,
)
from ncdiag.domain.tournament import Contest

_MIN_DISTRIBUTION_FREE = 9  # below, jackknife+ limits are the extremes of the sample, and often infinite
_EQUAL = 1e-9  # a spread of ln onset that is nothing but rounding
_LATEST = 700.0  # the largest logarithm that still has an exponential


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """The forecasts made for some courses of a contest without one fold, with what their intervals are made of.

    `logs` is ln onset; `errors` are those of the runs outside the fold, each forecast without its own fold by the rule
    chosen without it; `fitted` [run, course] are the forecasts without the fold of each run.
    """

    logs: FloatArray
    errors: FloatArray
    fold: IntArray
    fitted: FloatArray
    of_a_mean: bool

    def limits(self, level: float, n_censored: int, *, by_condition: bool) -> tuple[list[Interval], str]:
        """Give the limits of each onset in epochs, and the name of the way they were found.

        `n_censored` runs that never collapsed have an infinite error. From nine runs on the limits are those of
        jackknife+; below that, and for new conditions, of a t distribution, with a level for conditions and one for
        runs. Limits are NaN where the runs are forecast without any error.
        """
        n = len(self.errors)
        if float(np.abs(self.errors).max()) < _EQUAL:
            return [Interval() for _ in self.logs], "no interval"
        if not by_condition and n + n_censored >= max(_MIN_DISTRIBUTION_FREE, conformal_minimum(level)):
            sizes = np.concatenate((np.abs(self.errors), np.full(n_censored, math.inf)))
            found = []
            for course in range(len(self.logs)):
                logs = np.concatenate((self.fitted[:, course], np.zeros(n_censored)))
                found.append(_epochs(*jackknife_plus(logs, sizes, level)))
            return found, "jackknife+ interval"
        half = prediction_half_width(self.errors, self.fold, level, of_a_mean=self.of_a_mean)
        unbounded = n_censored / (n + n_censored) > (1 - level) / 2
        limits = [_epochs(log - half, math.inf if unbounded else log + half) for log in self.logs.tolist()]
        return limits, f"{'two-level ' * by_condition}t interval (model-based)"


def predictions(contest: Contest, without: int) -> Predictions:
    """Give the forecasts for the courses of one fold; `landmark.folds` is that of the target."""
    landmark = contest.landmark
    fold = landmark.asked_fold
    runs = len(landmark.asked_log_onset)
    asked = np.flatnonzero(fold == without)
    others = np.flatnonzero(fold[:runs] != without)
    chosen = contest.chosen(without)
    units = fold[others]
    run, course = np.meshgrid(np.arange(len(others)), asked, indexing="ij")
    return Predictions(
        logs=chosen[asked],
        errors=(landmark.asked_log_onset - chosen[:runs])[others],
        fold=units,
        fitted=contest.logs[contest.winners(np.full(run.shape, without), units[run], course), units[run], course],
        # Whether the correction for a mean is fair was simulated (tests/domain/test_forecast.py): with a choice between
        # rules, errors of single runs as they stand cover what they say, and corrected ones too little.
        of_a_mean=len(np.unique(units)) < len(units) or contest.only_median,
    )


def _epochs(lo: float, hi: float) -> Interval:
    return Interval(lo=math.exp(lo), hi=math.exp(min(hi, _LATEST)) if hi < math.inf else math.inf)
