"""fn* of each pair: the feature norm at onset with its interval, its spread, and what limits both."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from ncdiag.analysis.cautions import list_cautions, list_disqualifiers, list_shields, stopped_by_design
from ncdiag.analysis.conditions import condition_labels, condition_numbers, plain_value
from ncdiag.analysis.onsets import collapsed_by
from ncdiag.analysis.pairs import count_values, list_pairs, pair_base
from ncdiag.analysis.terms import Terms
from ncdiag.domain.levels import alpha_of
from ncdiag.domain.onset import OPEN, Trajectory, lowest_metric
from ncdiag.domain.onset_rule import OnsetRule
from ncdiag.domain.result import Result, Status
from ncdiag.domain.shares import counted, out_of, percent
from ncdiag.domain.statistics import FloatArray
from ncdiag.domain.survival import median_interval, restricted_mean
from ncdiag.domain.threshold import CV_CLAIM, MIN_CONDITIONS, MIN_RUNS_FOR_CLAIM, Threshold, estimate_threshold

QUESTION = "threshold"
_ROUNDING = 1e-9  # of a norm


def threshold_results(
    onsets: pd.DataFrame,
    trajectories: Mapping[str, Trajectory],
    terms: Terms,
) -> list[Result]:
    """Give two results per pair, in the order of the runs: `fn_star` and `cv`.

    `onsets` is the table of `onset_table`, made of these `trajectories`. `extra` of `fn_star` holds the published
    figures (`mean`, `sd`, `cv`), the bound `cv_upper`, when and where the onsets were (`t_min`, `t_median`, `t_max`,
    `phase`, `loss`), how every run of the pair ended, each condition's own fn*, and how many runs without a collapse
    passed fn* all the same (`n_censored_crossed`), in the `direction` in which the others did.
    """
    return [result for pair in list_pairs(onsets, terms.by) for result in _pair_results(pair, trajectories, terms)]


def _pair_results(pair: pd.DataFrame, trajectories: Mapping[str, Trajectory], terms: Terms) -> list[Result]:
    rule, level = terms.rule, terms.level
    states = Counter(pair["state"])
    base = {**pair_base(QUESTION, pair, terms.by), "level": level}
    cautions = list_cautions(pair, rule)
    counts = _counts(states)
    collapsed = pair[pair["state"] == "collapsed"]
    usable = collapsed[collapsed["fn_star"] > 0]
    counts["n_without_norm"] = len(collapsed) - len(usable)
    if usable.empty:
        about = {"lowest": _lowest(pair, trajectories, rule), "blocked": list_disqualifiers(pair)}
        extra = {**counts, **about, "conditions": _each(pair, level)}
        empty = {**base, "status": _status_without_onset(states), "warnings": cautions, "extra": extra}
        return [Result(quantity=quantity, **empty) for quantity in ("fn_star", "cv")]
    conditions = condition_numbers(usable)
    found = estimate_threshold(usable["fn_star"].to_numpy(dtype=np.float64), conditions, level)
    base |= {"n_conditions": found.n_conditions, "status": found.status}
    fn_star = Result(
        quantity="fn_star",
        **asdict(found.fn_star),
        method=_fn_star_method(found),
        warnings=(*_condition_caution(found), *_norm_caution(usable, collapsed), *cautions),
        extra={
            **counts,
            **_published(found),
            **_when(collapsed),
            **_crossed(pair, usable, trajectories, found.fn_star.estimate, rule),
            "n_relapsed": int(collapsed["relapsed"].sum()),
            "after_drop": int((usable["after_drop"] == 1).sum()),
            "onset_rule": str(rule),
            "conditions": _each(pair, level),
            "blocked": list_disqualifiers(pair),
            "shielded": list_shields(pair, rule),
        },
        **base,
    )
    spread = Result(
        quantity="cv",
        **asdict(found.cv),
        p=found.p_below,
        method=_cv_method(found),
        warnings=_cv_caution(found),
        extra={
            "cv_lower": found.cv_lower,
            "cv_upper": found.cv_upper,
            "cv_needed": found.cv_needed,
            "cv_conditions": found.cv_conditions,
            "icc": found.icc,
            "p_above": found.p_above,
            "claim": CV_CLAIM,
            "verdict": _verdict(found, alpha_of(level)),
        },
        **base,
    )
    return [fn_star, spread]


def _norm_caution(usable: pd.DataFrame, collapsed: pd.DataFrame) -> list[str]:
    if len(usable) == len(collapsed):
        return []
    some = out_of(len(usable), len(collapsed), "collapsed run")
    return [f"fn* is that of {some}: no feature norm was measured around the onset of the others"]


def _lowest(pair: pd.DataFrame, trajectories: Mapping[str, Trajectory], rule: OnsetRule) -> float:
    """Give the smallest value that the metric had in any of the runs, NaN where it had none."""
    found = [lowest_metric(trajectories[name], rule) for name in pair["run"] if name in trajectories]
    return min((value for value in found if not math.isnan(value)), default=math.nan)


def _counts(states: Counter[str]) -> dict[str, int]:
    return {
        f"n_{state}": states[state]
        for state in ("collapsed", "unconfirmed", "left_censored", "diverged", "dead", "no_data")
    }


def _status_without_onset(states: Counter[str]) -> Status:
    """Say why a pair has no fn*: what became of all its runs, or of most of them."""
    if states["collapsed"]:
        return "not_testable"  # onsets, but no feature norm was measured there
    ended: dict[str, Status] = {
        "censored": "all_censored",
        "unconfirmed": "all_censored",
        "left_censored": "left_censored",
        "diverged": "diverged",
        "dead": "dead",
    }
    seen = [state for state in ended if states[state]]
    return ended[max(seen, key=lambda state: states[state])] if seen else "no_data"


def _published(found: Threshold) -> dict[str, Any]:
    return {
        "mean": found.mean,
        "sd": found.sd,
        "cv": found.sample_cv,
        "log_cv": found.cv.estimate,
        "cv_upper": found.cv_upper,
        "over": found.over,
    }


def _when(collapsed: pd.DataFrame) -> dict[str, Any]:
    """Say when the onsets were, and in which phase under which loss; one value only where all agree."""
    onset = collapsed["onset"]
    found: dict[str, Any] = {"t_min": onset.min(), "t_median": onset.median(), "t_max": onset.max()}
    for name, several, column in (("phase", "phases", "onset_phase"), ("loss", "losses", "onset_loss")):
        values = {plain_value(value) for value in collapsed[column]}
        found[name] = next(iter(values)) if len(values) == 1 else None
        found[several] = count_values(collapsed[column])
    return found


def _crossed(
    pair: pd.DataFrame, usable: pd.DataFrame, trajectories: Mapping[str, Trajectory], fn_star: float, rule: OnsetRule
) -> dict[str, Any]:
    """Count the censored runs whose feature norm passed fn* without a collapse, falling or rising as the others do.

    Runs that were, or may have been, stopped at another eps are no such runs (`n_without` counts those that are).
    """
    ways = [
        _way(trajectories[str(run)], onset, norm)
        for run, onset, norm in zip(usable["run"], usable["onset"], usable["fn_star"], strict=True)
    ]
    falls = sum(ways) >= 0
    censored = pair["run"][pair["state"].isin(OPEN) & ~stopped_by_design(pair, rule)]
    crossed = sum(_passes(trajectories[str(run)], fn_star, falls=falls) for run in censored)
    return {
        "n_censored_crossed": crossed,
        "n_without": len(censored),
        "direction": "falls" if falls else "rises",
    }


def _way(trajectory: Trajectory, onset: float, norm: float) -> int:
    """Give 1 where the feature norm is lower at onset than it mostly was before, -1 where it is higher, else 0."""
    apart = _norms(trajectory)[trajectory.epoch < onset] / norm - 1
    return int(np.sign(np.count_nonzero(apart > _ROUNDING) - np.count_nonzero(apart < -_ROUNDING)))


def _passes(trajectory: Trajectory, fn_star: float, *, falls: bool) -> bool:
    """Tell whether a feature norm comes to be on the far side of fn*, or always was; to begin there is not enough."""
    norms = _norms(trajectory)
    norms = norms[np.isfinite(norms)]
    beyond = norms <= fn_star if falls else norms >= fn_star
    return bool(len(beyond)) and bool(beyond.all() or (beyond[1:] & ~beyond[:-1]).any())


def _norms(trajectory: Trajectory) -> FloatArray:
    known = trajectory.feature_norm
    return np.full(len(trajectory.epoch), np.nan) if known is None else known


def _each(pair: pd.DataFrame, level: float) -> list[dict[str, Any]]:
    """Describe each condition that was evaluated: fn* of its runs with an onset, and when, those without one included.

    `median` is Kaplan and Meier's, with its interval: a run without an onset counts as later than its end. `rmst` is
    the mean of min(T, `budget`): the shortest training among the runs of the condition that have no onset.
    """
    evaluated = pair[pair["state"] != "no_data"].reset_index(drop=True)
    onset = collapsed_by(evaluated)
    followed = evaluated["censored_at"].to_numpy(dtype=np.float64)
    is_open = evaluated["state"].isin(OPEN).to_numpy()
    norms = evaluated["fn_star"].to_numpy(dtype=np.float64)
    numbers, labels = condition_numbers(evaluated), np.array(condition_labels(evaluated), dtype=object)
    usable = evaluated[norms > 0]
    labels[usable.index] = condition_labels(usable)  # shorter: what those with an fn* differ in
    found = []
    for number in range(int(numbers.max(initial=-1)) + 1):
        own = numbers == number
        event, usable_norms = np.isfinite(onset[own]), norms[own & (norms > 0)]
        time = np.where(event, onset[own], np.where(is_open[own], followed[own], np.inf))
        budget = float(np.min(followed[own & is_open], initial=np.inf))
        within = np.where(event & (time <= budget), time, np.inf)
        median, sure = median_interval(time, event, level)
        until = budget if np.isfinite(budget) else float(np.max(time[event], initial=0.0))
        found.append(
            {
                "condition": str(labels[own & (norms > 0)][0] if len(usable_norms) else labels[own][0]),
                "n_runs": int(own.sum()),
                "n_collapsed": len(usable_norms),
                "fn_star": float(np.exp(np.log(usable_norms).mean())) if len(usable_norms) else None,
                "onset": float(time[event].mean()) if event.any() else None,
                "median": median.estimate,
                "median_lo": median.lo,
                "median_hi": median.hi,
                "median_level": sure,
                "rmst": restricted_mean(within, until),
                "budget": until,
            }
        )
    return found


def _fn_star_method(found: Threshold) -> str:
    if found.status == "too_few":
        return "the norm of one run"
    units = found.n_conditions if found.over == "conditions" else found.n_runs
    what = "condition means" if found.over == "conditions" else "runs"
    return f"geometric mean over conditions, t interval on logs over {units} {what}"


def _cv_method(found: Threshold) -> str:
    if found.n_conditions > 1:
        return "sqrt(exp(s^2) - 1), s^2 between and within conditions, bounds of Graybill and Wang"
    return "sqrt(exp(s^2) - 1), chi-square bounds"


def _condition_caution(found: Threshold) -> tuple[str, ...]:
    if found.status == "too_few":
        return ("one run collapsed: an estimate without an interval",)
    if found.n_conditions == 1:
        return ("one condition: no claim about invariance",)
    if found.n_conditions < MIN_CONDITIONS:
        return (
            f"{found.n_conditions} conditions: the interval is over seeds, and says nothing of a further condition; "
            f"that takes {MIN_CONDITIONS}",
        )
    return ()


def _cv_caution(found: Threshold) -> tuple[str, ...]:
    if found.status == "zero_variance":
        return ("all runs have the same norm: no interval, and no claim about the spread",)
    if found.status == "too_few":
        return ()
    cautions = [*_condition_caution(found)]
    limits = f"upper bound {percent(found.cv_upper)}; needs a sample CV below {percent(found.cv_needed)}"
    if found.n_runs < MIN_RUNS_FOR_CLAIM:
        limits = f"needs {MIN_RUNS_FOR_CLAIM}"
    if found.n_runs < MIN_RUNS_FOR_CLAIM or not found.cv_upper < CV_CLAIM:
        cautions.append(
            f"a CV below {CV_CLAIM:.0%} cannot be claimed with {found.n_runs} runs of "
            f"{counted(found.n_conditions, 'condition')} ({limits})"
        )
    return tuple(cautions)


def _verdict(found: Threshold, alpha: float) -> str:
    """Judge `CV < 8 %` by its one-sided bounds; the published reading, the sample CV alone, decides nothing.

    Nor does one run that is the only one of its condition (`p_above`).
    """
    if found.n_runs < MIN_RUNS_FOR_CLAIM or not np.isfinite(found.cv_upper):
        return "not testable"
    if found.p_below <= alpha:
        return "supported"
    return "refuted" if found.p_above <= alpha else "inconclusive"
