"""Depth, width, activation and weight decay: each tested where it alone varies, corrected as one family."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from ncdiag.analysis.blocks import over_blocks
from ncdiag.analysis.conditions import CONDITION_COLUMNS, plain_value
from ncdiag.analysis.factor_groups import FactorGroup, list_factor_groups
from ncdiag.analysis.factor_tests import activation_results, depth_results, width_results
from ncdiag.analysis.families import with_holm
from ncdiag.analysis.regimes import weight_decay_results
from ncdiag.analysis.terms import Terms
from ncdiag.domain.levels import alpha_of
from ncdiag.domain.questions import FACTORS
from ncdiag.domain.result import Result


@dataclass(frozen=True)
class _Regularity:
    """How a question about a factor is answered: `test` of a group, whose first `quantity` takes what is `needed`."""

    test: Callable[[FactorGroup], list[Result]]
    quantity: str
    needed: str


_REGULARITIES = {
    "depth": _Regularity(depth_results, "non_monotone", "three depths with two runs each"),
    "width": _Regularity(width_results, "trend", "three widths, better with two runs each"),
    "activation": _Regularity(activation_results, "joint", "two activations, with four runs each to reach p < 0.05"),
    "weight-decay": _Regularity(weight_decay_results, "slow_when_low", "three weight decays with three runs each"),
}
# The tests that make a claim; what else is computed is an interval, or a part of such a test.
CLAIMS = ("non_monotone", "trend", "joint", "slow_when_low", "fails_when_high", "valley")


def regularity_results(onsets: pd.DataFrame, terms: Terms) -> list[Result]:
    """Give the results of all four questions, with Holm's correction over their claims.

    `onsets` is the table of `onset_table`. Every claim has, in `extra`, `p_min` (the smallest p that
    runs like these can give), `p_holm`, `family` (how many claims were tested) and a `verdict`.
    """
    level = terms.level
    found: list[Result] = []
    for question, factor in FACTORS.items():
        groups = list_factor_groups(onsets, factor, terms)
        own = [result for group in groups for result in _described(_REGULARITIES[question].test(group), group)]
        found += own or [_untested(onsets, question, level)]
        found += over_blocks(question, groups, level)
    return _corrected(found, alpha_of(level))


def _described(results: Sequence[Result], group: FactorGroup) -> list[Result]:
    """Give the results of a group, each with what the group is: its values and their runs, and what limits it."""
    about = {"factor": group.factor, "budget": group.budget, "levels": group.describe_levels()}
    told = {"blocked": list(group.blocked), "limited": list(group.limited)}
    return [replace(result, extra={**about, **result.extra, **told}) for result in results]


def _untested(onsets: pd.DataFrame, question: str, level: float) -> Result:
    """Say that no two runs differ in this factor alone, and what they differ in besides."""
    factor, asked = FACTORS[question], _REGULARITIES[question]
    values = onsets[factor].dropna().unique()
    seen = ", ".join(f"{plain_value(value)}" for value in values[:8])
    reason = (
        f"all runs have one {factor.replace('_', ' ')} ({seen})"
        if len(values) == 1
        else f"no two runs differ in their {factor.replace('_', ' ')} alone"
        if len(values)
        else f"no run says its {factor.replace('_', ' ')}"
    )
    others = [name for name in CONDITION_COLUMNS if name != factor and onsets[name].nunique(dropna=False) > 1]
    if len(values) > 1 and others:
        reason += f"; they also differ in {', '.join(others)}"
    return Result(
        question=question,
        quantity=asked.quantity,
        group={},
        level=level,
        n_runs=int((onsets["state"] != "no_data").sum()),
        status="not_testable",
        warnings=(f"{reason}. It takes {asked.needed}, alike in everything else but the seed",),
        extra={"lacks": reason},
    )


def _corrected(results: Sequence[Result], alpha: float) -> list[Result]:
    corrected = with_holm(results, _family)
    family = next((result.extra["family"] for result in corrected if _family(result)), 0)
    at_best = with_holm([_at_its_least(result) for result in results], _family)
    return [
        _judged(result, alpha, family, best.extra.get("p_holm", math.nan)) if result.quantity in CLAIMS else result
        for result, best in zip(corrected, at_best, strict=True)
    ]


def _at_its_least(result: Result) -> Result:
    """Give a result with the smallest p that its runs allow: where all of them are that small, so are Holm's."""
    return result if math.isnan(result.p) else replace(result, p=result.extra.get("p_min", 0.0))


def _family(result: Result) -> str | None:
    return "regularities" if result.quantity in CLAIMS and not result.extra.get("exploratory") else None


def _judged(result: Result, alpha: float, family: int, least: float) -> Result:
    """Give the verdict on a claim; `least` is the smallest corrected p that runs like these can give."""
    p_min, p_holm = (result.extra.get(name, math.nan) for name in ("p_min", "p_holm"))
    extra: dict[str, Any] = {**result.extra, "p_min": p_min, "p_holm": p_holm, "family": family, "alpha": alpha}
    if math.isnan(p_holm):
        return replace(result, extra={**extra, "verdict": "not testable"})
    warnings = result.warnings
    if p_min > alpha:
        warnings = (f"cannot be shown by design: with so few runs p is at least {p_min:.2g}", *warnings)
    elif least > alpha:
        warnings = (
            f"cannot be shown by design: with so few runs p is at least {p_min:.2g}, and {least:.2g} once all "
            f"{family} tests are allowed for",
            *warnings,
        )
    elif p_min * family > alpha:
        warnings = (
            f"with so few runs p is at least {p_min:.2g}, and Holm's correction asks the smallest of {family} for "
            f"{alpha / family:.2g}: this can be shown only if another test has a smaller p",
            *warnings,
        )
    return replace(result, warnings=warnings, extra={**extra, "verdict": _verdict(result, p_holm, alpha)})


def _verdict(result: Result, p_holm: float, alpha: float) -> str:
    """Judge a claim; a trend is refuted by an onset that rises from some width to a larger one, beyond noise.

    Runs that collapse after the common budget were slowed, not prevented, however few collapsed within it.
    """
    if result.quantity == "trend" and result.extra["p_rise"] <= alpha:
        return "refuted"
    if result.extra.get("later_high"):
        return "inconclusive"
    return "supported" if p_holm <= alpha else "inconclusive"
