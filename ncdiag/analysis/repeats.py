"""Runs that are one trajectory twice: the same experiment with the same seed, evaluated or stopped differently.

A seed decides every number of a run, so a repetition adds nothing. Counted as another run it would make intervals
narrower than the runs allow.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ncdiag.analysis.conditions import CONDITION_COLUMNS, sort_runs
from ncdiag.domain.shares import counted

# Gives, by run id, how often the metric that decides the onset was measured in some runs; those without may be missing.
CountEvaluations = Callable[[Sequence[int]], Mapping[int, int]]


def drop_repeats(runs: pd.DataFrame, evaluations: CountEvaluations, *, keep: str | None = None) -> pd.DataFrame:
    """Give each trajectory once, in the order of `sort_runs`: the run called `keep` if it is one, else the longest.

    A run in which the metric was never measured does not take the place of one in which it was; of two that are as
    long, the one that was evaluated more often is kept. Runs without a seed are no repetitions of each other, since
    nothing tells them apart.
    """
    ordered = sort_runs(runs)
    alike = [*CONDITION_COLUMNS, "data_sha256", "_subset", "seed"]
    known = ordered.assign(_subset=[_subset_seed(config) for config in ordered["config"]])
    several = known["seed"].notna() & known.duplicated(alike, keep=False)
    counts = evaluations(known.loc[several, "run_id"].tolist()) if several.any() else {}
    number = np.array([counts.get(int(run_id), 0) for run_id in known["run_id"]], dtype=np.int64)
    marked = known.assign(_kept=known["run"] == keep, _measured=number > 0, _number=number)
    ranked = marked.sort_values(["_kept", "_measured", "epochs_done", "_number"], ascending=False, kind="stable")
    repeated = ranked.duplicated(alike) & ranked["seed"].notna()
    return ordered.loc[ranked.index[~repeated].sort_values()].reset_index(drop=True)


def _subset_seed(config: Any) -> int:
    data = config.get("data") if isinstance(config, Mapping) else None
    return int(data.get("subset_seed", 0)) if isinstance(data, Mapping) else 0


def say_repeats(count: int) -> str:
    """Say how many runs are repetitions, without a full stop."""
    return f"{counted(count, 'run')} {'has' if count == 1 else 'have'} the settings and the seed of another"
