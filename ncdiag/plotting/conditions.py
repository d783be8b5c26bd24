"""Which runs are of one condition or pair, and the words that tell those of a figure apart."""

from collections.abc import Iterable, Sequence

import pandas as pd

from ncdiag.analysis.asked import Asked
from ncdiag.analysis.conditions import label_rows, plain_groups
from ncdiag.domain.naming import FIGURE, PAIR, Group, Key, group_key, name_groups, telling


def name_conditions(groups: Sequence[Group]) -> list[str]:
    """Name conditions by as little as tells them apart: `depth 5, wd 1e-5`; one alone needs no name."""
    return name_groups(groups, FIGURE, telling(groups, FIGURE.forms))


def label_conditions(runs: pd.DataFrame) -> pd.Series:
    """Give the label of each run's condition: its configuration without the seed, as far as it differs here.

    The labels of runs of one condition are equal, those of different conditions differ; where all runs are of one
    condition, it is the empty string.
    """
    return pd.Series(label_rows(runs, list(FIGURE.forms), name_conditions), index=runs.index, dtype=object)


def name_pairs(asked: Asked) -> dict[Key, str]:
    """Name the pairs that were asked about: `mlp mnist`, or `depth 5, width 128` where numbers need their names."""
    columns = list(asked.terms.by)
    groups = plain_groups(asked.runs.drop_duplicates(columns), columns)
    return dict(zip(map(group_key, groups), name_groups(groups, FIGURE, columns, bare=PAIR), strict=True))


def label_pairs(rows: pd.DataFrame, asked: Asked) -> pd.Series:
    """Give the name of each row's pair, which its columns say."""
    names = name_pairs(asked)
    labels = label_rows(rows, asked.terms.by, lambda groups: [names[group_key(group)] for group in groups])
    return pd.Series(labels, index=rows.index, dtype=object)


def strictest(table: pd.DataFrame) -> pd.DataFrame:
    """Keep the rows of each `pair` with whole conditions held out, or where it has none those with single runs."""
    strict = table.groupby("pair")["held_out"].transform(
        lambda ways: "condition" if (ways == "condition").any() else "run"
    )
    return table[table["held_out"] == strict].reset_index(drop=True)


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
    columns = [c for c in ("arch", "dataset", "depth", "width", "activation") if runs[c].nunique(dropna=False) == 1]
    shared = (setting for group in plain_groups(runs.iloc[:1], columns) for setting in group.items())
    return ", ".join(FIGURE.name(column, value) for column, value in shared if value is not None)
