"""Runs that are one trajectory twice: the same experiment with the same seed, evaluated or stopped differently.

A seed decides every number of a run, so a repetition adds nothing. Counted as another run it would make intervals
narrower than the runs allow.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ncdiag.analysis.conditions import CONDITION_COLUMNS
from ncdiag.domain.shares import counted


def drop_repeats(runs: pd.DataFrame, *, keep: str | None = None) -> pd.DataFrame:
    """Give the runs with each trajectory once: the run called `keep` if it is among them, else the longest.

    Runs without a seed are no repetitions of each other, since nothing tells them apart.
    """
    marked = runs.assign(
        _subset=[_subset_seed(config) for config in runs["config"]],
        _kept=runs["run"] == keep,
        _row=range(len(runs)),
    )
    ranked = marked.sort_values(["_kept", "epochs_done", "_row"], ascending=[False, False, True], kind="stable")
    repeated = ranked.duplicated([*CONDITION_COLUMNS, "data_sha256", "_subset", "seed"]) & ranked["seed"].notna()
    return runs.loc[ranked.index[~repeated].sort_values()].reset_index(drop=True)


def _subset_seed(config: Any) -> int:
    data = config.get("data") if isinstance(config, Mapping) else None
    return int(data.get("subset_seed", 0)) if isinstance(data, Mapping) else 0


def say_repeats(count: int) -> str:
    """Say how many runs are repetitions, without a full stop."""
    return f"{counted(count, 'run')} {'repeats' if count == 1 else 'repeat'} the trajectory of another (same seed)"
