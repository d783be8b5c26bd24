"""How far ahead the feature norm announces the onset, and whether anything else would have done as well."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ncdiag.analysis.asked import Asked
from ncdiag.analysis.cautions import list_cautions
from ncdiag.analysis.lead_data import ALARMS, MULTIPLES, LeadData, Observable, lead_data
from ncdiag.analysis.lead_landmarks import (
    LeadLandmark,
    horizons,
    landmark_forecasts,
    landmark_guesses,
    landmark_results,
    landmark_trends,
    landmarks,
)
from ncdiag.analysis.lead_nearest import nearest_forecast
from ncdiag.analysis.lead_published import published_lead
from ncdiag.analysis.lead_scores import (
    QUESTION,
    Forecasts,
    Judged,
    concordance_result,
    lead_result,
    mae_result,
    skill_over,
    skill_over_guess,
    specificity_results,
)
from ncdiag.analysis.pair_curves import EpochTable
from ncdiag.analysis.pairs import list_pairs, pair_base
from ncdiag.domain.crossing import find_crossings
from ncdiag.domain.lead import (
    MARGINS,
    Alarm,
    folds_of_known,
    judge_alarm,
    match_leads,
    mean_leads,
    median_forecast,
)
from ncdiag.domain.outlook import head_for, see_trends
from ncdiag.domain.result import Result
from ncdiag.domain.shares import counted
from ncdiag.domain.statistics import FloatArray

MIN_RUNS = 3  # one to hold out, and two to learn a level and a lag from
NC1_MULTIPLES = (1.5, 3.0, 10.0, 30.0)
_OFFSETS = np.log1p(np.array(MARGINS))


def lead_results(asked: Asked) -> list[Result]:
    """Give the results of each pair, in the order of the runs.

    `held_out` (in `extra`) is `run`, `condition` or `none`, the published in-sample reading; `margin` says that the
    alarm is fn below (1 + margin) fn*. Quantities: `lead` per margin; `mae` of the forecast "alarm + median lag of the
    others", and of each `baseline`; `skill` = 1 - MAE of fn / MAE of the baseline; `sensitivity`, `specificity` and
    `concordance`; `landmark_mae` and `landmark_skill` for forecasts that are asked at one epoch of all runs.
    """
    table = EpochTable(asked.epochs)
    return [result for pair in list_pairs(asked.onsets, asked.terms.by) for result in _pair(pair, table, asked)]


def judge_pair(pair: pd.DataFrame, data: LeadData, asked: Asked) -> list[Judged]:
    """Give the ways of holding out that a pair has enough units for: runs, and conditions."""
    common: dict[str, Any] = {"level": asked.terms.level, "cautions": list_cautions(pair, asked.terms.rule)}
    base = _base(pair, data, asked)
    found = []
    for held_out, unit in (("run", np.arange(len(data.onset))), ("condition", data.condition)):
        if len(np.unique(unit[data.known])) >= MIN_RUNS:
            folds = folds_of_known(unit, data.known)
            found.append(Judged(data=data, folds=folds, held_out=held_out, base=base, **common))
    return found


def _base(pair: pd.DataFrame, data: LeadData, asked: Asked) -> dict[str, Any]:
    return {**pair_base(QUESTION, pair, asked.terms.by), "n_conditions": len(np.unique(data.condition[data.known]))}


def lead_family(result: Result) -> str | None:
    """Name the family of the one test of each pair that was fixed beforehand: skill over guessing."""
    return result.extra["held_out"] if result.extra.get("primary") else None


def _pair(pair: pd.DataFrame, table: EpochTable, asked: Asked) -> list[Result]:
    data = lead_data(pair, table, asked.terms.rule)
    n = int(data.known.sum())
    if n < MIN_RUNS:
        why = f"{counted(n, 'run')} with an onset; a lead needs {MIN_RUNS}, one to hold out and two to learn from"
        common: dict[str, Any] = {
            **_base(pair, data, asked),
            "level": asked.terms.level,
            "status": "too_few",
            "warnings": (why, *list_cautions(pair, asked.terms.rule)),
        }
        return [Result(quantity=name, extra={"held_out": "run"}, **common) for name in ("lead", "mae", "skill")]
    ways = judge_pair(pair, data, asked)
    contests = [_contest(judged) for judged in ways]
    for name in ALARMS:  # one at a time: each has a matrix as large as all epochs of the pair
        seen = data.observable(name)
        if seen is not None:
            for contest in contests:
                contest.enter(name, seen)
    return [result for contest in contests for result in contest.results()] + published_lead(data, ways[0].base)


@dataclass(frozen=True, kw_only=True)
class _Contest:
    """The alarms of fn at each margin, and what the other contenders forecast at the same mean lead."""

    judged: Judged
    alarms: list[Alarm]
    wanted: FloatArray
    guess: Forecasts
    fixed: list[Forecasts]
    rivals: list[list[Forecasts]] = field(default_factory=lambda: [[] for _ in MARGINS])
    marks: list[LeadLandmark]
    asked: list[dict[str, FloatArray]]

    def enter(self, name: str, seen: Observable) -> None:
        """Let an observable compete, at each margin and each landmark."""
        onset, folds = self.judged.data.onset, self.judged.folds
        if name == self.judged.data.rule.metric:
            self._enter_trend(f"{name}_trend", seen)
        reached = seen.alarms(folds, np.log(MULTIPLES))
        leads = mean_leads(onset, reached, folds)
        for rivals, wanted in zip(self.rivals, self.wanted.T, strict=True):
            chosen = match_leads(leads, wanted)
            if chosen is not None:
                alarm = judge_alarm(onset, reached[:, np.arange(reached.shape[1]), chosen], folds, self.guess.forecast)
                rivals.append(Forecasts(name=name, forecast=alarm.forecast, asked=alarm.epoch))
        self._enter_landmarks(name, landmark_forecasts(self.marks, seen))

    def _enter_trend(self, name: str, seen: Observable) -> None:
        """Let the trend of the ln metric compete (B2), seen when the alarm of fn comes: the same information.

        What it says once it has seen the onset is no forecast: there it says what fn says, which speaks for neither.
        """
        data, folds, curves = self.judged.data, self.judged.folds, seen.curves
        for rivals, alarm in zip(self.rivals, self.alarms, strict=True):
            # an alarm is known at the next evaluation
            known = np.count_nonzero(curves.epoch < alarm.epoch[:, None], axis=1) + 1
            known = np.minimum(known, np.count_nonzero(~np.isnan(curves.epoch), axis=1))
            seen_then = see_trends(curves, known)
            reach = head_for(curves, seen_then, float(np.log(data.rule.eps)))
            over = ~alarm.silent & (seen_then.now >= data.onset)
            heads = ~alarm.silent & (reach <= horizons(data, folds)[folds])
            forecast = np.where(over, alarm.forecast, np.where(heads, reach, self.guess.forecast))
            asked = np.where(over | heads, alarm.epoch, np.nan)
            rivals.append(Forecasts(name=name, forecast=forecast, asked=asked, tells=~over & ~alarm.silent))
        self._enter_landmarks(name, landmark_trends(self.marks, seen))

    def _enter_landmarks(self, name: str, forecasts: list[FloatArray]) -> None:
        for known, forecast in zip(self.asked, forecasts, strict=True):
            known[name] = forecast

    def results(self) -> list[Result]:
        """Give all that there is to say of the pair with this way of holding out."""
        judged = self.judged
        found = [mae_result(judged, made) for made in (self.guess, *self.fixed)]
        always = [made for made in self.fixed if made.asked is None]
        for margin, alarm, rivals in zip(MARGINS, self.alarms, self.rivals, strict=True):
            own = Forecasts(name="fn", forecast=alarm.forecast, asked=alarm.epoch)
            found.append(lead_result(judged, alarm, margin))
            found += [mae_result(judged, made, margin=margin) for made in (own, *rivals)]
            found.append(skill_over_guess(judged, alarm, self.guess, margin))
            found += [skill_over(judged, alarm, made, margin) for made in (*always, *rivals)]
            found += [*specificity_results(judged, alarm, margin), concordance_result(judged, alarm, margin)]
        for landmark, forecasts in zip(self.marks, self.asked, strict=True):
            found += landmark_results(landmark, forecasts)
        return found


def _contest(judged: Judged) -> _Contest:
    data, folds = judged.data, judged.folds
    reached = data.norm.alarms(folds, _OFFSETS)
    guess = median_forecast(data.onset, folds)
    marks = landmarks(judged)
    asked = [landmark_guesses(landmark) for landmark in marks]
    for known, forecast in zip(asked, landmark_forecasts(marks, data.norm), strict=True):
        known["fn"] = forecast
    return _Contest(
        judged=judged,
        alarms=[judge_alarm(data.onset, reached[:, :, place], folds, guess) for place in range(len(MARGINS))],
        wanted=mean_leads(data.onset, reached, folds),
        guess=Forecasts(name="median", forecast=guess),
        fixed=fixed_forecasts(judged, guess),
        marks=marks,
        asked=asked,
    )


def fixed_forecasts(judged: Judged, guess: FloatArray) -> list[Forecasts]:
    """Give the contenders that need no margin: nearest condition (B5), accuracy (B1), multiples of eps (B3)."""
    data, folds = judged.data, judged.folds
    found = []
    if judged.base["n_conditions"] > 1:
        found.append(Forecasts(name="nearest", forecast=nearest_forecast(data.places, data.onset, folds)))
    alarms = {"accuracy": data.learned_at}
    metric = data.rule.metric
    levels = np.log(data.rule.eps * np.array(NC1_MULTIPLES))
    below = find_crossings(data.epochs.curves(metric), levels, between=data.between)
    alarms |= {f"{metric}<{multiple:g}eps": below[:, place] for place, multiple in enumerate(NC1_MULTIPLES)}
    for name, at in alarms.items():
        alarm = judge_alarm(data.onset, np.tile(at[:, None], (1, int(folds.max()) + 1)), folds, guess)
        found.append(Forecasts(name=name, forecast=alarm.forecast, asked=alarm.epoch))
    return found
