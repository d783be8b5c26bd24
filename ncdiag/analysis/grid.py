"""A grid of two hyperparameters, such as architectures by data sets: its cells, and the sample that they hold."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from ncdiag.analysis.conditions import condition_numbers, label_rows, show
from ncdiag.domain.interaction import estimate_interaction, grid_of
from ncdiag.domain.naming import TEXT, Naming, write_values
from ncdiag.domain.statistics import FloatArray, IntArray, group_means

LINES = ["row", "column"]  # what each run has the name of


@dataclass(frozen=True, kw_only=True)
class Cells:
    """The sample of a grid: a value per unit on both scales, the cell of each, and the names of rows and columns.

    A unit is a condition where any cell has several, else a run; `raw` is its mean norm, `logs` its mean log norm.
    """

    raw: FloatArray
    logs: FloatArray
    row: IntArray
    column: IntArray
    rows: list[str]
    columns: list[str]
    unit: str

    @property
    def single(self) -> bool:
        """Whether no cell has two values."""
        return len(grid_of(self.row, self.column).sizes) == len(self.raw)


def name_lines(onsets: pd.DataFrame, by: Sequence[str], naming: Naming = TEXT) -> pd.DataFrame:
    """Name the row and the column of each run, the values of two factors; those that differ have names that differ."""
    names = {
        line: label_rows(onsets, [factor], lambda groups: write_values(groups, naming))
        for line, factor in zip(LINES, by, strict=True)
    }
    return pd.DataFrame(names, index=onsets.index, dtype=object)


def sample_cells(collapsed: pd.DataFrame) -> Cells:
    """Reduce the runs to the units of replication: conditions if any cell has two, else runs."""
    row, rows = pd.factorize(collapsed["row"])
    column, columns = pd.factorize(collapsed["column"])
    norm = collapsed["fn_star"].to_numpy(dtype=np.float64)
    row, column = row.astype(np.int64), column.astype(np.int64)
    named: dict[str, Any] = {"rows": rows.tolist(), "columns": columns.tolist()}
    # Where a factor is no hyperparameter, such as the device, a condition has a part in several cells.
    of_cell = np.stack([row * len(columns) + column, condition_numbers(collapsed)], 1)
    parts, first, part = np.unique(of_cell, axis=0, return_index=True, return_inverse=True)
    if not len(norm) or np.bincount(parts[:, 0]).max() < 2:
        return Cells(raw=norm, logs=np.log(norm), row=row, column=column, unit="runs", **named)
    return Cells(
        raw=group_means(norm, part.ravel()),
        logs=group_means(np.log(norm), part.ravel()),
        row=row[first],
        column=column[first],
        unit="conditions",
        **named,
    )


def list_cells(onsets: pd.DataFrame, collapsed: pd.DataFrame, by: Sequence[str]) -> list[dict[str, Any]]:
    """Describe each cell that has runs: fn*, when and under which loss the onsets were.

    fn* is the geometric mean over the conditions of a cell, each that of its runs, as in the sample that is tested:
    the ratio of ratios is that of these figures. Cells follow the values of numbers, words as they come.
    """
    cells = []
    for keys, runs in _ordered(onsets, by).groupby(LINES, sort=False):
        own = collapsed.loc[collapsed.index.intersection(runs.index)]
        conditions = condition_numbers(own)
        logs = group_means(np.log(own["fn_star"].to_numpy(dtype=np.float64)), conditions)
        cells.append(
            {
                **dict(zip(LINES, keys, strict=True)),
                "n_runs": int((runs["state"] != "no_data").sum()),
                "n_collapsed": len(own),
                "n_conditions": int(conditions.max(initial=-1)) + 1,
                "fn_star": float(np.exp(logs.mean())) if len(own) else math.nan,
                "t_median": float(own["onset"].median()) if len(own) else math.nan,
                "phases": dict(Counter(show(value) for value in own["onset_phase"])),
                "losses": dict(Counter(show(value) for value in own["onset_loss"])),
            }
        )
    return cells


def _ordered(onsets: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Give the runs by rows, then columns; missing values last, and those that are no numbers as they come."""
    ranks = []
    for column in by:
        codes, values = pd.factorize(onsets[column], use_na_sentinel=False)
        ranks.append(np.argsort(values.argsort())[codes] if pd.api.types.is_numeric_dtype(onsets[column]) else codes)
    return onsets.iloc[np.lexsort(ranks[::-1])]


def mixed_onsets(collapsed: pd.DataFrame) -> str | None:
    """Say that the cells are not comparable, where their onsets lie under different losses or in different phases."""
    for column, what in (("onset_loss", "under different losses"), ("onset_phase", "in different phases")):
        if collapsed[column].map(show).nunique() > 1:
            where = collapsed.groupby(LINES, sort=False)[column]
            listed = "; ".join(
                f"{' '.join(map(str, keys))}: {', '.join(dict.fromkeys(map(show, values)))}" for keys, values in where
            )
            return f"onsets {what} ({listed})"
    return None


def missing_cells(onsets: pd.DataFrame, cells: Cells, by: Sequence[str]) -> str | None:
    """Say what a grid lacks to have an interaction at all: two rows, two columns, and enough cells with onsets."""
    lines = [onsets[line].unique().tolist() for line in LINES]
    if min(map(len, lines)) < 2:
        return f"a grid needs two values of {by[0]} and two of {by[1]}; there are {len(lines[0])} and {len(lines[1])}"
    known = {(cells.rows[r], cells.columns[c]) for r, c in zip(cells.row, cells.column, strict=True)}
    without = [cell for cell in product(*lines) if cell not in known]
    if not without:
        return None
    if not cells.single and estimate_interaction(cells.logs, cells.row, cells.column).df1:
        return None
    evaluated = onsets[onsets["state"] != "no_data"]
    trained = set(evaluated[LINES].itertuples(index=False, name=None))
    never = [" ".join(cell) for cell in without if cell in trained]
    unseen = [" ".join(cell) for cell in without if cell not in trained]
    lacking = [f"no run of {', '.join(unseen)}"] * bool(unseen) + [f"no onset in {', '.join(never)}"] * bool(never)
    hint = " (at a larger --eps there may be one)" if never else ""
    them = "it" if len(without) == 1 else "them"
    return f"{'; '.join(lacking)}{hint}: without {them} nothing can be compared"
