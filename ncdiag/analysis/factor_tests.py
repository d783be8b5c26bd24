"""Depth, width and activation: whether the onset turns, falls, or differs at all.

Onsets enter as ln min(T, budget) where means are compared, and by rank, never = last, where order is enough.
"""

import math
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import numpy as np

from ncdiag.analysis.factor_groups import Bound, FactorGroup, bound_of
from ncdiag.domain.defaults import find_default
from ncdiag.domain.group_tests import OneWay, largest_shift, one_way, pairwise_welch
from ncdiag.domain.levels import alpha_of
from ncdiag.domain.permutations import generator_of
from ncdiag.domain.questions import question_on
from ncdiag.domain.result import Result, Status
from ncdiag.domain.statistics import FloatArray, IntArray, Interval, exponential, has_company
from ncdiag.domain.trends import jonckheere, reversals, trend_slope, two_lines

SHIFT_CLAIM = 0.13  # the abstract of arXiv 2604.00230: width moves fn* by at most 13 %
MIN_LEVELS = 3  # for a turn, a trend, or three regimes


def depth_results(group: FactorGroup) -> list[Result]:
    """Give `non_monotone`: whether the onset turns at some depth inside the range (two lines, either way)."""
    return [turn_result(group, "non_monotone")]


def turn_result(group: FactorGroup, quantity: str, *, valley: bool = False) -> Result:
    """Give the test for a turn; `valley` declares beforehand that the onset falls first and rises then.

    `estimate` is the smaller of the two changes about the turn, the later onset over the earlier one: above 1 where the
    turn is as tested for. `left` is the onset at the turn over that at the first value, `right` that at the last value
    over that at the turn. Each `bound` is that of `FactorGroup.bound`.
    """
    if not group.event.any():
        return censored(group, quantity)
    sample = _replicated(group)
    if len(sample.numbers) < MIN_LEVELS:
        return too_few(group, quantity, f"{MIN_LEVELS} values with two runs each")
    found = two_lines(sample.values, sample.level, group.confidence, "valley" if valley else None, sample.capped)
    if found.status != "ok":
        return no_variance(group, quantity)
    first, turn, last = sample.numbers[[0, found.turn, -1]].tolist()
    falls_first = found.shape == "valley"
    sign = 1 if falls_first else -1
    changes = ((_ratio(found.left, -sign), first), (_ratio(found.right, sign), last))
    smaller, end = min(changes, key=lambda change: change[0].estimate)
    return Result(
        quantity=quantity,
        **base_of(group),
        **asdict(smaller),
        p=found.p,
        method="two lines (intersection-union) on ln min(T, budget), Welch's t",
        warnings=(*left_alone(group.level, group), *understated(group), *group.cautions),
        extra={
            "shape": found.shape,
            "turn": group.levels[turn],
            "bound": group.bound(end, turn) if falls_first else group.bound(turn, end),
            "left": {**_as_dict(_ratio(found.left, 1)), "bound": group.bound(turn, first)},
            "right": {**_as_dict(_ratio(found.right, 1)), "bound": group.bound(last, turn)},
            "df": found.df,
            "p_min": 0.0,
            "p_unsteady": reversals(sample.values, sample.level, sample.capped).p_unsteady,
            "fastest": _fastest(np.log(group.restricted), group),
        },
    )


class _Sample(NamedTuple):
    """ln min(T, budget) of the runs at the values with several runs, whose places in the group are `numbers`."""

    values: FloatArray
    level: IntArray
    numbers: IntArray
    capped: IntArray


def _replicated(group: FactorGroup) -> _Sample:
    """Leave out single runs: they do not say how much their like vary, and a test that guessed would err in 30 %."""
    taken = has_company(group.level)
    numbers, level = np.unique(group.level[taken], return_inverse=True)
    capped = np.flatnonzero(np.isin(numbers, group.capped))
    return _Sample(np.log(group.restricted[taken]), level, numbers, capped)


def width_results(group: FactorGroup) -> list[Result]:
    """Give `trend`, whether wider collapses earlier, and `fn_shift`, a bound of how far width moves fn*."""
    return [_trend(group), _fn_shift(group)]


def activation_results(group: FactorGroup) -> list[Result]:
    """Give `speed`, `fn_star` and `joint`: whether the activation decides when, at which norm, and both."""
    speed = _one_way("speed", np.log(group.restricted), group.level, group)
    usable = group.event & (group.fn_star > 0)
    norms = _one_way("fn_star", np.log(group.fn_star[usable]), group.level[usable], group)
    testable = not (math.isnan(speed.p) or math.isnan(norms.p))
    first, second = (speed, norms) if math.isnan(speed.p) else (norms, speed)  # what cannot be tested says why first
    joint = Result(
        quantity="joint",
        **base_of(group),
        p=max(speed.p, norms.p) if testable else math.nan,
        method="the larger p of speed and fn_star (intersection-union: both must differ)",
        status=first.status,
        warnings=tuple(dict.fromkeys([*first.warnings, *second.warnings])),
        extra={
            "lacks": "" if testable else first.extra.get("lacks", ""),
            "p_min": max(speed.extra["p_min"], norms.extra["p_min"]) if testable else math.nan,
        },
    )
    return [speed, norms, joint]


def base_of(group: FactorGroup) -> dict[str, Any]:
    """Give what every result of a group shares."""
    return {
        "question": question_on(group.factor),
        "group": dict(group.fixed),
        "level": group.confidence,
        "n_runs": len(group.level),
        "n_conditions": len(group.levels),
        "n_censored": group.n_censored,
    }


def too_few(group: FactorGroup, quantity: str, needed: str, *, onsets: bool = False) -> Result:
    """Say what a test needs that the group has not: runs, or runs with an onset, at its values."""
    counted = group.level[group.event] if onsets else group.level
    sizes = np.bincount(counted, minlength=len(group.levels))
    reason = f"needs {needed}; {'onsets' if onsets else 'runs'} {_by_level(group, sizes)}"
    return _without_test(group, quantity, "not_testable", reason)


def _by_level(group: FactorGroup, counts: IntArray) -> str:
    have = ", ".join(f"{value}: {count}" for value, count in zip(group.levels, counts.tolist(), strict=True))
    return f"by {group.factor.replace('_', ' ')}: {have}"


def censored(group: FactorGroup, quantity: str) -> Result:
    """Say that no run collapsed, so that there is nothing to compare."""
    later = int(np.isfinite(group.time).sum())
    lost = f", after which the shortest run was followed no more; {later} collapsed later" if later else ""
    reason = f"no run collapsed within the common budget of {group.budget:g} epochs{lost}"
    return _without_test(group, quantity, "all_censored", reason)


def no_variance(group: FactorGroup, quantity: str) -> Result:
    """Say that the runs of every level agree to the last digit, so that no difference can be judged."""
    reason = "the runs of each value agree exactly: there is no noise to compare with"
    return _without_test(group, quantity, "zero_variance", reason)


def _without_test(group: FactorGroup, quantity: str, status: Status, reason: str) -> Result:
    about = {"lacks": reason}
    return Result(quantity=quantity, **base_of(group), status=status, warnings=(reason, *group.cautions), extra=about)


def understated(group: FactorGroup) -> tuple[str, ...]:
    """Warn of runs without an onset, where means are compared.

    Of two values with one median the mean of min(T, budget) is smaller where runs vary more: they are the earliest ones
    and count as no later than the budget.
    """
    if group.event.all():
        return ()
    enter = "runs without an onset enter with the budget"
    return (f"{enter}, so changes of the onset are understated, and a value whose runs vary more seems earlier",)


def _trend(group: FactorGroup) -> Result:
    if not group.event.any():
        return censored(group, "trend")
    if len(group.levels) < MIN_LEVELS:
        return too_few(group, "trend", f"{MIN_LEVELS} values")
    values = np.log(group.restricted)
    found = jonckheere(-group.ranked, group.level, generator_of(values))  # a fall of the onset
    if found.status != "ok":
        return no_variance(group, "trend")
    doublings = np.log2(np.array(group.levels, dtype=np.float64))
    slope = trend_slope(doublings, values, group.level, group.confidence, group.capped)
    faster = Interval(estimate=-math.expm1(slope.estimate), lo=-math.expm1(slope.hi), hi=-math.expm1(slope.lo))
    sample = _replicated(group)
    back = reversals(sample.values, sample.level, sample.capped)
    return Result(
        quantity="trend",
        **base_of(group),
        **asdict(faster),
        p=found.p,
        method=f"Jonckheere-Terpstra, one-sided ({found.method}); slope of ln T on log2 width",
        warnings=(*understated(group), *group.cautions),
        extra={
            "j": found.j,
            "z": found.z,
            "p_min": found.p_min,
            "p_rise": back.p_rise,
            "rise": [group.levels[sample.numbers[place]] for place in back.rise] if back.rise else None,
            "bound": _bound_of_trend(group, doublings[group.level]),
        },
    )


def _bound_of_trend(group: FactorGroup, doublings: FloatArray) -> Bound | None:
    """Say what a fall per doubling bounds: runs without an onset at narrow networks hide a part of it."""
    place = (doublings - doublings.mean())[~group.event]
    return bound_of(over=bool((place < 0).any()), under=bool((place > 0).any()))


def _fn_shift(group: FactorGroup) -> Result:
    usable = group.event & (group.fn_star > 0)
    present = np.unique(group.level[usable])
    if len(present) < 2:
        return too_few(group, "fn_shift", "onsets at two values", onsets=True)
    number = _base_level(group, present)
    found, largest = largest_shift(np.log(group.fn_star[usable]), group.level[usable], number, group.confidence)
    counts = np.bincount(group.level[usable], minlength=len(group.levels))
    bounded = not math.isnan(found.hi) and bool(counts.min() > 1)  # a width without onsets could have any fn*
    shift, bound = math.expm1(found.estimate), math.expm1(found.hi) if bounded else math.nan
    lacks = "" if bounded else _unbounded(group, counts)
    claimed = "not testable" if not bounded else "supported" if bound < SHIFT_CLAIM else "inconclusive"
    return Result(
        quantity="fn_shift",
        **base_of(group),
        estimate=shift,
        hi=bound,
        lo=0.0 if bounded else math.nan,
        method="largest shift of fn*, with simultaneous bounds on logs (Welch's t at Sidak's level)",
        status="ok" if bounded else "not_testable",
        warnings=(lacks,) if lacks else (),
        extra={
            "lacks": lacks,
            "base": group.levels[number],
            "largest": group.levels[largest],
            "claim": SHIFT_CLAIM,
            "verdict": claimed,
        },
    )


def _unbounded(group: FactorGroup, counts: IntArray) -> str:
    return (
        f"how far {group.factor} moves fn* takes two onsets at every {group.factor}; onsets {_by_level(group, counts)}"
    )


def _base_level(group: FactorGroup, present: IntArray) -> int:
    """Choose what the others are compared with: the default of the architecture, else the middle value."""
    default = find_default(group.fixed.get("arch"), group.factor)
    numbers = present.tolist()
    if default in group.levels and group.levels.index(default) in numbers:
        return group.levels.index(default)
    return int(numbers[len(numbers) // 2])


def _one_way(quantity: str, values: FloatArray, level: IntArray, group: FactorGroup) -> Result:
    if not group.event.any():
        return censored(group, quantity)
    found = one_way(values, level, generator_of(values))
    extra = {**_one_way_figures(found), "pairs": _pairs(values, level, group, times=quantity == "speed")}
    if found.status != "ok":
        onsets = quantity == "fn_star"
        why = (
            no_variance(group, quantity)
            if found.status == "zero_variance"
            else too_few(group, quantity, f"two values with two {'onsets' if onsets else 'runs'} each", onsets=onsets)
        )
        return replace(why, extra={**extra, **why.extra, "p_min": math.nan})
    numbers = np.unique(level[has_company(level)]).tolist()
    means = [float(values[level == number].mean()) for number in numbers]
    if quantity == "speed":
        # Whichever value is latest in truth, it is no earlier than the latest mean here.
        extra["bound"] = bound_of(
            over=bool(np.isin(numbers, group.open).any()), under=numbers[int(np.argmin(means))] in group.open
        )
    return Result(
        quantity=quantity,
        **base_of(group),
        estimate=math.exp(max(means) - min(means)),
        p=found.p,
        method=f"Welch's F on logs, p from {_source(found)}; pairs by Welch's t with Holm's correction",
        warnings=(*left_alone(level, group), *(understated(group) if quantity == "speed" else ()), *group.cautions),
        extra=extra,
    )


def left_alone(level: IntArray, group: FactorGroup) -> tuple[str, ...]:
    """Name the values of a single run: they are in the table, and in no test."""
    names = ", ".join(str(group.levels[number]) for number in np.unique(level[~has_company(level)]).tolist())
    return (f"a single run takes no part in a test: it does not say how much its like vary ({names})",) if names else ()


def _source(found: OneWay) -> str:
    return f"{found.relabellings} relabellings" if found.relabellings else "the F distribution"


def _one_way_figures(found: OneWay) -> dict[str, Any]:
    return {
        "statistic": found.statistic,
        "df1": found.df1,
        "df2": found.df2,
        "p_normal": found.p_normal,
        "p_min": found.p_min,
    }


def _pairs(values: FloatArray, level: IntArray, group: FactorGroup, *, times: bool) -> list[dict[str, Any]]:
    return [
        {
            "of": [group.levels[pair.second], group.levels[pair.first]],
            "ratio": ratio.estimate,
            "lo": ratio.lo,
            "hi": ratio.hi,
            "bound": group.bound(pair.second, pair.first) if times else None,
            "p": pair.p,
            "p_holm": pair.p_holm,
        }
        for pair in pairwise_welch(values, level, group.confidence)
        for ratio in (exponential(pair.difference),)
    ]


def _fastest(values: FloatArray, group: FactorGroup) -> list[Any]:
    """Give the values that no other one beats for certain: where the extremum may lie, by Welch and Holm."""
    beaten = set()
    for pair in pairwise_welch(values, group.level, group.confidence):
        if pair.p_holm <= alpha_of(group.confidence):
            beaten.add(pair.second if pair.difference.estimate > 0 else pair.first)
    return [value for number, value in enumerate(group.levels) if number not in beaten]


def _ratio(difference: Interval, sign: int) -> Interval:
    lo, hi = sorted((sign * difference.lo, sign * difference.hi))
    return exponential(Interval(estimate=sign * difference.estimate, lo=lo, hi=hi))


def _as_dict(interval: Interval) -> dict[str, float]:
    return {"ratio": interval.estimate, "lo": interval.lo, "hi": interval.hi}
