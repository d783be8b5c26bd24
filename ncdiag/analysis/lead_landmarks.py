"""Forecasts asked at the same epoch of every run, when each contender has seen the same evaluations.

At a landmark, a fixed epoch, the runs at risk are those that have not collapsed yet. Each observable forecasts by its
level at onset, learned from other runs: the epoch at which it was there, or, where it is not there yet, will be by its
trend, plus the median lag of the other runs at risk. A run whose trend does not head there is forecast by a guess.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ncdiag.analysis.lead_data import LANDMARKS, LeadData, Observable
from ncdiag.analysis.lead_nearest import nearest_forecast
from ncdiag.analysis.lead_scores import Judged, compare_errors, hinge_figures, skill_result
from ncdiag.domain.lead import judge_alarm, median_forecast
from ncdiag.domain.outlook import reach_levels
from ncdiag.domain.result import Result
from ncdiag.domain.shares import counted
from ncdiag.domain.statistics import BoolArray, FloatArray, IntArray

HORIZON = 2.0  # an extrapolation beyond twice the latest known onset heads nowhere
_MIN_UNITS = 3  # to hold one out, and have two to learn from


@dataclass(frozen=True, kw_only=True)
class LeadLandmark:
    """The runs of a pair at a fixed epoch; `at_risk` marks those that had not collapsed by then and were still seen."""

    judged: Judged
    share: float
    now: float
    at_risk: BoolArray

    @property
    def enough(self) -> bool:
        """Whether there is something to hold out and something to learn from."""
        members = self.at_risk & self.judged.data.known
        return len(np.unique(self.judged.folds[members])) >= _MIN_UNITS

    @property
    def onset(self) -> FloatArray:
        """The onsets that teach: those of the runs at risk, NaN for the others."""
        return np.where(self.at_risk, self.judged.data.onset, np.nan)

    @cached_property
    def guess(self) -> FloatArray:
        """The median onset of the other runs at risk (B0)."""
        return median_forecast(self.onset, self.judged.folds)


def landmarks(judged: Judged) -> list[LeadLandmark]:
    """Give the landmarks of a pair, as `LANDMARKS`."""
    data = judged.data
    until = np.where(data.known, data.onset, data.end)
    return [
        LeadLandmark(judged=judged, share=share, now=now, at_risk=until > now)
        for share, now in zip(LANDMARKS, data.landmarks.tolist(), strict=True)
    ]


def landmark_guesses(landmark: LeadLandmark) -> dict[str, FloatArray]:
    """Give the forecasts that do without observables: the median onset of the others at risk, and what B1 adds."""
    data, folds, onset = landmark.judged.data, landmark.judged.folds, landmark.onset
    found = {"median": landmark.guess}
    if landmark.judged.base["n_conditions"] > 1:
        found["nearest"] = nearest_forecast(data.places, onset, folds)
    learned = np.where(data.learned_at <= landmark.now, data.learned_at, np.nan)
    found["accuracy"] = _forecast(landmark, np.tile(learned[:, None], (1, int(folds.max()) + 1)))
    return found


def landmark_forecasts(marks: Sequence[LeadLandmark], seen: Observable) -> list[FloatArray]:
    """Give what an observable forecasts at each landmark; shapes (runs,)."""
    judged = marks[0].judged
    readings = seen.outlook(judged.folds)
    readings[readings > horizons(judged.data, judged.folds)] = np.nan
    return [_forecast(landmark, reading) for landmark, reading in zip(marks, readings, strict=True)]


def landmark_trends(marks: Sequence[LeadLandmark], seen: Observable) -> list[FloatArray]:
    """Give where the trend of the metric reaches eps at each landmark (B2); it has no lag to learn."""
    data, folds = marks[0].judged.data, marks[0].judged.folds
    believed = horizons(data, folds)[folds]
    found = []
    reached = reach_levels(seen.curves, seen.trends, np.log([data.rule.eps]), between=data.between)
    for landmark, reading in zip(marks, reached, strict=True):
        ahead = np.maximum(reading[:, 0], landmark.now)
        found.append(np.where(reading[:, 0] <= believed, ahead, landmark.guess))
    return found


def horizons(data: LeadData, folds: IntArray) -> FloatArray:
    """Give, for each fold, the epoch beyond which an extrapolation is not believed."""
    latest = [float(data.onset[data.known & (folds != fold)].max()) for fold in range(int(folds.max()) + 1)]
    return HORIZON * np.array(latest)


def landmark_results(landmark: LeadLandmark, forecasts: dict[str, FloatArray]) -> list[Result]:
    """Give the error of each contender at a landmark, and the skill of fn over each other one."""
    judged = landmark.judged
    data, members = judged.data, landmark.at_risk & judged.data.known
    at_risk = int(members.sum())
    about = {"landmark": landmark.share, "epoch": landmark.now, "n_at_risk": at_risk}
    if not landmark.enough:
        units = counted(len(np.unique(judged.folds[members])), judged.held_out)
        of = "" if judged.held_out == "run" else f" of {units}"
        why = (
            f"{counted(at_risk, 'run')}{of} had not collapsed by epoch {landmark.now:.0f}; a forecast needs "
            f"{_MIN_UNITS} {judged.held_out}s, one to hold out and two to learn from"
        )
        return [judged.result("landmark_mae", status="too_few", warnings=(why,), extra=about)]
    found = []
    for name, forecast in forecasts.items():
        errors = np.abs(forecast - data.onset)[members]
        found.append(
            judged.result(
                "landmark_mae",
                estimate=float(errors.mean()),
                method="mean |forecast - onset| of the runs at risk, forecast from what was seen by then",
                extra={
                    **about,
                    "baseline": name,
                    "median_error": float(np.median(errors)),
                    **hinge_figures(judged, forecast, landmark.at_risk & ~data.known),
                },
            )
        )
    for name in (name for name in forecasts if name != "fn"):
        pair = forecasts["fn"], forecasts[name]
        test, over = compare_errors(judged, *pair, members)
        extra = {**about, "baseline": name, "p_min": test.p_min, "n_tested": test.n, "over": over}
        found.append(skill_result(judged, "landmark_skill", pair, members, (test, over), extra=extra))
    return found


def _forecast(landmark: LeadLandmark, reading: FloatArray) -> FloatArray:
    """Give reading plus lag, or the guess; not before the landmark, when the run had not collapsed."""
    found = judge_alarm(landmark.onset, reading, landmark.judged.folds, landmark.guess).forecast
    return np.maximum(found, landmark.now)
