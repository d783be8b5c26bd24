"""The forecast of one run's onset from the other runs of its pair, with an interval that admits how few they are."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from ncdiag.domain.contenders import BASELINE, describe
from ncdiag.domain.course import Course
from ncdiag.domain.landmark import CalibrationRun, CensoredRun, Landmark, folds_of_all
from ncdiag.domain.prediction import NO_INTERVAL, TWO_LEVEL_T, predictions
from ncdiag.domain.result import plain
from ncdiag.domain.shares import counted
from ncdiag.domain.statistics import Interval, grouped_share
from ncdiag.domain.survival import weights_to_the_right
from ncdiag.domain.tournament import Contest, hold_contest

ForecastStatus = Literal["forecast", "collapsed", "insufficient", "no_calibration"]

MIN_RUNS = 2  # a spread needs two
_SAME = 1e-9  # a rule that says the same as the winner is no runner-up
MIN_CONDITIONS = 3  # for an interval that speaks of a new condition


@dataclass(frozen=True, kw_only=True)
class RuleScore:
    """A rule, its forecast for the run, and its mean absolute error on the other runs at risk, held out; in epochs."""

    rule: str
    onset: float
    mae: float


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """When a run is expected to collapse, and how sure that is.

    `onset`, `lo`, `hi` are epochs, never before `epoch_now`; `hi` is infinite where too many runs never collapsed.
    `rule` won the contest over the `n_calibration` other runs. `mae` is the error of winners that were chosen without
    the run forecast, `mae_selected` that of this winner on the runs that made it one, `baseline_mae` that of guessing
    their median, all in epochs; `rules` has all that competed, the best first. `n_censored` runs outlasted every onset
    without one, the last of them until epoch `censored_end`, and `p_no_collapse` is the share of comparable runs that
    do, by Kaplan and Meier, with the limits of `grouped_share`. A run that has collapsed has its onset and evaluation
    interval. `steady` and `slowing` are when it would by its own course alone: see `OwnCourse`.
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
    runner_up: str = ""
    mae: float = math.nan
    mae_selected: float = math.nan
    baseline_mae: float = math.nan
    n_calibration: int = 0
    n_censored: int = 0
    censored_end: float = math.nan
    p_no_collapse: float = math.nan
    p_no_collapse_lo: float = math.nan
    p_no_collapse_hi: float = math.nan
    rules: tuple[RuleScore, ...] = ()
    steady: float = math.nan
    slowing: float = math.nan
    message: str = ""
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Give the forecast as plain values, None where a figure is not defined, each rule with its error."""
        rules = [{"rule": score.rule, "onset": score.onset, "mae": score.mae} for score in self.rules]
        return plain({f.name: getattr(self, f.name) for f in fields(self)} | {"rules": rules})


def forecast_onset(
    run: str,
    target: Course,
    condition: int,
    calibration: Sequence[CalibrationRun],
    censored: Sequence[CensoredRun],
    *,
    now: float,
    metric: str,
    eps: float,
    level: float,
) -> Forecast:
    """Forecast the onset of a run, `metric` below `eps`, that has none by the epoch `now`.

    `calibration` are the other runs of the pair whose onset is known, `censored` those that ended without one. Fewer
    than `MIN_RUNS` runs with an onset after `now` give `insufficient`.
    """
    at_risk = [other for other in calibration if other.onset > now]
    last = max((other.onset for other in at_risk), default=-math.inf)
    later = [other for other in censored if other.end > now]
    without = [other for other in later if other.end >= last]
    common: dict[str, Any] = {
        "run": run,
        "epoch_now": now,
        "level": level,
        "n_calibration": len(at_risk),
        "n_censored": len(without),
        "censored_end": max((other.end for other in without), default=math.nan),
        **_share_without(at_risk, later, level),
    }
    if len(at_risk) < MIN_RUNS:
        return Forecast(status="insufficient", message=_shortage(calibration, censored, now), **common)
    seeds = Counter(other.condition for other in at_risk)
    own, conditions = seeds[condition], len(seeds)
    known = _is_known(condition, seeds)
    by_condition = not known and conditions >= MIN_CONDITIONS
    units = [other.condition if by_condition else number for number, other in enumerate(calibration)]
    fold = folds_of_all(np.array(units, dtype=np.int64))
    contest = hold_contest(
        Landmark(runs=calibration, fold=fold, now=now, metric=metric, log_eps=math.log(eps), target=target)
    )
    found = predictions(contest, contest.landmark.folds)
    limits, method = Interval(), NO_INTERVAL
    if known or by_condition:
        (limits,), method = found.limits(level, _that_tell(at_risk, later), by_condition=by_condition)
    onset = max(math.exp(float(found.logs[0])), now)  # the logarithm of now may round down
    rules = _ranked(contest)
    maes = {score.rule: score.mae for score in rules}
    true = np.exp(contest.landmark.asked_log_onset)
    mae = float(np.abs(true * np.exp(-found.errors) - true).mean())
    return Forecast(
        status="forecast",
        onset=onset,
        lo=min(max(limits.lo, now), onset),
        hi=max(limits.hi, onset),
        method=f"{describe(rules[0].rule)}, {method}",
        rule=rules[0].rule,
        runner_up=next((score.rule for score in rules if abs(score.onset - onset) > _SAME * onset), ""),
        mae=mae,
        mae_selected=rules[0].mae,
        baseline_mae=maes[BASELINE],
        rules=tuple(rules),
        warnings=(
            *_about_error(rules[0].rule, mae, maes[BASELINE]),
            *_about_interval(method, known=known, own=own, others=conditions - (own > 0)),
            *_about_ended(len(later) - len(without)),
        ),
        **common,
    )


def _that_tell(at_risk: Sequence[CalibrationRun], censored: Sequence[CensoredRun]) -> list[CensoredRun]:
    """Leave out the runs that ended before the first onset: no run had collapsed by then, and they say no more."""
    first = min((other.onset for other in at_risk), default=-math.inf)
    return [other for other in censored if other.end >= first]


def _share_without(
    at_risk: Sequence[CalibrationRun], censored: Sequence[CensoredRun], level: float
) -> dict[str, float]:
    """Give the share of the runs that do not collapse as long as any was followed, with its limits."""
    ended = _that_tell(at_risk, censored)
    if not at_risk and not ended:
        return {}
    never = np.repeat([False, True], [len(at_risk), len(ended)])
    time = np.array([other.onset for other in at_risk] + [other.end for other in ended])
    condition = np.array([other.condition for other in at_risk] + [other.condition for other in ended])
    weights = weights_to_the_right(time, ~never, np.ones(len(time)))
    share = grouped_share(never, condition, level, weights)
    return {"p_no_collapse": share.estimate, "p_no_collapse_lo": share.lo, "p_no_collapse_hi": share.hi}


def _ranked(contest: Contest) -> list[RuleScore]:
    """Give the rules that competed, in the order of their scores; the simplest of equals first."""
    last = contest.landmark.folds
    true = np.exp(contest.landmark.asked_log_onset)
    onsets = np.exp(contest.logs[:, last])
    errors = np.abs(onsets[:, : len(true)] - true).mean(axis=1)
    target = len(true)
    (winner,) = contest.winners(*(np.array([number]) for number in (last, last, target))).tolist()
    score = np.where(contest.silent[:, target], np.inf, contest.handicapped[:, last, last])
    score[winner] = -np.inf
    if contest.only_median:
        score[1:] = np.inf
    order = [place for place in np.argsort(score, kind="stable").tolist() if score[place] < np.inf]
    return [
        RuleScore(rule=contest.rules[place], onset=float(onsets[place, -1]), mae=float(errors[place]))
        for place in order
    ]


def _shortage(calibration: Sequence[CalibrationRun], censored: Sequence[CensoredRun], now: float) -> str:
    """Say how many runs there are, how many are needed, and what became of the others."""
    later = sum(other.onset > now for other in calibration)
    ended = sum(other.end <= now for other in censored)
    others = [
        f"{len(calibration) - later} had collapsed by then",
        f"{len(censored) - ended} went on without a collapse",
        *([f"{ended} had ended without one"] if ended else []),
    ]
    return (
        f"{counted(later, 'other run')} of the pair collapsed after epoch {now:g}; "
        f"a forecast needs {MIN_RUNS} ({', '.join(others)})"
    )


def _about_error(rule: str, mae: float, guess: float) -> list[str]:
    if rule == BASELINE:
        return ["no rule beats the median onset of the other runs at this epoch"]
    if mae >= guess:
        return ["rules that are chosen in this way did no better on the other runs than guessing their median"]
    return []


def _about_ended(early: int) -> list[str]:
    if not early:
        return []
    return [
        f"{counted(early, 'other run')} ended without a collapse before the last of the others collapsed, and "
        f"{'counts' if early == 1 else 'count'} only as far as {'it' if early == 1 else 'they'} went"
    ]


def _is_known(condition: int, seeds: Counter[int]) -> bool:
    """Tell whether a condition has about as many runs as the others: by them their errors are those of its seeds.

    Where it has less than half as many, those of the others are learned from more seeds of their own, and say less.
    """
    own = seeds[condition]
    return own > 0 and 2 * own * (len(seeds) - 1) >= seeds.total() - own


def _about_interval(method: str, *, known: bool, own: int, others: int) -> list[str]:
    few = f"{f'only {own}' if own else 'no'} other {'runs' if own > 1 else 'run'} of this condition collapsed later"
    if method == TWO_LEVEL_T:
        return [
            f"{few}: the interval takes it to differ from the {others} others as they differ from one another, and "
            "normally; so few conditions cannot show that they do"
        ]
    if method != NO_INTERVAL:
        return []
    if known or others + (own > 0) >= MIN_CONDITIONS:
        return ["the other runs are forecast without any error: no interval can be computed from them"]
    return [
        f"{few}, and {counted(others, 'other condition')}: how much conditions differ is not known, and without that "
        f"there is no interval (it takes {MIN_CONDITIONS} conditions, or as many seeds of this one as of the others)"
    ]
