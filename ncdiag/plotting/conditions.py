"""Which runs are of one condition, and the shortest words that tell the conditions of a figure apart."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

# In the order in which they are named: whatever an earlier column already tells apart, a later one need not say.
_NAMED = {
    "arch": "{}",
    "dataset": "{}",
    "depth": "depth {}",
    "width": "width {}",
    "activation": "{}",
    "weight_decay": "wd {}",
    "optimizer": "{}",
    "lr": "lr {}",
    "momentum": "momentum {}",
    "schedule": "{}",
    "batch_size": "batch {}",
    "train_size": "{} samples",
    "phases": "{}",
    "intervention": "{}",
}


def label_conditions(runs: pd.DataFrame) -> pd.Series:
    """Give the label of each run's condition: its configuration without the seed, as far as it differs here.

    The labels of runs of one condition are equal, those of different conditions differ; where all runs are of one
    condition, it is the empty string.
    """
    present = [column for column in _NAMED if column in runs.columns]
    texts = pd.DataFrame({column: [_text(value) for value in runs[column]] for column in present}, index=runs.index)
    conditions = _partition(texts, present)
    named: list[str] = []
    for column in present:
        if _partition(texts, named) == conditions:
            break
        if _partition(texts, [*named, column]) != _partition(texts, named):
            named.append(column)
    return pd.Series([_join(row, named) for _, row in texts.iterrows()], index=runs.index, dtype=object)


def describe_shared(runs: pd.DataFrame) -> str:
    """Give what all runs have in common of architecture, data set, depth, width and activation, as one line."""
    columns = [c for c in ("arch", "dataset", "depth", "width", "activation") if c in runs.columns]
    shared = {column: {_text(value) for value in runs[column]} for column in columns}
    return ", ".join(
        _NAMED[column].format(*found) for column, found in shared.items() if len(found) == 1 and any(found)
    )


def _partition(texts: pd.DataFrame, columns: Iterable[str]) -> list[int]:
    """Give the number of each run's group, groups counted in the order of their first run."""
    groups: dict[tuple[str, ...], int] = {}
    rows = texts[list(columns)].itertuples(index=False, name=None) if columns else [()] * len(texts)
    return [groups.setdefault(row, len(groups)) for row in rows]


def _join(row: pd.Series, columns: Iterable[str]) -> str:
    return ", ".join(_NAMED[column].format(row[column]) if row[column] else f"{column} ?" for column in columns)


def _text(value: Any) -> str:
    if pd.isna(value):
        return ""
    return compact(value) if isinstance(value, float) else str(value)


def compact(value: float) -> str:
    """Write a number with up to six digits: 512, 0.05, 1e-4."""
    if 0 < abs(value) < 1e-3 or abs(value) >= 1e5:
        digits, _, exponent = f"{value:.5e}".partition("e")
        return f"{float(digits):g}e{int(exponent)}"
    return f"{value:g}"
