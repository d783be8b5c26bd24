"""Tests that count runs though they are of two or three conditions, too few to count those.

Runs of one condition are alike, so they are no independent sample: where conditions differ much, a p of .05 comes up in
11 to 28 % of all cases (docs/statistics.md). Such a test is a figure with a caution, and no verdict rests on it.
"""

import math
from dataclasses import replace

from ncdiag.analysis.evidence import Part
from ncdiag.domain.comparison import MIN_UNITS
from ncdiag.domain.result import Result


def say_pooled(what: str, conditions: int) -> str:
    """Say of a test that it counts runs though they are of several conditions."""
    return f"{what} takes the runs of {conditions} conditions as independent"


def pooled_notes(test: Result | None, what: str) -> list[str]:
    """Say so of a test if it has a p and is one of these."""
    if test is None or math.isnan(test.p) or not _is_pooled(test):
        return []
    return [say_pooled(what, test.n_conditions)]


def of_other_side(test: Result | None, name: str) -> float:
    """Give the p that refutes, the field `name` of a test; NaN where it is one of these."""
    return math.nan if test is None or _is_pooled(test) else float(test.extra.get(name, math.nan))


def of_independent(part: Part, test: Result, needed: int = MIN_UNITS) -> Part:
    """Leave a part open that only one of these tests shows; `needed` conditions would be counted themselves."""
    if not part.shown or not _is_pooled(test):
        return part
    lacking = (
        f"{part.name}: shown only if the runs of {test.n_conditions} conditions count as independent "
        f"(takes {needed} conditions, or one alone)"
    )
    return replace(part, shown=None, lacking=lacking)


def _is_pooled(test: Result) -> bool:
    return test.extra.get("over") == "runs" and test.n_conditions > 1
