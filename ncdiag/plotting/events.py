"""What training did and when, read from the rows of its trajectories: phases, and switches of the loss.

Rows are evaluations, so an event between two of them is put at the earlier one: the last epoch of what was before.
"""

from dataclasses import dataclass
from itertools import pairwise

import pandas as pd


@dataclass(frozen=True, kw_only=True)
class PhaseSpan:
    """A phase that all runs share: the epochs it covers, and its loss, or its number where that is not known."""

    start: float
    stop: float
    label: str


@dataclass(frozen=True, kw_only=True)
class PhaseSwitch:
    """A switch of the phase that some of the runs made at the same epoch."""

    epoch: float
    label: str
    runs: int


def phase_spans(table: pd.DataFrame) -> list[PhaseSpan]:
    """Give the phases of the runs where all agree on them, else nothing; a row whose phase is not known disagrees."""
    if table.empty or table["phase"].isna().any():
        return []
    phases = [rows for _, rows in table.groupby("phase")]  # in the order of their numbers
    labels = [_labels(rows) for rows in phases]
    first = [float(rows["epoch"].min()) for rows in phases]
    last = [float(rows["epoch"].max()) for rows in phases]
    overlap = any(end >= start for end, start in zip(last, first[1:], strict=False))
    if overlap or any(len(found) > 1 for found in labels):
        return []
    return [
        PhaseSpan(start=start, stop=stop, label=found[0])
        for start, stop, found in zip([0.0, *last], last, labels, strict=False)
    ]


def phase_switches(table: pd.DataFrame) -> list[PhaseSwitch]:
    """Give the switches of the runs, by epoch; runs that switch alike are counted together."""
    counts: dict[tuple[float, str], int] = {}
    for _, of_run in table.dropna(subset=["phase"]).groupby("run", sort=False):
        phases = [rows for _, rows in of_run.groupby("phase")]
        for before, after in pairwise(phases):
            switch = float(before["epoch"].max()), f"{_labels(before)[0]} to {_labels(after)[0]}"
            counts[switch] = counts.get(switch, 0) + 1
    return [PhaseSwitch(epoch=epoch, label=label, runs=runs) for (epoch, label), runs in sorted(counts.items())]


def _labels(rows: pd.DataFrame) -> list[str]:
    losses = sorted(rows["loss"].dropna().unique())
    return [loss.upper() for loss in losses] or [f"phase {int(rows['phase'].iloc[0])}"]
