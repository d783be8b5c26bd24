"""What a lead costs: the error of each contender against the mean lead that its alarm buys, as a table to draw."""

import numpy as np
import pandas as pd

from ncdiag.analysis.asked import Asked
from ncdiag.analysis.lead_data import ALARMS, MULTIPLES, LeadData, Observable, lead_data
from ncdiag.analysis.lead_scores import Forecasts, Judged
from ncdiag.analysis.leads import MIN_RUNS, fixed_forecasts, judge_pair
from ncdiag.analysis.pair_curves import EpochTable
from ncdiag.analysis.pairs import list_pairs, name_pair
from ncdiag.domain.lead import judge_alarm, mean_leads, median_forecast

COLUMNS = ("held_out", "contender", "multiple", "lead", "mae", "n", "n_silent")


def lead_curve(asked: Asked) -> pd.DataFrame:
    """Give a row per pair, way of holding out, contender and level of its alarm, all out of sample.

    - the columns `asked.terms.by`: the pair. Pairs with fewer than three onsets have no rows.
    - `held_out`: `run` or `condition`, what the level, the lag and the direction are learned without.
    - `contender`: `fn` or another stored observable; `median`, the guess, `nearest`, the most similar condition,
      `accuracy` and `nc1<3eps` and the like, which have no level to choose.
    - `multiple`: the alarm is at this multiple of the observable's value at onset (of 1 / value, where it rises); NaN
      for the others.
    - `lead`: mean lead in epochs over the runs with an alarm; NaN for `median` and `nearest`.
    - `mae`: mean absolute error of the forecast, in epochs, over the `n` runs with an onset; the `n_silent` of them
      without an alarm are forecast by the guess. Levels with an alarm in fewer than half of the runs are left out.
    """
    table = EpochTable(asked.epochs)
    rows: list[dict[str, object]] = []
    for pair in list_pairs(asked.onsets, asked.terms.by):
        data = lead_data(pair, table, asked.terms.rule)
        if np.count_nonzero(data.known) >= MIN_RUNS:
            rows += [{**name_pair(pair, asked.terms.by), **row} for row in _rows(data, judge_pair(pair, data, asked))]
    return pd.DataFrame(rows, columns=[*asked.terms.by, *COLUMNS])


def _rows(data: LeadData, ways: list[Judged]) -> list[dict[str, object]]:
    found = []
    for judged in ways:
        guess = median_forecast(data.onset, judged.folds)
        fixed = [Forecasts(name="median", forecast=guess), *fixed_forecasts(judged, guess)]
        found += [_row(judged, made, np.nan) for made in fixed]
    for name in ("fn", *ALARMS):
        seen = data.norm if name == "fn" else data.observable(name)
        if seen is not None:
            found += [row for judged in ways for row in _levels(judged, name, seen)]
    return found


def _levels(judged: Judged, name: str, seen: Observable) -> list[dict[str, object]]:
    onset, folds = judged.data.onset, judged.folds
    guess = median_forecast(onset, folds)
    reached = seen.alarms(folds, np.log(MULTIPLES))
    heard = np.isfinite(mean_leads(onset, reached, folds)).all(axis=0)
    found = []
    for place in np.flatnonzero(heard).tolist():
        alarm = judge_alarm(onset, reached[:, :, place], folds, guess)
        found.append(_row(judged, Forecasts(name=name, forecast=alarm.forecast, asked=alarm.epoch), MULTIPLES[place]))
    return found


def _row(judged: Judged, made: Forecasts, multiple: float) -> dict[str, object]:
    onset, known = judged.data.onset, judged.data.known
    leads = np.full(len(onset), np.nan) if made.asked is None else onset - made.asked
    heard = known & np.isfinite(leads)
    return {
        "held_out": judged.held_out,
        "contender": made.name,
        "multiple": float(multiple),
        "lead": float(leads[heard].mean()) if heard.any() else np.nan,
        "mae": float(np.abs(made.forecast - onset)[known].mean()),
        "n": int(known.sum()),
        "n_silent": 0 if made.asked is None else int((known & ~heard).sum()),
    }
