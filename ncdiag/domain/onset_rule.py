"""The definition of onset that a question is asked with."""

import math
from dataclasses import dataclass
from numbers import Integral
from typing import Literal, SupportsFloat, get_args

from ncdiag.domain.records import ONSET_METRICS
from ncdiag.domain.shares import counted
from ncdiag.domain.spec import check_choice
from ncdiag.errors import AnalysisError

Rule = Literal["sustained", "first"]


@dataclass(frozen=True, kw_only=True)
class OnsetRule:
    """What counts as onset: `metric` below `eps` for `patience` evaluations in a row.

    `first` is the published rule: the first logged epoch below `eps`, no patience and no interpolation. `phase` looks
    only at the evaluations of one phase (from 1); None looks at all.
    """

    metric: str = "nc1"
    eps: float = 0.01
    patience: int = 3
    rule: Rule = "sustained"
    phase: int | None = None

    def __post_init__(self) -> None:
        check_choice("metric", self.metric, ONSET_METRICS)
        check_choice("onset rule", self.rule, get_args(Rule))
        if not (isinstance(self.eps, SupportsFloat) and math.isfinite(self.eps) and self.eps > 0):
            raise AnalysisError(f"eps must be a finite number > 0, not {self.eps!r}")
        if not (_is_whole(self.patience) and self.patience >= 1):
            raise AnalysisError(f"patience counts evaluations and must be at least 1, not {self.patience!r}")
        if self.phase is not None and not (_is_whole(self.phase) and self.phase >= 1):
            raise AnalysisError(f"phases count from 1, and None is any of them; not {self.phase!r}")

    @property
    def needed(self) -> int:
        """Number of evaluations in a row that have to be below `eps`."""
        return 1 if self.rule == "first" else self.patience

    @property
    def between(self) -> bool:
        """Whether an onset may lie between two evaluations; the published rule takes the first that is below."""
        return self.rule != "first"

    def __str__(self) -> str:
        scope = "" if self.phase is None else f" in phase {self.phase}"
        if self.rule == "first":
            return f"first logged epoch with {self.metric} < {self.eps:g}{scope}"
        return f"{self.metric} < {self.eps:g} for {counted(self.patience, 'evaluation')}{scope}"


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral)
