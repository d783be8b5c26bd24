"""What a claim needs, and the verdict that follows: rules that were fixed before any data, in one place.

A claim holds if everything it needs is shown (intersection-union: the largest p counts), in every group of runs that it
is about (Holm's correction over the groups). Nothing is shown by a test that could not be made, nor by runs whose onset
is no reading of fn* at all.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ncdiag.domain.multiplicity import holm
from ncdiag.domain.p_values import p_is
from ncdiag.domain.result import Result

Verdict = Literal["supported", "refuted", "inconclusive", "not testable"]
Results = Mapping[str, Sequence[Result]]  # of the questions, by their names


@dataclass(frozen=True, kw_only=True)
class Part:
    """One thing that a claim needs: `shown`, or not, or None where it could not be tested.

    `p` is that of its test, NaN where a bound or a count decides; `lacking` says, as a clause, what is missing: nothing
    of what is shown.
    """

    name: str
    shown: bool | None
    lacking: str
    p: float = math.nan

    def __post_init__(self) -> None:
        if self.shown:
            object.__setattr__(self, "lacking", "")


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the questions found on a claim in one group: a pair, a set of rescaled runs, a grid, a group of one factor.

    `ours` is our figure as the table shows it, `source` the result it comes from. `contrary` is the p that the opposite
    of the claim holds, `contradicted` whether that was shown already, with its own correction; `opposite` says it, and
    `against` is the figure that shows it, where that is not `ours`. `blocked` are the reasons for which no verdict is
    given, whatever the tests say, `shielded` those for which the opposite cannot be shown, `notes` what a reader must
    know beside any verdict. `family` counts the tests that the question has corrected its p over already; 0 where it
    has not, and the groups are the family.
    """

    group: Mapping[str, Any]
    ours: str
    source: Result | None
    parts: Sequence[Part]
    holds: str = ""
    contrary: float = math.nan
    contradicted: bool = False
    opposite: str = ""
    against: str = ""
    blocked: Sequence[str] = ()
    shielded: Sequence[str] = ()
    notes: Sequence[str] = ()
    family: int = 0

    @property
    def p(self) -> float:
        """The largest p of the parts; NaN where one of them could not be tested, or none has a test."""
        tested = [part.p for part in self.parts if not math.isnan(part.p)]
        whole = all(part.shown is not None for part in self.parts)
        return max(tested) if tested and whole else math.nan


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The verdict on a claim in one group, and the reason as a clause; `p_holm` is corrected over the groups."""

    verdict: Verdict
    reason: str
    p_holm: float = math.nan
    family: int = 0


def judge_all(evidence: Sequence[Evidence], alpha: float) -> list[Judgement]:
    """Give the verdict on a claim in each group; one that is blocked can have none, and costs the others nothing."""
    shown = holm(np.array([math.nan if one.family or one.blocked else one.p for one in evidence]))
    contrary = holm(np.array([math.nan if one.blocked else one.contrary for one in evidence]))
    groups = int(np.count_nonzero(~np.isnan(shown)))
    return [
        _judge(one, math.nan, one.contrary, one.family or groups, alpha)
        if one.blocked
        else _judge(one, one.p if one.family else p, against, one.family or groups, alpha)
        for one, p, against in zip(evidence, shown.tolist(), contrary.tolist(), strict=True)
    ]


def _judge(one: Evidence, p_holm: float, contrary: float, family: int, alpha: float) -> Judgement:
    untested = [part for part in one.parts if part.shown is None]
    failed = [part for part in one.parts if part.shown is False]
    opposed = one.contradicted or contrary <= alpha
    if len(untested) == len(one.parts) and not opposed:
        return Judgement(verdict="not testable", reason=untested[0].lacking)
    if one.blocked:
        return Judgement(verdict="inconclusive", reason=one.blocked[0], p_holm=p_holm, family=family)
    if opposed and one.shielded:
        return Judgement(verdict="inconclusive", reason=one.shielded[0], p_holm=p_holm, family=family)
    if opposed:
        return Judgement(verdict="refuted", reason=one.opposite, p_holm=p_holm, family=family)
    if failed:
        return Judgement(verdict="inconclusive", reason=failed[0].lacking, p_holm=p_holm, family=family)
    if untested:
        return Judgement(verdict="not testable", reason=untested[0].lacking)
    if p_holm > alpha:
        reason = f"not shown once {family} tests are allowed for ({p_is(p_holm)})"
        return Judgement(verdict="inconclusive", reason=reason, p_holm=p_holm, family=family)
    return Judgement(
        verdict="supported", reason=f"{one.holds}{_shown_by(p_holm, family)}", p_holm=p_holm, family=family
    )


def _shown_by(p_holm: float, family: int) -> str:
    """Give the p that a support rests on, with its correction; nothing where bounds and counts decide."""
    if math.isnan(p_holm):
        return ""
    return f" ({p_is(p_holm)}{f', corrected over {family}' if family > 1 else ''})"


def combine(verdicts: Sequence[Verdict]) -> Verdict:
    """Give the verdict on a claim about all groups: one that contradicts it refutes it, all must support it."""
    for verdict in ("refuted", "inconclusive"):
        if verdict in verdicts:
            return verdict
    return "supported" if "supported" in verdicts else "not testable"
