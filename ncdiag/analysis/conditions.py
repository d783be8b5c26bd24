"""What makes two runs repetitions of one experiment: all hyperparameters but the seed."""

from collections.abc import Callable, Iterable, Sequence
from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd

from ncdiag.domain import naming
from ncdiag.domain.filters import OWN
from ncdiag.domain.naming import TEXT, UNSAID, Group, name_groups
from ncdiag.domain.statistics import IntArray
from ncdiag.domain.words import nearest
from ncdiag.errors import AnalysisError

CONDITION_COLUMNS = (
    "arch",
    "depth",
    "width",
    "activation",
    "dataset",
    "train_size",
    "optimizer",
    "lr",
    "momentum",
    "weight_decay",
    "schedule",
    "batch_size",
    "phases",
    "intervention",
    "other",
)
GROUPING_COLUMNS = (*CONDITION_COLUMNS, "seed", "device", "origin")


def check_grouping(by: Sequence[str]) -> None:
    """Raise an `AnalysisError` that names the nearest column, unless runs can be grouped by all of these."""
    if not by:
        raise AnalysisError(f"--by names no column\nexpected some of {', '.join(GROUPING_COLUMNS)}")
    for column in by:
        if column not in GROUPING_COLUMNS and not column.startswith(OWN):
            raise AnalysisError(
                f"--by: runs have no column {column!r}{nearest(column, GROUPING_COLUMNS)}\n"
                f"expected some of {', '.join(GROUPING_COLUMNS)}, or {OWN}NAME for a setting of your own"
            )


def with_own_settings(runs: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """Give runs with those of the columns that are settings of the user's own, `other.NAME`, None where not said."""
    own = [column for column in columns if column.startswith(OWN) and column not in runs]
    said = {
        column: pd.Series([config.get(column.removeprefix(OWN)) for config in runs["config"]], runs.index, dtype=object)
        for column in own
    }
    return runs.assign(**said) if said else runs


def with_grouping(runs: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Give runs with the columns that they are grouped by; an `AnalysisError` where no run says one of the user's own.

    One that is misspelt would put all runs into one pair.
    """
    runs = with_own_settings(runs, by)
    for column in by:
        if column.startswith(OWN) and len(runs) and runs[column].isna().all():
            said = sorted({f"{OWN}{name}" for config in runs["config"] for name in config})
            raise AnalysisError(f"--by: none of these runs says {column.removeprefix(OWN)!r}{nearest(column, said)}")
    return runs


def group_numbers(runs: pd.DataFrame, by: Sequence[str]) -> IntArray:
    """Give each row the number of its combination of some columns, from 0 as they appear; missing equals missing."""
    numbers = np.zeros(len(runs), dtype=np.int64)
    for column in by:
        codes, values = pd.factorize(runs[column], use_na_sentinel=False)
        numbers = pd.factorize(numbers * len(values) + codes)[0].astype(np.int64)
    return numbers


def condition_numbers(runs: pd.DataFrame) -> IntArray:
    """Give each run the number of its condition, from 0 as they appear."""
    return group_numbers(runs, CONDITION_COLUMNS)


def replication_units(conditions: IntArray, fewest: int) -> tuple[IntArray, str]:
    """Give the number of the unit that each run counts with, and what the units are called.

    They are conditions where there are enough of them, else runs: runs of one condition are not independent.
    """
    if len(np.unique(conditions)) >= fewest:
        return conditions, "conditions"
    return np.arange(len(conditions)), "runs"


def sort_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Give the runs by their settings, then by seed, then by content: an order that no store, merge or name decides.

    Who is held out together, what a random relabelling draws, and which of two equals comes first follow this order.
    """
    return runs.sort_values([*CONDITION_COLUMNS, "seed", "key"], kind="stable", ignore_index=True)


def varying(runs: pd.DataFrame) -> list[str]:
    """Give the settings in which runs differ."""
    return [name for name in CONDITION_COLUMNS if runs[name].nunique(dropna=False) > 1]


def condition_labels(runs: pd.DataFrame) -> list[str]:
    """Name the condition of each run by what varies among these runs: `depth=5, weight_decay=1e-05`."""
    columns = varying(runs)
    return label_rows(runs, columns, lambda groups: name_groups(groups, TEXT)) if columns else ["all alike"] * len(runs)


def label_rows(rows: pd.DataFrame, columns: Sequence[str], name: Callable[[list[Group]], list[str]]) -> list[str]:
    """Give each row the name that `name` finds for its combination of some columns, each of which it names once."""
    numbers = group_numbers(rows, columns)
    first = np.unique(numbers, return_index=True)[1]
    names = name(plain_groups(rows.iloc[first], columns))
    return [names[number] for number in numbers.tolist()]


def plain_groups(rows: pd.DataFrame, columns: Sequence[str]) -> list[Group]:
    """Give the values that each row has in some columns, as the group of a result holds them."""
    values = [[plain_value(value) for value in rows[column]] for column in columns]
    return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)] if columns else [{}] * len(rows)


def perhaps_alike(runs: pd.DataFrame) -> tuple[int, list[str]]:
    """Count the conditions that may be another one, which says more of itself, and name what they do not say.

    A condition may be another one if they differ in nothing that both say.
    """
    each = runs.drop_duplicates(CONDITION_COLUMNS)
    names = np.array([name for name in CONDITION_COLUMNS if name not in UNSAID])
    said, which = np.unique(each[names].notna().to_numpy(), axis=0, return_inverse=True)
    own, unclear = which.ravel(), np.zeros(len(each), dtype=np.bool_)
    for one, other in permutations(range(len(said)), 2):
        if (said[other] & ~said[one]).any():
            both = group_numbers(each, [*UNSAID, *names[said[one] & said[other]]])
            unclear |= (own == one) & np.isin(both, both[own == other])
    return int(unclear.sum()), names[said.any(axis=0) & ~said[own[unclear]].all(axis=0)].tolist()


def show(value: Any) -> str:
    """Give a cell of a frame as people write it: whole numbers without a point, `?` for what is not known."""
    return naming.show(plain_value(value))


def plain_value(value: Any) -> Any:
    """Give a cell of a frame as a value of Python, None where it is missing; 5.0 of a whole-number column is 5."""
    if pd.isna(value):
        return None
    value = value.item() if isinstance(value, np.generic) else value
    return int(value) if isinstance(value, float) and value == int(value) else value
