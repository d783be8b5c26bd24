"""Runs that are one trajectory twice: the same experiment with the same seed, evaluated or stopped differently.

A seed decides every number of a run, so a repetition adds nothing. Counted as another run it would make intervals
narrower than the runs allow.
"""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from ncdiag.analysis.conditions import CONDITION_COLUMNS, sort_runs
from ncdiag.domain.shares import counted


def drop_repeats(runs: pd.DataFrame, *, keep: str | None = None) -> pd.DataFrame:
    """Give each trajectory once, in the order of `sort_runs`: the run called `keep` if it is one, else the longest.

    Of two that are as long, the one that is known to be evaluated more often is kept. Runs without a seed are no
    repetitions of each other, since nothing tells them apart.
    """
    ordered = sort_runs(runs)
    marked = ordered.assign(
        _subset=[_subset_seed(config) for config in ordered["config"]],
        _every=[_eval_every(config) for config in ordered["config"]],
        _kept=ordered["run"] == keep,
    )
    ranked = marked.sort_values(["_kept", "epochs_done", "_every"], ascending=[False, False, True], kind="stable")
    repeated = ranked.duplicated([*CONDITION_COLUMNS, "data_sha256", "_subset", "seed"]) & ranked["seed"].notna()
    return ordered.loc[ranked.index[~repeated].sort_values()].reset_index(drop=True)


def _subset_seed(config: Any) -> int:
    data = config.get("data") if isinstance(config, Mapping) else None
    return int(data.get("subset_seed", 0)) if isinstance(data, Mapping) else 0


def _eval_every(config: Any) -> float:
    """Give how many epochs lie between two evaluations, infinity where that is not known, or not the same number."""
    every = config.get("eval_every") if isinstance(config, Mapping) else None
    return float(every) if isinstance(every, int) else math.inf


def say_repeats(count: int) -> str:
    """Say how many runs are repetitions, without a full stop."""
    return f"{counted(count, 'run')} {'repeats' if count == 1 else 'repeat'} the trajectory of another (same seed)"
