"""The pairs of an onset table, one after another, and what every result of a pair says of it."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pandas as pd

from ncdiag.analysis.conditions import group_numbers, plain_value
from ncdiag.domain.onset import OPEN


def list_pairs(onsets: pd.DataFrame, by: Sequence[str]) -> list[pd.DataFrame]:
    """Give the rows of each combination of the columns `by`, in the order of the first run of each."""
    numbers = group_numbers(onsets, by)
    return [onsets[numbers == number] for number in range(int(numbers.max(initial=-1)) + 1)]


def name_pair(pair: pd.DataFrame, by: Sequence[str]) -> dict[str, Any]:
    """Give the values that the runs of a pair share."""
    return {column: plain_value(pair[column].iloc[0]) for column in by}


def pair_base(question: str, pair: pd.DataFrame, by: Sequence[str]) -> dict[str, Any]:
    """Give the fields that all results of a question on a pair share: its name, and how many runs it has."""
    return {
        "question": question,
        "group": name_pair(pair, by),
        "n_runs": int((pair["state"] != "no_data").sum()),
        "n_censored": int(pair["state"].isin(OPEN).sum()),
    }


def with_norm_at_onset(runs: pd.DataFrame) -> pd.DataFrame:
    """Give the runs that collapsed, at a feature norm that is known."""
    return runs[(runs["state"] == "collapsed") & (runs["fn_star"] > 0)]


def count_values(column: "pd.Series[Any]") -> dict[str, int]:
    """Count the values of a column, as text and in the order in which they come; what is not known does not count."""
    counts = Counter(plain_value(value) for value in column)
    return {str(value): count for value, count in counts.items() if value is not None}
