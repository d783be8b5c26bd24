"""The rescaled runs of a set, with their curves of the feature norm, and how equality is tested among them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ncdiag.analysis.branches import Branches
from ncdiag.analysis.by_run import floats
from ncdiag.analysis.conditions import condition_labels, replication_units
from ncdiag.domain.crossing import Curve
from ncdiag.domain.equivalence import Equivalence, each_equivalence, equality_level, paired_equivalence
from ncdiag.domain.levels import alpha_of
from ncdiag.domain.statistics import FloatArray, IntArray, group_means
from ncdiag.domain.threshold import MIN_CONDITIONS

LAST = 5  # evaluations whose mean is fn at the end


@dataclass(frozen=True, kw_only=True)
class RescaledSet:
    """A set of branches with the curves of ln fn; its results share the fields `base` and the confidence `level`."""

    branches: Branches
    onsets: pd.DataFrame
    curves: dict[str, Curve]
    base: dict[str, Any]
    level: float

    @property
    def alpha(self) -> float:
        """The level of each of the two one-sided tests of equality."""
        return alpha_of(self.level)

    def tested(self, values: FloatArray, condition: IntArray) -> tuple[Equivalence, str]:
        """Test equality over conditions where there are enough of them, else over pairs; gives which."""
        unit, over = replication_units(condition, MIN_CONDITIONS)
        test = paired_equivalence(group_means(values, unit), alpha=self.alpha)
        return test, "pairs" if over == "runs" else over

    def each(self, rows: IntArray, condition: IntArray, values: FloatArray) -> dict[str, Any]:
        """Test the values of each condition, where there are several: on average two that differ may seem equal.

        `p_each` is that all are within the margin (intersection-union), `p_each_beyond` that some is not (Bonferroni).
        """
        numbers, first, group = np.unique(condition, return_index=True, return_inverse=True)
        if len(numbers) < 2:
            return {"p_each": np.nan, "p_each_beyond": np.nan, "conditions": []}
        labels = condition_labels(self.onsets.iloc[rows[first]].assign(intervention=None))
        tests = each_equivalence(values, group, alpha=self.alpha)
        beyond = [test.p_beyond for test in tests if test.p_beyond == test.p_beyond]
        return {
            "p_each": max(test.p for test in tests),
            "p_each_beyond": min(1.0, len(beyond) * min(beyond)) if beyond else np.nan,
            "conditions": [
                {
                    "condition": str(labels[place]),
                    "n_pairs": tests[place].n,
                    "estimate": tests[place].estimate,
                    "lo": tests[place].lo,
                    "hi": tests[place].hi,
                    "p": tests[place].p,
                    "ratio": float(np.exp(tests[place].estimate)),
                }
                for place in np.argsort(first).tolist()  # as they come
            ],
        }

    def figures(self, test: Equivalence) -> dict[str, Any]:
        """Give the fields of a result that a test of equality fills."""
        return {
            "estimate": test.estimate,
            "lo": test.lo,
            "hi": test.hi,
            "level": equality_level(self.level),
            "p": test.p,
            "status": test.status,
        }

    def rows(self, arm: str) -> IntArray:
        """Give the rows of the onset table of `control`, `up` or `down`, seed by seed, -1 where there is none."""
        found: IntArray = getattr(self.branches, arm)
        return found

    @property
    def runs(self) -> pd.DataFrame:
        """The rows of the onset table that take part."""
        rows = np.unique(np.concatenate([self.rows(arm) for arm in ("control", "up", "down")]))
        return self.onsets.iloc[rows[rows >= 0]]

    def curve(self, row: int) -> Curve:
        """Give the curve of ln fn of a run."""
        return self.curves[str(self.onsets["run"].iloc[row])]

    def column(self, name: str, rows: IntArray) -> FloatArray:
        """Give a column of the onset table for some runs, NaN where it is missing."""
        return floats(self.onsets, name)[rows]

    def is_cosine(self, rows: IntArray) -> bool:
        """Tell whether the learning rate of any of these runs ends at 0."""
        return bool((self.onsets["schedule"].iloc[rows] == "cosine").any())


def extra_of(test: Equivalence) -> dict[str, Any]:
    """Give the figures that every test of equality leaves beside its estimate."""
    return {
        "p_equivalence": test.p,
        "p_beyond": test.p_beyond,
        "p_difference": test.p_difference,
        "difference_lo": test.difference_lo,
        "difference_hi": test.difference_hi,
        "outcome": test.outcome,
    }


def each_alone(extra: Mapping[str, Any]) -> tuple[str, ...]:
    """Warn where there are several conditions, and none of them can be tested by itself."""
    if not extra["conditions"] or extra["p_each"] == extra["p_each"]:
        return ()
    return ("no two runs of a condition differ: that features return in every condition cannot be tested",)
