"""How far ahead the feature norm announces the onset, and whether anything else would have done as well."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ncdiag.analysis.asked import Asked
from ncdiag.analysis.conditions import check_grouping, condition_numbers, group_numbers, plain_value
from ncdiag.analysis.curves import observable_curves
from ncdiag.analysis.lead_data import MULTIPLES, OBSERVABLES, Curves, LeadData, learned_at
from ncdiag.analysis.lead_published import published_lead
from ncdiag.domain.comparison import MIN_UNITS, Comparison, associated, less_variable, sign_test
from ncdiag.domain.crossing import count_crossings, find_crossings
from ncdiag.domain.descent import see_descent
from ncdiag.domain.lead import (
    MARGINS,
    PRIMARY_MARGIN,
    Alarm,
    fold_levels,
    judge_alarm,
    make_folds,
    match_lead,
    mean_leads,
    median_forecast,
)
from ncdiag.domain.multiplicity import holm
from ncdiag.domain.result import Result
from ncdiag.domain.statistics import FloatArray, IntArray, clopper_pearson, group_means, t_interval

QUESTION = "lead"
MIN_RUNS = 3  # one to hold out, and two to learn a level and a lag from
_OFFSETS = np.log1p(np.array(MARGINS))
_NC1_MULTIPLES = (1.5, 3.0, 10.0, 30.0)
_HORIZON = 2.0  # an extrapolation beyond twice the latest known onset heads nowhere
_NOMINAL, _ACTUAL = 0.99, 0.93  # the t interval of absolute errors: what it says, and what it covers


def lead_results(asked: Asked) -> list[Result]:
    """Give the results of each pair, in the order of the runs.

    `held_out` (in `extra`) is `run`, `condition` or `none`, the published in-sample reading; `margin` says that the
    alarm is fn below (1 + margin) fn*. Quantities: `lead` per margin; `mae` of the forecast "alarm + median lag of the
    others", and of each `baseline`; `skill` = 1 - MAE of fn / MAE of the baseline; `sensitivity` and `specificity`.
    """
    check_grouping(asked.by)
    onsets = asked.onsets
    numbers = group_numbers(onsets, asked.by)
    measured = [name for name in ("feature_norm", *OBSERVABLES) if name in asked.epochs]
    curves = observable_curves(asked.epochs, measured)
    found = []
    for number in range(int(numbers.max(initial=-1)) + 1):
        found += _pair(onsets[numbers == number], curves, asked)
    return corrected_leads(found)


def corrected_leads(results: list[Result]) -> list[Result]:
    """Add Holm's p over the pairs to the one test of each that was fixed beforehand: skill over guessing."""
    for held_out in ("run", "condition"):
        family = [
            place
            for place, result in enumerate(results)
            if result.extra.get("primary") and result.extra["held_out"] == held_out
        ]
        adjusted = holm(np.array([results[place].p for place in family]))
        for place, p in zip(family, adjusted.tolist(), strict=True):
            results[place] = replace(results[place], extra={**results[place].extra, "p_holm": p, "family": len(family)})
    return results


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """A pair judged with one way of holding out; `base` are the fields that its results share."""

    data: LeadData
    folds: IntArray
    held_out: str
    base: dict[str, Any]
    level: float

    def result(self, quantity: str, *, margin: float | None = None, **said: Any) -> Result:
        extra = {"margin": margin, "held_out": self.held_out, **said.pop("extra", {})}
        return Result(quantity=quantity, extra=extra, **{**self.base, "level": self.level, **said})


def _pair(pair: pd.DataFrame, curves: Curves, asked: Asked) -> list[Result]:
    usable = pair[(pair["state"] == "collapsed") & (pair["fn_star"] > 0)]
    conditions = condition_numbers(usable)
    base: dict[str, Any] = {
        "question": QUESTION,
        "group": {column: plain_value(pair[column].iloc[0]) for column in asked.by},
        "n_runs": len(pair) - int((pair["state"] == "no_data").sum()),
        "n_censored": int(pair["state"].isin(["censored", "unconfirmed"]).sum()),
        "n_conditions": int(conditions.max(initial=-1)) + 1,
    }
    if len(usable) < MIN_RUNS:
        why = f"{len(usable)} runs with an onset; a lead needs {MIN_RUNS}, one to hold out and two to learn from"
        common = {**base, "level": asked.level, "status": "too_few", "warnings": (why,)}
        return [Result(quantity=name, extra={"held_out": "run"}, **common) for name in ("lead", "mae", "skill")]
    data = LeadData(usable=usable, curves=curves, rule=asked.rule)
    units = {"run": np.arange(len(usable)), "condition": conditions}
    found = []
    for held_out, unit in units.items():
        if len(np.unique(unit)) >= MIN_RUNS:
            judged = _Judged(data=data, folds=make_folds(unit), held_out=held_out, base=base, level=asked.level)
            found += _judge(judged, pair, asked)
    return found + published_lead(data, base)


def _judge(judged: _Judged, pair: pd.DataFrame, asked: Asked) -> list[Result]:
    data, folds = judged.data, judged.folds
    reached = data.alarms("feature_norm", folds, data.logs, _OFFSETS)
    wanted = mean_leads(data.onset, reached, folds)
    guess = median_forecast(data.onset, folds)
    learned = np.tile(learned_at(asked.epochs, list(data.usable["run"]))[:, None], (1, reached.shape[1]))
    fixed = {"accuracy": judge_alarm(data.onset, learned, folds), **_nc1_alarms(judged)}
    rivals = {name: data.alarms(name, folds, logs, np.log(MULTIPLES)) for name, logs in data.observables.items()}
    found = [_mae(judged, "median", guess, None)]
    found += [_mae(judged, name, alarm.forecast, None, alarm) for name, alarm in fixed.items()]
    for place, margin in enumerate(MARGINS):
        alarm = judge_alarm(data.onset, reached[:, :, place], folds)
        found += [_lead(judged, alarm, margin), _mae(judged, "fn", alarm.forecast, margin, alarm)]
        matched = {name: match_lead(data.onset, alarms, folds, wanted[:, place]) for name, alarms in rivals.items()}
        others = {name: rival for name, rival in matched.items() if rival is not None}
        trend = _trend_forecast(judged, alarm, guess)
        found.append(_mae(judged, f"{asked.rule.metric}_trend", trend, margin))
        found += [_mae(judged, name, rival.forecast, margin, rival) for name, rival in others.items()]
        found.append(_skill_over_guess(judged, alarm, guess, margin))
        forecasts = {f"{asked.rule.metric}_trend": trend, **{name: rival.forecast for name, rival in others.items()}}
        found += [_skill(judged, alarm, name, forecast, margin) for name, forecast in forecasts.items()]
        found += _specificity(judged, alarm, pair, margin)
    return found


def _nc1_alarms(judged: _Judged) -> dict[str, Alarm]:
    """Give the alarms of the metric itself at fixed multiples of eps (B3): they need no level to be learned."""
    data, folds = judged.data, judged.folds
    column = data.rule.metric
    levels = np.log(data.rule.eps * np.array(_NC1_MULTIPLES))
    epochs = np.stack([find_crossings(curve, levels, between=data.between).epoch for curve in data.of(column)])
    count = int(folds.max()) + 1
    return {
        f"{column}<{multiple:g}eps": judge_alarm(data.onset, np.tile(epochs[:, [place]], (1, count)), folds)
        for place, multiple in enumerate(_NC1_MULTIPLES)
    }


def _trend_forecast(judged: _Judged, alarm: Alarm, guess: FloatArray) -> FloatArray:
    """Forecast by the trend of the ln metric seen at the alarm of fn (B2): the same information as the alarm has."""
    data, found = judged.data, guess.copy()
    for run, curve in enumerate(data.of(data.rule.metric)):
        if np.isnan(alarm.epoch[run]):
            continue
        seen = int(np.searchsorted(curve.epoch, alarm.epoch[run])) + 1  # an alarm is known at the next evaluation
        phase = np.cumsum(curve.switched[:seen]).astype(np.float64)
        reach = see_descent(curve.epoch[:seen], np.exp(curve.log[:seen]), phase).reach(np.log(data.rule.eps))
        if reach <= _HORIZON * float(data.onset[judged.folds != judged.folds[run]].max()):
            found[run] = reach
    return found


def _lead(judged: _Judged, alarm: Alarm, margin: float) -> Result:
    data, folds = judged.data, judged.folds
    levels = fold_levels(data.logs, data.condition, folds)[folds] + np.log1p(margin)
    curves = data.of("feature_norm")
    crossed = [
        find_crossings(curve, np.array([level]), patience=data.patience, between=data.between)
        for curve, level in zip(curves, levels, strict=True)
    ]
    confirmed = np.array([float(each.confirmed_at[0]) for each in crossed])
    known = ~alarm.silent
    leads, actionable = (data.onset - alarm.epoch)[known], (data.onset - confirmed)[np.isfinite(confirmed)]
    counts = [count_crossings(curve, level) for curve, level in zip(curves, levels, strict=True)]
    extra: dict[str, Any] = {
        "n_crossed": int(known.sum()),
        "n_never": int((~known).sum()),
        "n_left_censored": int(sum(bool(each.from_start[0]) for each in crossed)),
        "n_several": sum(count > 1 for count in counts),
        "actionable": float(actionable.mean()) if len(actionable) else np.nan,
        "actionable_median": float(np.median(actionable)) if len(actionable) else np.nan,
    }
    if not len(leads):
        return judged.result("lead", margin=margin, status="not_testable", extra=extra, warnings=("no run crossed",))
    positive = clopper_pearson(int((leads > 0).sum()), len(leads), judged.level)
    means = group_means(leads, data.condition[known])
    signs = means[means != 0]
    over = "conditions" if len(means) > 1 else "runs"
    signs = signs if over == "conditions" else leads[leads != 0]
    interval = t_interval(leads, judged.level)
    extra |= {
        "median": float(np.median(leads)),
        "q25": float(np.quantile(leads, 0.25)),
        "q75": float(np.quantile(leads, 0.75)),
        "share_positive": positive.estimate,
        "share_lo": positive.lo,
        "share_hi": positive.hi,
        "p_min": 0.5 ** len(signs),
        "over": over,
    }
    return judged.result(
        "lead",
        margin=margin,
        estimate=interval.estimate,
        lo=interval.lo,
        hi=interval.hi,
        p=sign_test(int((signs > 0).sum()), len(signs)),
        method=f"onset minus first crossing; t interval of the mean (conservative); sign test over {over}",
        warnings=_lead_cautions(extra, margin),
        extra=extra,
    )


def _lead_cautions(extra: dict[str, Any], margin: float) -> tuple[str, ...]:
    found, n = [], extra["n_crossed"] + extra["n_never"]
    if margin == 0:
        found.append(
            "where fn falls steadily the mean lead at fn* itself is 0 by construction, whatever the data; a lead there "
            "means that fn is flat, wavers or turns before onset"
        )
    if extra["n_never"]:
        found.append(f"{extra['n_never']} of {n} runs never crossed: their lead is not in the mean")
    if extra["n_left_censored"]:
        found.append(f"{extra['n_left_censored']} of {n} runs were below the level when first evaluated")
    return tuple(found)


def _mae(
    judged: _Judged, baseline: str, forecast: FloatArray, margin: float | None, alarm: Alarm | None = None
) -> Result:
    errors = np.abs(forecast - judged.data.onset)
    interval = t_interval(errors, _NOMINAL)
    leads = np.empty(0) if alarm is None else (judged.data.onset - alarm.epoch)[~alarm.silent]
    extra = {
        "baseline": baseline,
        "median_error": float(np.median(errors)),
        "mean_lead": float(leads.mean()) if len(leads) else np.nan,
        "n_fallback": 0 if alarm is None else int(alarm.silent.sum()),
    }
    return judged.result(
        "mae",
        margin=margin,
        estimate=interval.estimate,
        lo=max(interval.lo, 0.0) if np.isfinite(interval.lo) else np.nan,
        hi=interval.hi,
        level=_ACTUAL,
        method="mean |forecast - onset|; t interval at nominal 99 %, which covers about 93 %",
        extra=extra,
    )


def _skill_over_guess(judged: _Judged, alarm: Alarm, guess: FloatArray, margin: float) -> Result:
    """Compare with guessing the median: onset minus alarm should vary less than onset itself."""
    onset, known = judged.data.onset, ~alarm.silent
    lag = onset - alarm.epoch
    test, over = _over_units(judged, lag, onset, known, less_variable)
    pairing, _ = _over_units(judged, alarm.epoch, onset, known, associated)
    extra = {
        "p_pairing": pairing.p,
        "p_pairing_min": pairing.p_min,
        "primary": margin == PRIMARY_MARGIN,
    }
    return _skill_result(judged, alarm, "median", guess, margin, test, over, extra)


def _skill(judged: _Judged, alarm: Alarm, baseline: str, forecast: FloatArray, margin: float) -> Result:
    onset = judged.data.onset
    own, other = alarm.forecast - onset, forecast - onset
    test, over = _over_units(
        judged, own - np.median(own), other - np.median(other), np.ones(len(onset), dtype=bool), less_variable
    )
    return _skill_result(judged, alarm, baseline, forecast, margin, test, over, {"primary": False})


def _skill_result(
    judged: _Judged,
    alarm: Alarm,
    baseline: str,
    forecast: FloatArray,
    margin: float,
    test: Comparison,
    over: str,
    extra: dict[str, Any],
) -> Result:
    onset = judged.data.onset
    own, other = (float(np.abs(each - onset).mean()) for each in (alarm.forecast, forecast))
    clustered = over == "runs" and judged.base["n_conditions"] > 1
    warnings = []
    if test.status == "too_few":
        warnings.append(f"the test needs {MIN_UNITS} runs that crossed, not {test.n}")
    elif clustered:
        warnings.append(f"the test takes the runs of {judged.base['n_conditions']} conditions as independent")
    return judged.result(
        "skill",
        margin=margin,
        estimate=1 - own / other if other > 0 else np.nan,
        p=test.p,
        status=test.status if other > 0 else "zero_variance",
        method=f"1 - MAE of fn / MAE of the baseline; Pitman-Morgan test over {test.n} {over}, one-sided",
        warnings=tuple(warnings),
        extra={"baseline": baseline, "p_min": test.p_min, "n_tested": test.n, "over": over, **extra},
    )


def _over_units(
    judged: _Judged, first: FloatArray, second: FloatArray, known: Any, test: Any
) -> tuple[Comparison, str]:
    """Test over condition means where there are enough of them: runs of one condition are not independent."""
    conditions = judged.data.condition[known]
    if len(np.unique(conditions)) >= MIN_UNITS:
        return test(group_means(first[known], conditions), group_means(second[known], conditions)), "conditions"
    return test(first[known], second[known]), "runs"


def _specificity(judged: _Judged, alarm: Alarm, pair: pd.DataFrame, margin: float) -> list[Result]:
    """Count the runs that crossed by their onset, and those that crossed though they never collapsed."""
    data = judged.data
    caught = int((alarm.epoch <= data.onset).sum())
    quiet = pair[pair["state"] == "censored"]
    level = float(group_means(data.logs, data.condition).mean()) + np.log1p(margin)
    false_alarms = int((np.log(quiet["fn_min"].to_numpy(dtype=np.float64)) <= level).sum())
    counts = {
        "crossed_collapsed": caught,
        "missed_collapsed": len(data.onset) - caught,
        "crossed_censored": false_alarms,
        "quiet_censored": len(quiet) - false_alarms,
    }
    found = []
    for name, count, n in (
        ("sensitivity", caught, len(data.onset)),
        ("specificity", len(quiet) - false_alarms, len(quiet)),
    ):
        share = clopper_pearson(count, n, judged.level)
        nothing = "no run was censored, so false alarms cannot be counted"
        found.append(
            judged.result(
                name,
                margin=margin,
                estimate=share.estimate,
                lo=share.lo if n else np.nan,
                hi=share.hi if n else np.nan,
                method="Clopper-Pearson",
                status="ok" if n else "not_testable",
                warnings=() if n else (nothing,),
                extra=counts,
            )
        )
    return found
