"""Whether rescaled features come back to where they would have been: equality is tested, not the absence of a proof."""

from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np

from ncdiag.analysis.asked import Asked
from ncdiag.analysis.branches import Branches, list_branches
from ncdiag.analysis.copies import list_copies, say_copies
from ncdiag.analysis.curves import observable_curves
from ncdiag.analysis.rescaled_set import LAST, RescaledSet, each_alone, extra_of
from ncdiag.analysis.standstill import standstill
from ncdiag.domain.crossing import Curve
from ncdiag.domain.equivalence import MARGIN, Equivalence, paired_equivalence, pairs_needed, pooled_t_test
from ncdiag.domain.multiplicity import holm
from ncdiag.domain.onset import OPEN
from ncdiag.domain.relaxation import Relaxation, fit_relaxation
from ncdiag.domain.result import Result
from ncdiag.domain.shares import counted, out_of
from ncdiag.domain.statistics import IntArray, exponential, t_interval

QUESTION = "attractor"
MIN_PAIRS = 2
_ALIKE = 0.01  # of fn: on a GPU runs of one seed drift apart, but seeds differ by more
ARMS = ("up_control", "down_control", "up_down")


def attractor_results(asked: Asked) -> list[Result]:
    """Give the results of each set of branches; none where no run had its features rescaled.

    Quantities: `log_ratio` and `log_ratio_at_onset` per `arm` (`up_control`, `down_control`, `up_down`), the mean
    difference of ln fn with the equivalence test against ln 1.08; `onset_order`, whether the onset comes later after
    scaling up than after scaling down; `half_life` of the difference per arm, in epochs;
    `drift` and `settled`, whether fn of the controls stands still after onset, and at fn*; and `verdict`.
    """
    sets = list_branches(asked.onsets, asked.terms.by)
    if not sets:
        return []
    rows = np.unique(np.concatenate([np.concatenate([b.control, b.up, b.down]) for b in sets]))
    names = asked.onsets["run"].iloc[rows[rows >= 0]]
    curves = observable_curves(asked.epochs[asked.epochs["run"].isin(names)], ["feature_norm"])["feature_norm"]
    found = []
    for branches in sets:
        base = _base(branches, asked)
        found += _judge(
            RescaledSet(branches=branches, onsets=asked.onsets, curves=curves, base=base, level=asked.terms.level)
        )
    return found


def _base(branches: Branches, asked: Asked) -> dict[str, Any]:
    used = np.concatenate([branches.control, branches.up, branches.down])
    states = asked.onsets["state"].iloc[used[used >= 0]]
    return {
        "question": QUESTION,
        "group": branches.group,
        "n_runs": len(states),
        "n_conditions": len(np.unique(branches.condition)),
        "n_censored": int(states.isin(OPEN).sum()),
    }


def _judge(this: RescaledSet) -> list[Result]:
    arms = {arm: _log_ratio(this, arm) for arm in ARMS}
    halves = [_half_life(this, arm) for arm in ARMS[:2]]
    still = [standstill(this, "drift"), standstill(this, "settled")]
    return [
        *arms.values(),
        *(_log_ratio(this, arm, at_onset=True) for arm in ARMS),
        _onset_order(this),
        *halves,
        *still,
        _verdict(this, list(arms.values()), halves, still),
    ]


def _paired(this: RescaledSet, arm: str) -> tuple[IntArray, IntArray, IntArray]:
    """Give the rows of both runs of each pair, and the pairs' conditions."""
    first, second = (this.rows(name) for name in arm.split("_"))
    both = (first >= 0) & (second >= 0)
    return first[both], second[both], this.branches.condition[both]


def _log_ratio(this: RescaledSet, arm: str, *, at_onset: bool = False) -> Result:
    first, second, condition = _paired(this, arm)
    apart = 0
    if at_onset:
        norms = [np.log(this.column("fn_star", rows)) for rows in (first, second)]
        what = "onset"
    else:
        ends = [_at_end(this.curve(a), this.curve(b)) for a, b in zip(first, second, strict=True)]
        norms = [np.array([end[side] for end in ends]) for side in (0, 1)]
        apart = int(np.count_nonzero(this.column("last_epoch", first) != this.column("last_epoch", second)))
        what = f"the end (mean of {LAST} evaluations)"
    known = np.isfinite(norms[0]) & np.isfinite(norms[1])
    differences = (norms[0] - norms[1])[known]
    extra: dict[str, Any] = {
        "arm": arm,
        "margin": MARGIN,
        "n_pairs": len(differences),
        "n_left_out": int((~known).sum()),
        "n_ends_apart": apart,
    }
    quantity = "log_ratio_at_onset" if at_onset else "log_ratio"
    if not len(differences):
        why = f"no seed has both arms of {arm} with a feature norm at {what}"
        return Result(quantity=quantity, status="not_testable", warnings=(why,), extra=extra, **this.base)
    test, over = this.tested(differences, condition[known])
    onset = [this.column("onset", rows) for rows in (first, second)]
    extra |= {
        **extra_of(test),
        "ratio": float(np.exp(test.estimate)),
        "sd": test.sd,
        "pairs_needed": pairs_needed(test.sd, alpha=this.alpha) if test.sd > 0 else None,
        "over": over,
        "values": differences.tolist(),
        **this.each(first[known], condition[known], differences),
        "p_published_fn": pooled_t_test(norms[0][known], norms[1][known]),
        "p_published_onset": pooled_t_test(*(t[np.isfinite(t)] for t in onset)),
    }
    return Result(
        quantity=quantity,
        **this.figures(test),
        method=f"difference of ln fn at {what}, two one-sided paired t-tests against ln 1.08 over {test.n} {over}",
        warnings=(
            *_ends_apart(arm, apart, len(known)),
            *_few(test, over, condition[known]),
            *each_alone(extra),
        ),
        extra=extra,
        **this.base,
    )


def _ends_apart(arm: str, apart: int, pairs: int) -> tuple[str, ...]:
    """Warn of runs that end at different epochs: where the shorter one ends the other may still be under way."""
    if not apart:
        return ()
    names = " and ".join(arm.split("_"))
    return (
        f"in {out_of(apart, pairs, 'pair')} {names} end at different epochs, and are compared where the shorter one "
        "ends",
    )


def _few(test: Equivalence, over: str, condition: IntArray) -> tuple[str, ...]:
    if test.status == "too_few":
        return ("one pair: a description, no test",)
    if test.status == "zero_variance":
        return ("the differences are equal to the last digit: nothing to test against",)
    conditions = len(np.unique(condition))
    return (f"the pairs of {conditions} conditions count as independent",) if over == "pairs" and conditions > 1 else ()


def _at_end(first: Curve, second: Curve) -> tuple[float, float]:
    """Give the mean ln fn of both runs over the last evaluations that both have."""
    common = np.intersect1d(first.epoch, second.epoch)[-LAST:]
    if not len(common):
        return np.nan, np.nan
    means = [float(curve.log[np.searchsorted(curve.epoch, common)].mean()) for curve in (first, second)]
    return means[0], means[1]


def _onset_order(this: RescaledSet) -> Result:
    """Test whether the onset comes later where features were scaled up than where they were scaled down.

    It does if collapse waits for fn to fall to a value. If NC1 merely keeps time with fn, rescaling moves fn alone.
    """
    first, second, condition = _paired(this, "up_down")
    later = np.log(this.column("onset", first)) - np.log(this.column("onset", second))
    known = np.isfinite(later)
    extra = {"arm": "up_down", "n_pairs": int(known.sum()), "n_left_out": int((~known).sum())}
    if not known.any():
        why = "no seed has an onset both where features were scaled up and where they were scaled down"
        return Result(quantity="onset_order", status="not_testable", warnings=(why,), extra=extra, **this.base)
    test, over = this.tested(later[known], condition[known])
    one_sided = test.p_difference / 2 if test.estimate > 0 else 1 - test.p_difference / 2
    return Result(
        quantity="onset_order",
        estimate=test.estimate,
        lo=test.difference_lo,
        hi=test.difference_hi,
        level=this.level,
        p=one_sided,
        method=f"difference of ln onset, up minus down; paired t-test over {test.n} {over}, one-sided",
        status=test.status,
        warnings=_few(test, over, condition[known]),
        extra={**extra, "over": over, "ratio": float(np.exp(test.estimate))},
        **this.base,
    )


def _half_life(this: RescaledSet, arm: str) -> Result:
    first, second, _ = _paired(this, arm)
    fits = [_relaxation(this.curve(a), this.curve(b), this.branches.epoch) for a, b in zip(first, second, strict=True)]
    logs = np.array([np.log(fit.half_life) for fit in fits if np.isfinite(fit.half_life)])
    flags = Counter(flag for fit in fits for flag in fit.flags)
    extra: dict[str, Any] = {
        "arm": arm,
        "n_pairs": len(fits),
        "n_seen": len(logs),
        "flags": dict(flags),
        "half_lives": [fit.half_life for fit in fits],
    }
    if not len(logs):
        why = "no return was seen in any pair" if fits else f"no seed has both arms of {arm}"
        return Result(quantity="half_life", status="not_testable", warnings=(why,), extra=extra, **this.base)
    offset = paired_equivalence(np.array([fit.offset for fit in fits if np.isfinite(fit.half_life)]))
    extra |= {
        "offset": offset.estimate,
        "p_offset": offset.p,
        "contraction": float(np.exp(np.mean([np.log(max(fit.contraction, 1e-12)) for fit in fits]))),
    }
    interval = exponential(t_interval(logs, this.level))
    hidden = flags["no_relaxation_seen"]
    lacking = f"no return of {arm.replace('_', ' to ')} was seen in {out_of(hidden, len(fits), 'pair')}"
    return Result(
        quantity="half_life",
        **asdict(interval),
        level=this.level,
        method=f"r = c + A exp(-lambda t) per pair, t interval on ln lambda over {len(logs)} pairs",
        status="ok" if len(logs) > 1 else "too_few",
        warnings=(lacking,) if hidden else (),
        extra=extra,
        **this.base,
    )


def _relaxation(first: Curve, second: Curve, start: int) -> Relaxation:
    common = np.intersect1d(first.epoch, second.epoch)
    common = common[common > start]
    logs = [curve.log[np.searchsorted(curve.epoch, common)] for curve in (first, second)]
    return fit_relaxation(common - start, logs[0] - logs[1])


def _cut_short(this: RescaledSet) -> tuple[str, ...]:
    if not this.is_cosine(this.branches.control[this.branches.control >= 0]):
        return ()
    return (
        "a return that was still under way when the learning rate reached 0 looks like none; more epochs or "
        "--schedule constant tell them apart",
    )


def _verdict(this: RescaledSet, arms: list[Result], halves: list[Result], still: list[Result]) -> Result:
    """Put it together: an attractor is reached from both sides, in a finite time, and not left again.

    It is refuted by what is further off than the margin, be it in one condition. A difference that is not 0 is no
    refutation: more runs could show that it lies within.
    """
    tests = [*arms, *still]
    several = [test for test in tests if test.extra.get("conditions")]
    p = float(np.max([*(test.p for test in tests), *(test.extra["p_each"] for test in several)]))
    every = [*((test, "p_beyond") for test in tests), *((test, "p_each_beyond") for test in several)]
    beyond = holm(np.array([test.extra.get(name, np.nan) for test, name in every]))  # any of them would refute it
    found = [_name(test) for (test, _), p_beyond in zip(every, beyond, strict=True) if p_beyond < this.alpha]
    moved = list(dict.fromkeys(found))
    open_ = [_name(test) for test in tests if not _is_equal(test, this.alpha)]
    returned = all(half.extra.get("n_seen", 0) >= max(2, half.extra["n_pairs"] // 2 + 1) for half in halves)
    lacks, copies = _lacks(arms), list_copies(this.runs)
    blocked = [say_copies(copies)] if copies else []
    if lacks:
        verdict = "not testable"
    elif blocked:
        verdict = "inconclusive"
    elif moved:
        verdict = "refuted"
    else:
        verdict = "inconclusive" if open_ or not returned else "supported"
    extra = {
        "verdict": verdict,
        "lacks": lacks,
        "blocked": blocked,
        "different": moved,
        "not_shown": open_,
        "returned": returned,
    }
    return Result(
        quantity="verdict",
        p=p,
        method="equivalence in all arms, a finite half-life from both sides, fn still after onset and at fn*",
        status="ok" if verdict != "not testable" else "not_testable",
        warnings=(*(_cut_short(this) if verdict == "refuted" else ()), *_unlike(this)),
        extra=extra,
        **this.base,
    )


def _is_equal(test: Result, alpha: float) -> bool:
    """Tell whether equality is shown: of most controls, on average, and in every condition where there are several."""
    on_average = test.extra.get("outcome") in ("equivalent", "equivalent but different")
    return (
        on_average
        and test.extra.get("of_most", True)
        and (not test.extra.get("conditions") or test.extra["p_each"] <= alpha)
    )


def _unlike(this: RescaledSet) -> list[str]:
    """Name pairs that were no branches of one run: their feature norms differ before the rescaling."""
    apart = []
    for arm in ("up", "down"):
        both = zip(this.rows("control").tolist(), this.rows(arm).tolist(), strict=True)
        for control, scaled in ((this.curve(a), this.curve(b)) for a, b in both if min(a, b) >= 0):
            epochs, *rows = np.intersect1d(control.epoch, scaled.epoch, return_indices=True)
            logs = [
                curve.log[row[epochs < this.branches.epoch]] for curve, row in zip((control, scaled), rows, strict=True)
            ]
            apart.append(bool((np.abs(logs[0] - logs[1]) > _ALIKE).any()))
    if not any(apart):
        return []
    some = out_of(sum(apart), len(apart), "pair", "differs/differ")
    return [f"{some} in fn by more than {_ALIKE:.0%} before the rescaling: these are not branches of one run"]


def _lacks(arms: list[Result]) -> str:
    """Say what the tests of the arms lack, as a clause; nothing where all could be made."""
    if all(arm.status == "ok" for arm in arms):
        return ""
    pairs = min(arm.extra["n_pairs"] for arm in arms)
    if pairs < MIN_PAIRS:
        return f"{counted(pairs, 'seed')} with every arm; two are the least for a test, five are recommended"
    return "the differences between arms are equal to the last digit, so there is no noise to test them against"


def _name(test: Result) -> str:
    return str(test.extra.get("arm", test.quantity))


def attractor_family(result: Result) -> str | None:
    """Name the family of a test: the sets of branches; within a set all tests must pass, which needs no correction."""
    return "branches" if result.quantity == "verdict" else None
