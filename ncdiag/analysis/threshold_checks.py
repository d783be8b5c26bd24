"""What a low spread of fn* is worth: the spread at an arbitrary epoch, and how fn* moves with eps."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd

from ncdiag.analysis.asked import Asked
from ncdiag.analysis.by_run import floats
from ncdiag.analysis.conditions import condition_numbers, replication_units, show
from ncdiag.analysis.curves import observable_curves
from ncdiag.analysis.onsets import NORM_COLUMNS, norms_at_onset
from ncdiag.analysis.pairs import count_values, list_pairs, pair_base, with_norm_at_onset
from ncdiag.analysis.pooling import say_pooled
from ncdiag.domain.comparison import MIN_UNITS, Comparison, less_variable, smallest_pairing_p
from ncdiag.domain.crossing import Curve
from ncdiag.domain.equivalence import MARGIN, Equivalence, equality_level, paired_equivalence
from ncdiag.domain.levels import alpha_of
from ncdiag.domain.result import Result
from ncdiag.domain.shares import counted, out_of
from ncdiag.domain.statistics import BoolArray, group_means
from ncdiag.domain.threshold import CV_CLAIM, MIN_CONDITIONS, estimate_threshold

QUESTION = "threshold"
FACTORS = (0.5, 1.0, 2.0, 3.0, 5.0)  # of eps: the ends of the sensitivity, and the thresholds used in publications
_NOT_ONE = "changed phase or loss on the way, and fn before and after is not one quantity"


def threshold_check_results(asked: Asked) -> list[Result]:
    """Give two results per pair, in the order of the runs: `placebo_cv` and `eps_sensitivity`.

    `placebo_cv` is the CV of fn at one epoch, the median onset, or the last that every collapsed run reached, with the
    Pitman-Morgan test that fn varies less at onset (`p`, and `p_min` that its units could reach). `eps_sensitivity` is
    ln fn*(eps / 2) - ln fn*(2 eps) over the runs that reach both (`p` of the equivalence test against ln 1.08), but for
    the `n_across` that change phase or loss on the way: fn under cross-entropy and under squared error are two things.
    Its `curve` has fn at the first epoch below several eps, each over all runs that have an onset by it.
    """
    curves = observable_curves(asked.epochs, ["feature_norm"])["feature_norm"]
    found = []
    for pair in list_pairs(asked.onsets, asked.terms.by):
        usable = with_norm_at_onset(pair)
        conditions = int(condition_numbers(usable).max(initial=-1)) + 1
        base = {**pair_base(QUESTION, pair, asked.terms.by), "n_conditions": conditions}
        found.append(_placebo(asked, usable, curves, base))
        found.append(_sensitivity(asked, pair, base))
    return found


def _placebo(asked: Asked, usable: pd.DataFrame, curves: dict[str, Curve], base: dict[str, Any]) -> Result:
    level, onset = asked.terms.level, usable["onset"].to_numpy(dtype=np.float64)
    mine = [curves[str(run)] for run in usable["run"]]
    ends = [curve.epoch[-1] for curve in mine if len(curve.epoch)]
    if not ends:
        return Result(quantity="placebo_cv", status="not_testable", warnings=("no onset with a norm",), **base)
    median = float(np.median(onset))
    epoch = min(median, float(min(ends)))
    logs = np.array([curve.at(epoch) for curve in mine])
    known = np.isfinite(logs)
    read = _rows_at(epoch, asked.epochs[asked.epochs["run"].isin(usable["run"][known])])
    mixed = _mixed(read["loss"], read["phase"])
    why = f"at one fixed epoch ({epoch:.0f}) runs are {mixed}: fn there is not one quantity"
    if not mixed:
        mixed = _mixed(usable["onset_loss"][known], usable["onset_phase"][known])
        why = f"at onset runs are {mixed}: fn there is not one quantity"
    if mixed:
        return Result(quantity="placebo_cv", status="not_testable", warnings=(why,), **base)
    conditions = condition_numbers(usable)[known]
    at_onset = np.log(usable["fn_star"].to_numpy(dtype=np.float64))[known]
    extra: dict[str, Any] = {
        "epoch": epoch,
        "t_median": median,
        "at_one_epoch": bool((onset == epoch).all()),
        "n_used": int(known.sum()),
        "n_left_out": int((~known).sum()),
    }
    if known.sum() < 2:
        return Result(quantity="placebo_cv", status="too_few", extra=extra, **base)
    fixed, there = (estimate_threshold(np.exp(values), conditions, level) for values in (logs[known], at_onset))
    unit, over = replication_units(conditions, MIN_UNITS)
    test = less_variable(group_means(at_onset, unit), group_means(logs[known], unit))
    extra |= {
        "cv": fixed.sample_cv,
        "cv_lower": fixed.cv_lower,
        "cv_upper": fixed.cv_upper,
        "cv_at_onset": there.sample_cv,
        "log_cv_at_onset": there.cv.estimate,
        "feature_norm": fixed.fn_star.estimate,
        "r": test.r,
        "p_min": test.p_min,
        "p_other": test.p_other,
        "over": over,
        "n_tested": test.n,
        "claim": CV_CLAIM,
    }
    return Result(
        quantity="placebo_cv",
        **asdict(fixed.cv),
        level=level,
        p=test.p,
        method=f"CV of fn at epoch {epoch:g}; Pitman-Morgan test over {test.n} {over} that fn varies less at onset",
        status=test.status,
        warnings=_placebo_cautions(test, over, extra, base["n_conditions"]),
        extra=extra,
        **base,
    )


def _rows_at(epoch: float, epochs: pd.DataFrame) -> pd.DataFrame:
    """Give the row of each run in which its fn is read at an epoch.

    Between two evaluations the later one says, as of the norm across a switch (see `Curve.at`).
    """
    there = epochs[(epochs["epoch"] >= epoch) & (epochs["feature_norm"] > 0) & np.isfinite(epochs["feature_norm"])]
    first: pd.DataFrame = there.sort_values("epoch", kind="stable").drop_duplicates("run")
    return first


def _mixed(losses: pd.Series, phases: pd.Series) -> str:
    """Say under which losses, or in which phases, the fn of runs is read; nothing where it is one for all."""
    for values, what in ((losses, "under different losses"), (phases, "in different phases")):
        counts = count_values(values.map(show))
        if len(counts) > 1:
            return f"{what} ({', '.join(f'{name}: {count}' for name, count in counts.items())})"
    return ""


def _placebo_cautions(test: Comparison, over: str, extra: dict[str, Any], conditions: int) -> tuple[str, ...]:
    found = []
    if test.status == "too_few":
        found.append(
            f"whether fn varies less at onset than at a fixed epoch needs {MIN_UNITS} runs to be tested, "
            f"not {test.n} (smallest p: {smallest_pairing_p(max(test.n, 1)):.3g})"
        )
    elif over == "runs" and conditions > 1:
        found.append(say_pooled("the comparison with a fixed epoch", conditions))
    if extra["epoch"] < extra["t_median"]:
        found.append(
            f"the fixed epoch ({extra['epoch']:.0f}) is the end of a run, before the median onset "
            f"({extra['t_median']:.0f}): fn may vary more there for being earlier, so no verdict rests on it"
        )
    if extra["n_left_out"]:
        n, have = extra["n_left_out"], "has" if extra["n_left_out"] == 1 else "have"
        found.append(f"{counted(n, 'run')} {have} no feature norm around epoch {extra['epoch']:g}")
    return tuple(found)


def _sensitivity(asked: Asked, pair: pd.DataFrame, base: dict[str, Any]) -> Result:
    runs = [str(run) for run in pair["run"]]
    here = with_norm_at_onset(pair)[list(NORM_COLUMNS)].reindex(pair.index).reset_index(drop=True)
    usable = here["fn_star"].notna().to_numpy()
    read = {
        factor: here
        if factor == 1
        else norms_at_onset(asked.trajectories, runs, replace(asked.terms.rule, eps=factor * asked.terms.rule.eps))
        for factor in FACTORS
    }
    low, high = (floats(read[factor], "fn_star") for factor in (FACTORS[0], 2.0))
    followed = usable & np.isfinite(low) & np.isfinite(high)
    used = followed & _read_alike([read[factor] for factor in (1.0, FACTORS[0], 2.0)])
    across = int((followed & ~used).sum())
    curve = [_at_eps(factor * asked.terms.rule.eps, values) for factor, values in read.items()]
    extra: dict[str, Any] = {"curve": curve, "margin": MARGIN, "n_used": int(used.sum()), "n_across": across}
    if not used.any():
        both_eps = f"{asked.terms.rule.eps / 2:g} and {asked.terms.rule.eps * 2:g}"
        why = f"no run has an onset with a feature norm at both eps {both_eps}"
        if across:
            why += f" in one phase, under one loss: {counted(across, 'run')} {_NOT_ONE}"
        return Result(quantity="eps_sensitivity", status="not_testable", warnings=(why,), extra=extra, **base)
    differences = np.log(low[used]) - np.log(high[used])
    unit, over = replication_units(condition_numbers(pair[used]), MIN_CONDITIONS)
    test = paired_equivalence(group_means(differences, unit), alpha=alpha_of(asked.terms.level))
    extra |= {"outcome": test.outcome, "p_difference": test.p_difference, "p_beyond": test.p_beyond, "over": over}
    return Result(
        quantity="eps_sensitivity",
        estimate=test.estimate,
        lo=test.lo,
        hi=test.hi,
        level=equality_level(asked.terms.level),
        p=test.p,
        method=f"ln fn*(eps/2) - ln fn*(2 eps), two one-sided t-tests against ln 1.08 over {test.n} {over}",
        status=test.status,
        warnings=_sensitivity_cautions(test, used[usable], across, over, base["n_conditions"]),
        extra=extra,
        **base,
    )


def _read_alike(read: Sequence[pd.DataFrame]) -> BoolArray:
    """Mark the runs that are in one phase at several onsets, and under one loss; unknown at all of them is alike."""
    alike = np.ones(len(read[0]), dtype=np.bool_)
    for column in ("onset_phase", "onset_loss"):
        first, *others = (table[column].map(show).to_numpy(dtype=object) for table in read)
        for other in others:
            alike &= first == other
    return alike


def _at_eps(eps: float, read: pd.DataFrame) -> dict[str, Any]:
    known = read[read["fn_star"].notna()]
    norms, onset = (floats(known, name) for name in ("fn_star", "onset"))
    several = len(known) > 1
    return {
        "eps": eps,
        "n_collapsed": len(known),
        "fn_star": float(np.exp(np.log(norms).mean())) if len(known) else None,
        "cv": float(norms.std(ddof=1) / norms.mean()) if several else None,
        "onset": float(np.median(onset)) if len(known) else None,
        "phases": count_values(known["onset_phase"]),
        "losses": count_values(known["onset_loss"]),
    }


def _sensitivity_cautions(
    test: Equivalence, used: BoolArray, across: int, over: str, conditions: int
) -> tuple[str, ...]:
    found = []
    if not used.all():
        without = f"; {counted(across, 'run')} {_NOT_ONE}" if across else ""
        found.append(
            f"how fn* moves with eps is known of {out_of(int(used.sum()), len(used), 'collapsed run')}{without}"
        )
    if over == "runs" and conditions > 1 and test.status == "ok":
        found.append(say_pooled("the test of eps", conditions))
    return tuple(found)
