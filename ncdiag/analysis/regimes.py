"""Weight decay: too little slows, a middle range is fastest, too much prevents collapse. Three claims, three tests."""

import math
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from ncdiag.analysis.factor_groups import FactorGroup
from ncdiag.analysis.factor_tests import (
    MIN_LEVELS,
    base_of,
    censored,
    left_alone,
    no_variance,
    too_few,
    turn_result,
    understated,
)
from ncdiag.domain.defaults import find_default
from ncdiag.domain.group_tests import fewer_collapse, largest_gain, welch_to_first
from ncdiag.domain.permutations import generator_of
from ncdiag.domain.result import Result
from ncdiag.domain.statistics import clopper_pearson, exponential, has_company
from ncdiag.domain.survival import logrank_p


def weight_decay_results(group: FactorGroup) -> list[Result]:
    """Give `slow_when_low` (a), `fails_when_high` (b) and `valley` (c).

    The best weight decay is never picked from the data and then tested as if it had been named before: (a) takes the
    largest gain over the smallest value and pays for the choice, (b) compares with the default of the architecture.
    Two values cannot be three regimes, whatever their runs do: their tests are marked as `exploratory`.
    """
    valley = turn_result(group, "valley", valley=True)
    found = [_slow_when_low(group), _fails_when_high(group), valley]
    return found if len(group.levels) >= MIN_LEVELS else [_exploratory(result) for result in found]


def _exploratory(result: Result) -> Result:
    if math.isnan(result.p):
        return result
    few = "two values cannot show three regimes, so what is tested of them is exploratory"
    return replace(result, warnings=(few, *result.warnings), extra={**result.extra, "exploratory": True, "lacks": few})


def _slow_when_low(group: FactorGroup) -> Result:
    """Compare the smallest value with the others but the largest, which is the matter of (b).

    `fastest` in `extra` is the value whose runs are most clearly faster (largest t), which need not have the smallest
    mean: one with a smaller mean may vary more.
    """
    if not group.event.any():
        return censored(group, "slow_when_low")
    count = max(len(group.levels) - 1, 2)
    below = group.level < count
    own = below & has_company(group.level)
    times, numbers = group.restricted[own], group.level[own]
    if not (numbers == 0).any() or (numbers == 0).all():
        return too_few(group, "slow_when_low", "two runs at the smallest value, and at another below the largest")
    earlier = -np.log(times)
    p, best = largest_gain(earlier, numbers)
    if math.isnan(p):
        return no_variance(group, "slow_when_low")
    later = exponential(welch_to_first(earlier, numbers, best, group.confidence))
    return Result(
        quantity="slow_when_low",
        **base_of(group),
        **asdict(later),
        p=p,
        method="smallest p of Welch's t over the smallest value on ln min(T, budget), times the number of values it "
        "was picked from; Welch's interval at Sidak's level",
        warnings=(*left_alone(group.level[below], group), *understated(group), *group.cautions),
        extra={
            "low": group.levels[0],
            "fastest": group.levels[best],
            "bound": group.bound(0, best),
            "p_min": 0.0,
        },
    )


def _fails_when_high(group: FactorGroup) -> Result:
    """Compare how many collapsed within the budget; `later_high` collapsed after it, and were not prevented."""
    if not group.event.any():
        return censored(group, "fails_when_high")
    high = len(group.levels) - 1
    candidates, why = _candidates(group)
    tested = []
    for candidate in candidates:
        collapsed = tuple(int(group.event[group.level == number].sum()) for number in (high, candidate))
        runs = (group.sizes[high], group.sizes[candidate])
        tested.append((*fewer_collapse((collapsed[0], collapsed[1]), runs), candidate, collapsed, runs))
    p, _, candidate, collapsed, runs = min(tested, key=lambda test: test[0])
    p_min = min(test[1] for test in tested)  # another candidate with more runs could give a smaller p
    count = len(candidates)
    shares = [clopper_pearson(k, n, group.confidence) for k, n in zip(collapsed, runs, strict=True)]
    difference = shares[0].estimate - shares[1].estimate
    return Result(
        quantity="fails_when_high",
        **base_of(group),
        estimate=difference,
        lo=difference - math.hypot(shares[0].estimate - shares[0].lo, shares[1].hi - shares[1].estimate),
        hi=difference + math.hypot(shares[0].hi - shares[0].estimate, shares[1].estimate - shares[1].lo),
        p=min(1.0, count * p),
        method=f"Boschloo, one-sided, against {why}; interval of Newcombe's kind",
        warnings=group.cautions,
        extra={
            "high": group.levels[high],
            "reference": group.levels[candidate],
            "collapsed_high": [collapsed[0], runs[0]],
            "collapsed_reference": [collapsed[1], runs[1]],
            "later_high": int(group.later[group.level == high].sum()),
            "p_min": min(1.0, count * p_min),
            "p_logrank": _logrank(group, high, candidate),
            **_edge(group),
        },
    )


def _logrank(group: FactorGroup, first: int, second: int) -> float:
    """Compare when two values collapsed, not only whether: exploratory, it decides nothing."""
    own = np.isin(group.level, [first, second])
    times = group.restricted[own]
    return logrank_p(times, group.event[own], group.level[own] == second, generator_of(times))


def _candidates(group: FactorGroup) -> tuple[list[int], str]:
    """Choose what the largest value is compared with: the default, which was named beforehand, or every other."""
    default = find_default(group.fixed.get("arch"), group.factor)
    if default in group.levels[:-1]:
        return [group.levels.index(default)], f"the default, {default:g}, which was named beforehand"
    others = list(range(len(group.levels) - 1))
    return others, f"each other value, times their number ({len(others)})"


def _edge(group: FactorGroup) -> dict[str, Any]:
    """Give the last value at which more than half of the runs collapsed before the first at which fewer did.

    An onset after the common budget counts here: what came late was not prevented.
    """
    collapsed = np.isfinite(group.time)
    shares = [float(collapsed[group.level == number].mean()) for number in range(len(group.levels))]
    most = [number for number, share in enumerate(shares) if share > 0.5]
    if not most:
        return {"edge": [None, None]}
    beyond = [number for number in range(most[-1] + 1, len(shares)) if shares[number] < 0.5]
    return {"edge": [group.levels[most[-1]], group.levels[beyond[0]] if beyond else None]}
