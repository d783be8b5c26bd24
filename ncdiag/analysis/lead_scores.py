"""The figures of alarms and forecasts: lead, error, skill beside a baseline, false alarms, concordance."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ncdiag.analysis.cautions import stopped_by_design
from ncdiag.analysis.conditions import replication_units
from ncdiag.analysis.lead_data import LeadData
from ncdiag.analysis.pooling import say_pooled
from ncdiag.domain.comparison import MIN_UNITS, Comparison, associated, less_variable, sign_test
from ncdiag.domain.crossing import count_crossings, find_confirmed
from ncdiag.domain.lead import PRIMARY_MARGIN, Alarm, concordance
from ncdiag.domain.result import Result
from ncdiag.domain.shares import epochs, out_of, percent
from ncdiag.domain.statistics import (
    FEW_GROUPS,
    BoolArray,
    FloatArray,
    IntArray,
    group_means,
    grouped_share,
    grouped_t_interval,
)

QUESTION = "lead"
_ROUNDING = 1e-9  # of an onset: a forecast that errs by less is exact
_NOMINAL, _ACTUAL = 0.99, 0.93  # the t interval of absolute errors: what it says, and what it covers


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A pair judged with one way of holding out; `base` are the fields that its results share.

    `cautions` say what a reader must know of the onsets themselves.
    """

    data: LeadData
    folds: IntArray
    held_out: str
    base: dict[str, Any]
    level: float
    cautions: tuple[str, ...]

    def result(self, quantity: str, *, margin: float | None = None, **said: Any) -> Result:
        """Give a result of this pair; what is not a field of a `Result` goes in by `extra`."""
        extra = {"margin": margin, "held_out": self.held_out, **said.pop("extra", {})}
        return Result(quantity=quantity, extra=extra, **{**self.base, "level": self.level, **said})


@dataclass(frozen=True, kw_only=True)
class Forecasts:
    """What one contender forecasts for each run; `asked` says when, NaN where it had to guess the median.

    A contender that knows its forecast before training (`asked` None) has no lead. `tells` marks the runs in which it
    can differ from the alarm of fn, None where that is all of them.
    """

    name: str
    forecast: FloatArray
    asked: FloatArray | None = None
    tells: BoolArray | None = None


def lead_result(judged: Judged, alarm: Alarm, margin: float) -> Result:
    """Give the lead of the alarm at a margin: mean, spread, share above 0, and what it was once confirmed.

    A run that is beyond the level when first evaluated has no lead: its alarm came before, at an epoch nobody knows.
    A run that ended before its alarm counts as if that had come at its end. Its lead is smaller, nobody knows by how
    much, so the mean is an upper bound then, and has no lower limit: of runs that stop at their onset only leads above
    0 are seen, whatever fn does.
    """
    data = judged.data
    own = _own_crossings(judged, margin)
    crossed, never = data.known & ~alarm.silent, data.known & alarm.silent
    heard = crossed & ~own.from_start
    members = heard | never
    leads = (data.onset - np.where(never, data.seen_until, alarm.epoch))[members]
    confirmed = (data.onset - own.confirmed)[data.known & np.isfinite(own.confirmed) & ~own.from_start]
    extra: dict[str, Any] = {
        "n_crossed": int(crossed.sum()),
        "n_never": int(never.sum()),
        "seen_after": float((data.seen_until - data.onset)[never].max()) if never.any() else np.nan,
        "n_left_censored": int((crossed & own.from_start).sum()),
        "n_several": int((own.count[data.known] > 1).sum()),
        "actionable": float(confirmed.mean()) if len(confirmed) else np.nan,
        "actionable_median": float(np.median(confirmed)) if len(confirmed) else np.nan,
        "direction": own.direction,
    }
    if not heard.any():
        why = _lead_cautions(extra, margin, judged.held_out) if extra["n_crossed"] else ("no run crossed",)
        warnings = (*why, *judged.cautions)
        return judged.result("lead", margin=margin, status="not_testable", extra=extra, warnings=warnings)
    positive = grouped_share(leads > 0, data.condition[members], judged.level)
    over, signs = _signs(np.where(never[members], -np.inf, leads), data.condition[members])
    interval = grouped_t_interval(leads, data.condition[members], judged.level)
    if never.any():
        interval = replace(interval, lo=-np.inf)
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
        **asdict(interval),
        p=sign_test(int((signs > 0).sum()), len(signs)),
        method=f"onset minus first crossing; t interval of the mean over {_sample(judged, members)}; "
        f"sign test over {over}",
        warnings=(*_lead_cautions(extra, margin, judged.held_out), *judged.cautions),
        extra=extra,
    )


def _signs(leads: FloatArray, condition: IntArray) -> tuple[str, FloatArray]:
    """Give what has a sign and these signs, 0 left out: of the median of each condition, or of each run of one.

    A median, unlike a mean, has a sign where some leads are known only to be below 0 (minus infinity).
    """
    conditions = np.unique(condition)
    several = len(conditions) > 1
    found = np.array([np.median(leads[condition == own]) for own in conditions]) if several else leads
    return "conditions" if several else "runs", np.sign(found[found != 0])


def mae_result(judged: Judged, made: Forecasts, *, margin: float | None = None) -> Result:
    """Give the mean absolute error of forecasts; runs without an onset count apart, by how much it came too early."""
    data = judged.data
    errors = np.abs(made.forecast - data.onset)[data.known]
    asked = np.full(len(data.onset), np.nan) if made.asked is None else made.asked
    leads = (data.onset - asked)[data.known & np.isfinite(asked)]
    interval = grouped_t_interval(errors, data.condition[data.known], _NOMINAL)
    return judged.result(
        "mae",
        margin=margin,
        estimate=interval.estimate,
        lo=max(interval.lo, 0.0) if np.isfinite(interval.lo) else np.nan,
        hi=interval.hi,
        level=_ACTUAL,
        method=f"mean |forecast - onset|; t interval over {_sample(judged, data.known)} at nominal 99 %, which covers "
        "about 93 %",
        extra={
            "baseline": made.name,
            "median_error": float(np.median(errors)),
            "mean_lead": float(leads.mean()) if len(leads) else np.nan,
            "n_fallback": 0 if made.asked is None else int(np.isnan(asked[data.known]).sum()),
            **hinge_figures(judged, made.forecast, ~data.known),
            "n_overdue": int((made.forecast < data.end)[~data.known].sum()),
        },
    )


def hinge_figures(judged: Judged, forecast: FloatArray, members: BoolArray) -> dict[str, Any]:
    """Say by how many epochs forecasts came too early at least, on average over runs that ended without an onset."""
    early = np.maximum(judged.data.end - forecast, 0.0)[members]
    return {"hinge": float(early.mean()) if len(early) else np.nan, "n_hinge": len(early)}


def _sample(judged: Judged, members: BoolArray) -> str:
    """Name what an interval takes as its sample, as `grouped_t_interval` and `grouped_share` do."""
    return "conditions" if len(np.unique(judged.data.condition[members])) >= FEW_GROUPS else "runs"


def skill_over_guess(judged: Judged, alarm: Alarm, guess: Forecasts, margin: float) -> Result:
    """Compare with guessing the median: onset minus alarm should vary less than onset itself."""
    onset, known = judged.data.onset, judged.data.known
    tested = _over_units(judged, onset - alarm.epoch, onset, known & ~alarm.silent, less_variable)
    # without the runs whose alarm never came, those stopped at their onset would have only alarms before it
    came = np.where(alarm.silent, np.max(judged.data.seen_until), alarm.epoch)
    pairing, _ = _over_units(judged, came, onset, known, associated)
    primary = margin == PRIMARY_MARGIN
    extra = {"p_pairing": pairing.p, "p_pairing_min": pairing.p_min, "primary": primary}
    return _margin_skill(judged, alarm, guess, margin, tested, **extra)


def skill_over(judged: Judged, alarm: Alarm, other: Forecasts, margin: float) -> Result:
    """Compare with another contender: the errors of the alarm of fn should vary less."""
    members = judged.data.known if other.tells is None else judged.data.known & other.tells
    tested = compare_errors(judged, alarm.forecast, other.forecast, members)
    found = _margin_skill(judged, alarm, other, margin, tested, primary=False)
    if other.tells is None or tested[0].status != "too_few":
        return found
    why = f"the test of skill needs {MIN_UNITS} runs with the alarm before the onset, not {tested[0].n}"
    return replace(found, warnings=(why,))


def compare_errors(judged: Judged, own: FloatArray, other: FloatArray, members: BoolArray) -> tuple[Comparison, str]:
    """Test whether the errors of one forecast vary less than those of another; a bias of either is not seen."""
    onset = judged.data.onset
    return _over_units(judged, own - onset, other - onset, members, less_variable)


def _skill_cautions(judged: Judged, test: Comparison, over: str) -> tuple[str, ...]:
    """Say what limits a test of skill."""
    conditions = judged.base["n_conditions"]
    if test.status == "too_few":
        return (f"the test of skill needs {MIN_UNITS} runs that can be compared, not {test.n}",)
    if over == "runs" and conditions > 1:
        return (say_pooled("the test of skill", conditions),)
    return ()


def concordance_result(judged: Judged, alarm: Alarm, margin: float) -> Result:
    """Give Harrell's C between alarm and onset, over the runs with an onset and those that ended without one."""
    share, pairs = concordance(alarm.epoch, judged.data.onset, judged.data.end)
    return judged.result(
        "concordance",
        margin=margin,
        estimate=share,
        status="ok" if pairs else "not_testable",
        method="Harrell's C: the share of pairs of runs in which the one with the earlier alarm collapses first",
        extra={"n_pairs": pairs, "n_never": int(alarm.silent.sum())},
    )


def specificity_results(judged: Judged, alarm: Alarm, margin: float) -> list[Result]:
    """Count the runs that crossed by their onset, and those that crossed though they never collapsed."""
    data = judged.data
    stopped = stopped_by_design(data.table, data.rule)  # of what they would have done they say nothing
    quiet = ((data.table["state"] == "censored") & ~stopped).to_numpy(dtype=bool)
    caught, silent = alarm.epoch <= data.onset, alarm.silent
    counts = {
        "crossed_collapsed": int((caught & data.known).sum()),
        "missed_collapsed": int((~caught & data.known).sum()),
        "crossed_censored": int((~silent & quiet).sum()),
        "quiet_censored": int((silent & quiet).sum()),
        "overdue_censored": int((quiet & ~alarm.silent & (alarm.forecast < data.end)).sum()),
    }
    found = []
    for name, hits, members in (("sensitivity", caught, data.known), ("specificity", silent, quiet)):
        of = int(members.sum())
        share = grouped_share(hits[members], data.condition[members], judged.level)
        nothing = "no run went on without a collapse, so false alarms cannot be counted"
        found.append(
            judged.result(
                name,
                margin=margin,
                estimate=share.estimate,
                lo=share.lo if of else np.nan,
                hi=share.hi if of else np.nan,
                method=f"Clopper-Pearson over {_sample(judged, members)}",
                status="ok" if of else "not_testable",
                warnings=() if of else (nothing,),
                extra=counts,
            )
        )
    return found


@dataclass(frozen=True, kw_only=True)
class _Crossings:
    """How each run crosses the level of its own fold."""

    confirmed: FloatArray
    from_start: BoolArray
    count: IntArray
    direction: str


def _own_crossings(judged: Judged, margin: float) -> _Crossings:
    data, folds = judged.data, judged.folds
    runs = len(folds)
    confirmed, from_start, count = np.full(runs, np.nan), np.zeros(runs, dtype=bool), np.zeros(runs, dtype=np.int64)
    ways = set()
    for curves, members, levels in data.norm.levels(folds):
        rows = np.isin(folds, members)
        own = np.full(runs, -np.inf)
        own[rows] = levels[np.searchsorted(members, folds[rows])] + np.log1p(margin)
        confirmed[rows] = find_confirmed(curves, own, data.patience)[rows]
        from_start[rows] = (curves.log[:, 0] <= own)[rows]
        count[rows] = count_crossings(curves, own)[rows]
        ways.add("falls" if curves is data.norm.curves else "rises")
    direction = ways.pop() if len(ways) == 1 else "both"
    return _Crossings(confirmed=confirmed, from_start=from_start, count=count, direction=direction)


def _lead_cautions(extra: dict[str, Any], margin: float, held_out: str) -> tuple[str, ...]:
    level = f"fn*{f' with a margin of {percent(margin)}' if margin else ''}, learned from other {held_out}s"
    found, n = [], extra["n_crossed"] + extra["n_never"]
    if extra["direction"] != "falls":
        found.append("fn mostly rises towards its value at onset here, so the alarm is the first epoch at or above it")
    if margin == 0:
        found.append(
            "where fn falls steadily the mean lead at fn* itself is 0 by construction, whatever the data; a lead there "
            "means that fn is flat, wavers or turns before onset, or that runs ended before their alarm"
        )
    if extra["n_never"]:
        after = epochs(extra["seen_after"])
        when = "at the onset" if after == "0.0" else f"at most {after} epochs after the onset"
        found.append(
            f"{out_of(extra['n_never'], n, 'run')} ended before crossing {level}, {when}: an alarm later than that is "
            "not seen, so the mean lead, in which such a run counts as if it had crossed at its end, is an upper bound"
        )
    if extra["n_left_censored"]:
        side = {"falls": "at or below", "rises": "at or above"}.get(extra["direction"], "beyond")
        found.append(
            f"{out_of(extra['n_left_censored'], n, 'run', 'was/were')} {side} {level}, when first evaluated: how long "
            "before the onset is not known, and the mean lead is without them"
        )
    return tuple(found)


def _margin_skill(
    judged: Judged, alarm: Alarm, other: Forecasts, margin: float, tested: tuple[Comparison, str], **extra: Any
) -> Result:
    test, over = tested
    figures = {"p_min": test.p_min, "p_other": test.p_other, "n_tested": test.n, "over": over, **extra}
    about = {"margin": margin, "extra": {"baseline": other.name, **figures}}
    return skill_result(judged, "skill", (alarm.forecast, other.forecast), judged.data.known, tested, **about)


def skill_result(
    judged: Judged,
    quantity: str,
    forecasts: tuple[FloatArray, FloatArray],
    members: BoolArray,
    tested: tuple[Comparison, str],
    **about: Any,
) -> Result:
    """Give the skill of the first of two forecasts over the other, with a test of it and the units of that test."""
    skill = share_of_error(judged, *forecasts, members)
    test, over = tested
    return judged.result(
        quantity,
        estimate=skill,
        p=test.p,
        status="zero_variance" if np.isnan(skill) else test.status,
        method=f"1 - MAE of fn / MAE of the baseline; Pitman-Morgan test over {test.n} {over}, one-sided",
        warnings=_skill_cautions(judged, test, over),
        **about,
    )


def share_of_error(judged: Judged, own: FloatArray, other: FloatArray, members: BoolArray) -> float:
    """Give 1 - MAE / MAE of another forecast; NaN where the other has no error but that of rounding."""
    errors = [float(np.abs(each - judged.data.onset)[members].mean()) for each in (own, other)]
    least = _ROUNDING * float(judged.data.onset[members].mean())
    return 1 - errors[0] / errors[1] if errors[1] > least else float("nan")


def _over_units(
    judged: Judged,
    first: FloatArray,
    second: FloatArray,
    members: BoolArray,
    test: Callable[[FloatArray, FloatArray], Comparison],
) -> tuple[Comparison, str]:
    """Test over the means of units; gives what these are called."""
    unit, over = replication_units(judged.data.condition[members], MIN_UNITS)
    return test(*(group_means(each[members], unit) for each in (first, second))), over
