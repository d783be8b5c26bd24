"""Which runs are of one condition, and the shortest words that tell the conditions of a figure apart."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from ncdiag.analysis.branches import find_rescaling
from ncdiag.domain.words import as_word

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
    "other": "{}",
}


_PAIR = ("arch", "dataset")  # whose values stand in a row without their names


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


def label_pairs(runs: pd.DataFrame, by: Sequence[str]) -> pd.Series:
    """Give the label of each run's pair: `mlp mnist`, or `depth 5, width 128` where numbers need their names."""
    labels = [label_pair(dict(zip(by, row, strict=True))) for row in runs[list(by)].itertuples(index=False)]
    return pd.Series(labels, index=runs.index, dtype=object)


def label_pair(group: Mapping[str, Any]) -> str:
    """Give the label of a pair from its columns and their values."""
    names = {column: name_value(column, value) for column, value in group.items()}
    parts = [as_word(name) if column in _PAIR else name for column, name in names.items()]
    return (" " if all(_NAMED.get(column) == "{}" for column in group) else ", ").join(parts)


def strictest(table: pd.DataFrame) -> pd.DataFrame:
    """Keep the rows of each `pair` with whole conditions held out, or where it has none those with single runs."""
    strict = table.groupby("pair")["held_out"].transform(
        lambda ways: "condition" if (ways == "condition").any() else "run"
    )
    return table[table["held_out"] == strict].reset_index(drop=True)


def name_value(column: str, value: Any) -> str:
    """Give a hyperparameter as it is named in figures: `mnist`, `depth 5`, `wd 1e-4`."""
    text = _text(value)
    if column == "intervention":
        return _name_intervention(text)
    return _NAMED.get(column, f"{column} {{}}").format(text) if text else f"{column} ?"


def _name_intervention(text: str) -> str:
    """Write `3.0@20+compensate-head` as one would say it."""
    found = find_rescaling(text)
    if found is None:
        return text or "not rescaled"
    return f"× {compact(found.alpha)} at {found.epoch}{', head too' if found.compensated else ''}"


def sort_names(names: Iterable[str]) -> list[str]:
    """Sort names by the numbers in them (`depth 2` before `depth 10`); words stay in the order in which they came."""
    given = list(names)
    heads: dict[str, int] = {}
    keys = {}
    for name in given:
        parts = [_split(part) for part in name.split(", ")]
        keys[name] = [(heads.setdefault(head, len(heads)), number or 0.0) for head, number in parts]
    return sorted(given, key=keys.__getitem__)


def split_names(names: Sequence[str]) -> tuple[list[str], str]:
    """Give the numbers of names that are all of one hyperparameter, and what it is called; else the names and ''."""
    heads = {head for head, number in map(_split, names) if number is not None}
    if len(heads) != 1 or any(_split(name)[1] is None for name in names):
        return list(names), ""
    (head,) = heads
    return [name.removeprefix(f"{head} ") for name in names], _IN_FULL.get(head, head)


_IN_FULL = {"wd": "weight decay", "lr": "learning rate", "batch": "batch size"}


def _split(name: str) -> tuple[str, float | None]:
    """Give the word and the number of a name such as `depth 5`, or the name alone."""
    head, _, last = name.rpartition(" ")
    try:
        return head, float(last)
    except ValueError:
        return name, None


def name_series(table: pd.DataFrame, most: int) -> pd.Series:
    """Give what the curves of a table are told apart by: condition, or pair where there are too many, or outcome.

    The table has the columns `condition`, `pair` and `onset_state`. The names are empty where there is nothing to tell.
    """
    nothing = pd.Series("", index=table.index, dtype=object)
    if table["condition"].nunique() <= most:
        return table["condition"] if table["condition"].nunique() > 1 else nothing
    if 1 < table["pair"].nunique() <= most:
        return table["pair"]
    outcomes = name_outcomes(table)
    return outcomes if outcomes.nunique() > 1 else nothing


def name_outcomes(table: pd.DataFrame) -> pd.Series:
    """Say of each row whether its run had an onset."""
    return table["onset_state"].map(lambda state: "run with onset" if state == "collapsed" else "run without")


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
    return ", ".join(name_value(column, row[column]) for column in columns)


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
