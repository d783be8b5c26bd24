"""The forecast of one run's onset from the other runs of its pair, with an interval that admits how few they are."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from ncdiag.domain.onset import Trajectory
from ncdiag.domain.predictor import (
    BASELINE,
    RULES,
    CalibrationRun,
    Landmark,
    RuleScore,
    choose_rule,
    predict,
    score_rules,
    see_landmark,
)
from ncdiag.domain.result import plain
from ncdiag.domain.statistics import (
    FloatArray,
    Interval,
    clopper_pearson,
    conformal_minimum,
    jackknife_plus,
    prediction_half_width,
)

ForecastStatus = Literal["forecast", "collapsed", "insufficient", "no_calibration"]

MIN_RUNS = 2  # a spread needs two
_MIN_DISTRIBUTION_FREE = 9  # below, jackknife+ limits are the extremes of the sample, and often infinite
_MIN_CONDITIONS = 3  # for an interval that speaks of a new condition
_EQUAL = 1e-9  # a spread of ln onset that is nothing but rounding
_LATEST = 700.0  # the largest logarithm that still has an exponential


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """When a run is expected to collapse, and how sure that is.

    `onset`, `lo`, `hi` are epochs, never before `epoch_now`; `hi` is infinite where too many runs never collapsed.
    `rule` is the rule that did best on the `n_calibration` other runs, with its leave-one-out error `mae` in epochs
    beside that of guessing the median (`baseline_mae`); `rules` has all that competed. `p_no_collapse` is the share of
    comparable runs that ended without a collapse. A run that has collapsed has its onset and evaluation interval.
    """

    run: str
    status: ForecastStatus
    epoch_now: float
    level: float
    onset: float = math.nan
    lo: float = math.nan
    hi: float = math.nan
    method: str = ""
    rule: str = ""
    mae: float = math.nan
    baseline_mae: float = math.nan
    n_calibration: int = 0
    n_censored: int = 0
    p_no_collapse: float = math.nan
    p_no_collapse_lo: float = math.nan
    p_no_collapse_hi: float = math.nan
    rules: tuple[RuleScore, ...] = ()
    message: str = ""
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Give the forecast as plain values, None where a figure is not defined, each rule with its error."""
        rules = [{"rule": score.rule, "onset": score.onset, "mae": score.mae} for score in self.rules]
        return plain({f.name: getattr(self, f.name) for f in fields(self)} | {"rules": rules})


def forecast_onset(
    run: str,
    target: Trajectory,
    condition: int,
    calibration: Sequence[CalibrationRun],
    censored_at: Sequence[float],
    *,
    now: float,
    eps: float,
    level: float,
) -> Forecast:
    """Forecast the onset of a run that has none by the epoch `now`.

    `calibration` are the other runs of the pair whose onset is known, `censored_at` the last epochs of those that ended
    without one. Fewer than `MIN_RUNS` runs with an onset after `now` give `insufficient`.
    """
    at_risk = [other for other in calibration if other.onset > now]
    n_censored = sum(last > now for last in censored_at)
    share = clopper_pearson(n_censored, len(at_risk) + n_censored, level)
    common: dict[str, Any] = {
        "run": run,
        "epoch_now": now,
        "level": level,
        "n_calibration": len(at_risk),
        "n_censored": n_censored,
        "p_no_collapse": share.estimate,
        "p_no_collapse_lo": share.lo,
        "p_no_collapse_hi": share.hi,
    }
    if len(at_risk) < MIN_RUNS:
        return Forecast(status="insufficient", message=_shortage(calibration, len(at_risk), n_censored, now), **common)
    conditions = {other.condition for other in at_risk}
    new = condition not in conditions
    by_condition = new and len(conditions) >= _MIN_CONDITIONS
    landmark = see_landmark(target, calibration, now=now, eps=eps, by_condition=by_condition)
    scores = score_rules(landmark)
    best = choose_rule(landmark, scores)
    limits, method = _limits(landmark, scores, n_censored, level, by_condition=by_condition)
    return Forecast(
        status="forecast",
        onset=best.onset,
        lo=min(max(limits.lo, now), best.onset),
        hi=max(limits.hi, best.onset),
        method=f"{RULES[best.rule]}, {method}",
        rule=best.rule,
        mae=best.mae,
        baseline_mae=next(score.mae for score in scores if score.rule == BASELINE),
        rules=tuple(scores),
        warnings=_warnings(limits, best, new=new, conditions=len(conditions)),
        **common,
    )


def _shortage(calibration: Sequence[CalibrationRun], at_risk: int, n_censored: int, now: float) -> str:
    """Say how many runs there are, how many are needed, and what became of the others."""
    had = sum(other.onset <= now for other in calibration)
    return (
        f"{at_risk} other run{'s' * (at_risk != 1)} of the pair collapsed after epoch {now:g}; "
        f"a forecast needs {MIN_RUNS} ({had} had collapsed by then, {n_censored} went on without a collapse)"
    )


def _limits(
    landmark: Landmark, scores: list[RuleScore], n_censored: int, level: float, *, by_condition: bool
) -> tuple[Interval, str]:
    """Give the limits in epochs, and the name of the way they were found.

    The errors behind them are those of the whole procedure: for each unit the rule is chosen without that unit, so
    that an interval does not pretend that the rule had been known beforehand.
    """
    chosen = {unit: choose_rule(landmark, scores, unit) for unit in np.unique(landmark.unit).tolist()}
    held_out = np.array([chosen[unit].held_out[run] for run, unit in enumerate(landmark.unit.tolist())])
    errors = np.log(landmark.onset) - np.log(held_out)
    n = len(errors)
    if float(np.abs(errors).max()) < _EQUAL:
        return Interval(), "no interval"
    if not by_condition and n + n_censored >= max(_MIN_DISTRIBUTION_FREE, conformal_minimum(level)):
        fits = {unit: predict(landmark, score.rule, unit) for unit, score in chosen.items()}
        logs = np.log([fits[unit] for unit in landmark.unit.tolist()])
        return _distribution_free(logs, np.abs(errors), n_censored, level), "jackknife+ interval"
    centre = math.log(choose_rule(landmark, scores).onset)
    # Whether the correction for a mean is fair was simulated (tests/domain/test_forecast.py): with a choice between
    # rules, errors of single runs as they stand cover 74 to 85 % at a nominal 80 %, and corrected ones 65 to 80 %.
    single = len(set(chosen)) == n
    half = prediction_half_width(errors, landmark.unit, level, of_a_mean=not single or len(scores) == 1)
    unbounded = n_censored / (n + n_censored) > (1 - level) / 2
    hi = math.inf if unbounded else math.exp(min(centre + half, _LATEST))
    return Interval(lo=math.exp(centre - half), hi=hi), f"{'two-level ' * by_condition}t interval (model-based)"


def _distribution_free(logs: FloatArray, errors: FloatArray, n_censored: int, level: float) -> Interval:
    """Give jackknife+ limits of the logarithm of the onset; a run that never collapsed has an infinite error."""
    lo, hi = jackknife_plus(
        np.concatenate((logs, np.zeros(n_censored))), np.concatenate((errors, np.full(n_censored, math.inf))), level
    )
    return Interval(lo=math.exp(lo), hi=math.exp(min(hi, _LATEST)) if hi < math.inf else math.inf)


def _warnings(limits: Interval, best: RuleScore, *, new: bool, conditions: int) -> tuple[str, ...]:
    found = []
    if math.isnan(limits.lo):
        found.append("the other runs are forecast without any error: no interval can be computed from them")
    if new and conditions < _MIN_CONDITIONS:
        found.append(
            f"no other run of this condition, and {conditions} other condition{'s' * (conditions > 1)}: the interval "
            f"is one for a known condition, and too narrow (a new one needs {_MIN_CONDITIONS} others)"
        )
    if best.rule == BASELINE:
        found.append("no rule beats the median onset of the other runs at this epoch")
    return tuple(found)
