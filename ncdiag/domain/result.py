"""One answer of the analysis: a figure with its interval, what it was computed from, and what to keep in mind."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from ncdiag.domain.naming import Key, group_key

Status = Literal[
    "ok",
    "not_testable",
    "zero_variance",
    "exactly_additive",
    "too_few",
    "all_censored",
    "left_censored",
    "diverged",
    "dead",
    "no_data",
]


@dataclass(frozen=True, kw_only=True)
class Result:
    """An estimate with its limits, and everything that a reader needs to judge it.

    A figure that is not defined is NaN (a p-value that cannot be computed is never 0 or 1); a limit that is not
    bounded is infinite. `n_runs` counts the runs of the group that were evaluated at all, `n_conditions` the conditions
    that entered the estimate, `n_censored` the runs that ended before an onset. `extra` holds further figures, by name.
    """

    question: str
    quantity: str
    group: Mapping[str, Any]
    estimate: float = math.nan
    lo: float = math.nan
    hi: float = math.nan
    level: float = math.nan
    p: float = math.nan
    n_runs: int = 0
    n_conditions: int = 0
    n_censored: int = 0
    method: str = ""
    status: Status = "ok"
    warnings: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """What tells its group from others."""
        return group_key(self.group)

    def to_dict(self) -> dict[str, Any]:
        """Give the result as plain values, the figures of `extra` beside the others; NaN becomes None, missing."""
        named = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "extra"}
        return plain({**named, **self.extra})


def flat_row(values: Mapping[str, Any]) -> dict[str, Any]:
    """Give a result's plain values as a row of a table: its group becomes columns `group_...`."""
    row: dict[str, Any] = {}
    for key, value in values.items():
        row |= {f"group_{column}": cell for column, cell in value.items()} if key == "group" else {key: value}
    return row


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Give a mapping with Python's own values only: no numpy scalars, no tuples, and None for what is not defined."""
    return {key: _plain(value) for key, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return plain(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):  # a numpy scalar
        value = value.item()
    return None if isinstance(value, float) and math.isnan(value) else value


# What every row of a table of results has; a table without rows has these columns, too.
ROW_COLUMNS = tuple(flat_row(Result(question="", quantity="", group={}).to_dict()))
