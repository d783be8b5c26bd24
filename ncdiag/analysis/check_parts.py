"""The parts of claims 1 and 2 that the checks of fn* decide: that no other epoch would do, and that any eps would."""

import math
from dataclasses import replace

from ncdiag.analysis.evidence import Part
from ncdiag.analysis.pooling import of_independent, of_other_side
from ncdiag.domain.comparison import MIN_UNITS
from ncdiag.domain.p_values import p_is
from ncdiag.domain.result import Result
from ncdiag.domain.shares import counted
from ncdiag.domain.threshold import MIN_CONDITIONS


def at_no_other_epoch(placebo: Result, alpha: float) -> Part:
    """Give the part that fn is no more alike at onset than at any epoch: it varies less there than at a fixed one."""
    name = "fn varies less at onset than at a fixed epoch"
    if placebo.status == "zero_variance":
        one = placebo.extra["at_one_epoch"]
        why = (
            "all onsets are at one epoch, so fn* is fn at that epoch"
            if one
            else "fn varies at neither, or alike at both"
        )
        return Part(name=name, shown=None, lacking=why)
    if placebo.status == "not_testable":
        return Part(name=name, shown=None, lacking=placebo.warnings[0])
    if math.isnan(placebo.p):
        runs = counted(placebo.extra.get("n_used", 0), "run")
        lacking = f"{runs} with an onset: to compare with fn at a fixed epoch takes {MIN_UNITS}"
        return Part(name=name, shown=None, lacking=lacking)
    epoch = f"{placebo.extra['epoch']:.0f}"
    lacking = f"that fn varies less at onset than at epoch {epoch} is not shown ({p_is(placebo.p)})"
    part = of_independent(Part(name=name, shown=placebo.p <= alpha, p=placebo.p, lacking=lacking), placebo)
    if not part.shown or not _is_early(placebo):
        return part
    lacking = f"{name}: shown at epoch {epoch} alone, where runs end, before the median onset"
    return replace(part, shown=None, lacking=f"{lacking} ({placebo.extra['t_median']:.0f})")


def more_at_onset(placebo: Result) -> float:
    """Give the p that fn varies more at onset than at a fixed epoch; NaN where no verdict may rest on it."""
    return math.nan if _is_early(placebo) else of_other_side(placebo, "p_other")


def _is_early(placebo: Result) -> bool:
    """Tell whether the fixed epoch had to come before the median onset, because runs end before that.

    fn changes faster the earlier it is. Of runs that stop at their onset the shortest has the earliest onset: where fn
    varies more at onset than at the median onset, it may well vary less than at that one.
    """
    return bool(placebo.extra.get("epoch", math.nan) < placebo.extra.get("t_median", math.nan))


def whatever_eps(eps: Result, alpha: float) -> Part:
    """Give the part that fn* is the norm at an event, and not at the epoch that some eps happens to mark."""
    name = "fn* does not depend on eps"
    if math.isnan(eps.p):
        why = (
            "no run has 2 eps and eps/2 in one phase, under one loss"
            if math.isnan(eps.estimate) and eps.extra["n_across"]
            else "no run was followed from 2 eps to eps/2"
            if math.isnan(eps.estimate)
            else "fn changes by as much in every run from 2 eps to eps/2, with no noise to compare it with"
            if eps.status == "zero_variance"
            else "one run alone was followed from 2 eps to eps/2, and 2 are needed"
        )
        return Part(name=name, shown=None, p=eps.p, lacking=f"{why}, so fn* may depend on eps")
    change = f"{change_with_eps(eps)} from 2 eps to eps/2"
    moves = float(eps.extra.get("p_beyond", math.nan)) <= alpha
    open_ = f"that fn* does not depend on eps is not shown ({change}, {p_is(eps.p)})"
    lacking = f"fn* moves with eps ({change})" if moves else open_
    return of_independent(Part(name=name, shown=eps.p <= alpha, p=eps.p, lacking=lacking), eps, MIN_CONDITIONS)


def change_with_eps(eps: Result) -> str:
    """Write how much fn* changes from 2 eps to eps/2, in per cent; nothing where that is not known."""
    return "" if math.isnan(eps.estimate) else f"{100 * math.expm1(eps.estimate):+.0f}%"
