"""The forecast of one stored run, calibrated on the other runs of its pair."""

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd

from ncdiag.analysis.asked import Asked
from ncdiag.analysis.branches import is_rescaled, say_left_out
from ncdiag.analysis.cautions import not_terminal, stopped_by_design
from ncdiag.analysis.conditions import condition_numbers, group_numbers
from ncdiag.analysis.copies import list_copies, say_copies
from ncdiag.analysis.courses import run_courses
from ncdiag.analysis.onsets import ended_early, onset_table
from ncdiag.analysis.selection import asks_for_rescaled
from ncdiag.domain.course import Course
from ncdiag.domain.forecast import Forecast, forecast_onset
from ncdiag.domain.importing.phases import list_changes
from ncdiag.domain.landmark import CalibrationRun, CensoredRun
from ncdiag.domain.onset import TERMINAL_ACCURACY
from ncdiag.domain.onset_rule import OnsetRule
from ncdiag.domain.own_course import OwnCourse, read_course
from ncdiag.domain.records import UNFINISHED, RunStatus
from ncdiag.domain.shares import counted
from ncdiag.domain.words import nearest
from ncdiag.errors import UnknownRunError

# Every calibration run is forecast from all the others, so the work grows with the square of their number.
MOST_RUNS = 100


def forecast_run(asked: Asked, run: str) -> Forecast:
    """Forecast the onset of a run from the other runs of its pair, which are all that needs to be in the frames.

    Rescaled runs teach an untouched one nothing, unless `terms.where` asks for them; a rescaled one learns from all.
    `insufficient` and `no_calibration` say in `message` what is missing.
    """
    rule, level = asked.terms.rule, asked.terms.level
    table = _pair_table(asked, run)
    mine = (table["run"] == run).to_numpy(dtype=bool)
    changed = is_rescaled(table)
    dropped = changed & (not (asks_for_rescaled(asked.terms.where) or changed[mine].any()))
    this, others = table[mine].iloc[0], table[~mine & ~dropped & (table["state"] != "no_data").to_numpy()]
    now = float(this["last_epoch"]) if this["evaluations"] else 0.0
    common: dict[str, Any] = {"run": run, "epoch_now": now, "level": level}
    if this["state"] in ("collapsed", "left_censored"):
        return _collapsed(this, common)
    if this["state"] in ("diverged", "dead"):
        what = "diverged" if this["state"] == "diverged" else "has dead features"
        return Forecast(status="insufficient", message=f"the run {what}: no onset can be expected", **common)
    if this["state"] == "no_data" and rule.phase is None and this["epochs_done"]:  # else it has yet to come there
        common["epoch_now"] = float(this["epochs_done"])
        what = "never finite" if this["evaluations"] else "not measured"
        return Forecast(status="insufficient", message=f"{rule.metric} was {what} in this run", **common)
    ended = ended_without(others, rule)
    known = others[(others["state"] == "collapsed") | ended]
    judges = spread_runs(known, own=int(this["condition"]))
    calibration = judges[judges["state"] == "collapsed"]
    courses = run_courses(asked.epochs[asked.epochs["run"].isin([run, *calibration["run"]])], rule.metric)
    course = courses.get(run, Course(curves={}))
    own = read_course(course, rule.metric, now=now, log_level=math.log(rule.eps))
    readings: dict[str, Any] = {"steady": own.steady, "slowing": own.slowing}
    if others.empty:
        pair = ", ".join(str(this[column]) for column in asked.terms.by)
        message = f"no other run of {pair} has been evaluated"
        if asked.repeats:
            message += f", but for {counted(asked.repeats, 'run')} with the same settings and seed"
        alone = (*_about_this(this, rule, forecast=False), *_about_own(this, now, own))
        return Forecast(status="no_calibration", message=message, warnings=alone, **readings, **common)
    found = forecast_onset(
        run,
        course,
        int(this["condition"]),
        calibration_runs(calibration, courses),
        _censored_runs(judges[judges["state"] != "collapsed"]),
        now=now,
        metric=rule.metric,
        eps=rule.eps,
        level=level,
    )
    about = [*_about_this(this, rule, forecast=found.status == "forecast")]
    if found.status != "forecast":
        about += _about_own(this, now, own)
    about += [*_about_others(others, rule, now), *_about_many(len(known))]
    if dropped.any():
        about.append(say_left_out(int(dropped.sum())))
    return replace(found, warnings=(*about, *found.warnings), **readings)


def _pair_table(asked: Asked, run: str) -> pd.DataFrame:
    """Give the onset table of the run's pair, with the number of each run's condition."""
    runs, epochs = asked.runs, asked.epochs
    here = np.flatnonzero(runs["run"] == run)
    if not len(here):
        raise UnknownRunError(f"no run is named {run!r}{nearest(run, runs['run'])}; see ncdiag runs ls")
    numbers = group_numbers(runs, asked.terms.by)
    pair = runs[numbers == numbers[here[0]]]
    table = onset_table(pair, epochs[epochs["run"].isin(pair["run"])], asked.terms.rule)
    return table.assign(condition=condition_numbers(table))


def _collapsed(this: pd.Series, common: dict[str, Any]) -> Forecast:
    known = this["state"] == "collapsed"
    early = () if known else ("below eps when first evaluated: the onset was before",)
    accuracy = this["onset_accuracy"]
    hollow = (
        f"the train accuracy was {accuracy:.1%} at onset: that is before the terminal phase of training, for which "
        "neural collapse is defined"
    )
    back = (f"the run was no longer below eps when last evaluated, at epoch {this['last_epoch']:g}",)
    return Forecast(
        status="collapsed",
        onset=float(this["onset"]),
        lo=float(this["lo"]),
        hi=float(this["hi"]),
        method="observed",
        warnings=(*early, *((hollow,) if accuracy < TERMINAL_ACCURACY else ()), *(back if this["relapsed"] else ())),
        **common,
    )


def spread_runs(runs: pd.DataFrame, own: int | None = None) -> pd.DataFrame:
    """Keep as many runs as can be worked through: those of the `own` condition, then the last of each other one.

    After the last come the second last, and so on: the runs of one sweep are not all of them left out. `sort_runs`
    orders them by their seeds.
    """
    condition = runs["condition"]
    latest_first = condition.groupby(condition).cumcount(ascending=False)
    order = np.lexsort((-np.arange(len(runs)), latest_first, condition != own))
    return runs.iloc[np.sort(order[:MOST_RUNS])]


def calibration_runs(collapsed: pd.DataFrame, courses: Mapping[str, Course]) -> list[CalibrationRun]:
    """Give the runs of an onset table that have collapsed, with a column `condition`, as runs to learn from."""
    columns = (collapsed[name].tolist() for name in ("run", "condition", "onset", "fn_star"))
    return [
        CalibrationRun(course=courses[run], condition=int(condition), onset=float(onset), feature_norm=float(norm))
        for run, condition, onset, norm in zip(*columns, strict=True)
    ]


def _censored_runs(ended: pd.DataFrame) -> list[CensoredRun]:
    columns = (ended[name].tolist() for name in ("censored_at", "condition"))
    return [CensoredRun(end=float(end), condition=int(condition)) for end, condition in zip(*columns, strict=True)]


def ended_without(others: pd.DataFrame, rule: OnsetRule) -> pd.Series:
    """Mark the runs that used up their budget without a collapse.

    A run that is still training, that stopped at another eps, or may have, or that ended before the epochs planned for
    it says nothing about that.
    """
    return (
        (others["state"] == "censored")
        & (others["status"] == RunStatus.DONE)
        & ~stopped_by_design(others, rule)
        & ~ended_early(others)
    )


def _about_this(this: pd.Series, rule: OnsetRule, *, forecast: bool) -> list[str]:
    if this["state"] == "unconfirmed":
        return [
            f"{rule.metric} has been below {rule.eps:g} since after epoch {this['censored_at']:g}, "
            f"but not yet for {rule.patience} evaluations: if it stays there, that was the onset"
        ]
    if this["status"] not in UNFINISHED:
        says = ": the forecast says when it might have come had it gone on" if forecast else ""
        return [f"the run has ended without a collapse{says}"]
    return []


def _about_own(this: pd.Series, now: float, own: OwnCourse) -> list[str]:
    """Say what is to change at once, in the run's loss or its rate, where its own course is read beyond that."""
    try:
        changes = list_changes(str(this["phases"]))
    except ValueError:  # not phases: the run came without them, or the store was edited
        return []
    coming = ((epoch, what) for epoch, what in changes if now <= epoch <= own.slowing)
    return [f"{what} after epoch {epoch}, which its own course does not know" for epoch, what in islice(coming, 1)]


def _about_many(known: int) -> list[str]:
    if known <= MOST_RUNS:
        return []
    return [
        f"of {known} other runs only {MOST_RUNS} take part, those of its condition and the largest seeds of the others"
    ]


def _about_others(others: pd.DataFrame, rule: OnsetRule, now: float) -> list[str]:
    """Say which runs were left out, and whether those that calibrate are alike."""
    found = []
    is_censored, is_unfinished = others["state"] == "censored", others["status"].isin(UNFINISHED)
    by_design = stopped_by_design(others, rule)
    left_out = {
        "still unfinished": is_censored & is_unfinished,
        "stopped, or perhaps stopped, at another eps": is_censored & ~is_unfinished & by_design,
        "ended before the epochs planned for them": is_censored & ~is_unfinished & ~by_design & ended_early(others),
        "below eps at the end but unconfirmed": others["state"] == "unconfirmed",
        "below eps from the start": others["state"] == "left_censored",
        "diverged or dead": others["state"].isin(["diverged", "dead"]),
    }
    counts = [f"{int(mask.sum())} {why}" for why, mask in left_out.items() if mask.any()]
    if counts:
        found.append(f"other runs left out: {', '.join(counts)}")
    at_risk = others[(others["state"] == "collapsed") & (others["onset"] > now)]
    losses = sorted(at_risk["onset_loss"].dropna().unique())
    if len(losses) > 1:
        found.append(f"the other runs collapsed under different losses ({', '.join(losses)}); choose with --phase")
    found += not_terminal(at_risk)
    if copies := list_copies(at_risk):
        found.append(say_copies(copies))
    if rule.needed > 1 and (others["state"] == "unconfirmed").all():
        found.append("--patience 1 or --rule first counts runs that stop at the first evaluation below eps")
    return found
