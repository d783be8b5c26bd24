"""Onsets that come with a drop of the learning rate: then the schedule, not the network, may have set the epoch."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncdiag.analysis.by_run import by_run, floats

WINDOW = 5  # epochs after a drop in which an onset is put down to it, or up to the first evaluation, if that is later
_DROP = 0.5  # multistep schedules divide by 2 to 10; a cosine falls smoothly, and is at no time level


def after_drop(onsets: pd.DataFrame, epochs: pd.DataFrame) -> NDArray[np.float64]:
    """Give 1 for each onset that follows a drop of the learning rate within `WINDOW` epochs, 0 for the others.

    An onset is also put down to a drop between the last evaluation above eps (`lo`) and the first one below (`hi`). NaN
    where there is no onset, or where the learning rate was not logged.
    """
    drops = list_drops(onsets, epochs)
    logged = epochs.loc[epochs["lr"].notna(), "run"].unique()
    known = ((onsets["state"] == "collapsed") & onsets["run"].isin(logged)).to_numpy()
    found = np.where(known, 0.0, np.nan)
    lo, hi = (onsets[end].to_numpy(dtype=np.float64) for end in ("lo", "hi"))
    for row in np.flatnonzero(known & onsets["run"].isin(list(drops)).to_numpy()).tolist():
        at = np.array(drops[str(onsets["run"].iloc[row])])
        found[row] = np.any((at < hi[row]) & ((lo[row] <= at) | (hi[row] - at <= WINDOW)))
    return found


def list_drops(runs: pd.DataFrame, epochs: pd.DataFrame) -> dict[str, list[float]]:
    """Give for each run the last evaluated epochs at a higher rate: where it falls to half or less within a phase.

    `runs` has the columns `run` and `schedule`, `epochs` is the frame of the store. Unless the schedule is known to
    fall in steps, the rate must have been level before or after: a cosine may also halve between two evaluations.
    """
    rows = epochs[epochs["lr"].notna()]
    if rows.empty:
        return {}
    ordered = by_run(rows)
    codes, names = ordered.run, ordered.names
    epoch, rate, phase = (floats(rows, name)[ordered.order] for name in ("epoch", "lr", "phase"))
    same = (np.diff(codes) == 0) & (np.diff(np.nan_to_num(phase)) == 0)
    level = same & (np.diff(rate) == 0)
    around = np.concatenate(([False], level[:-1])) | np.concatenate((level[1:], [False]))
    in_steps = np.isin(names, runs.loc[runs["schedule"] == "multistep", "run"].to_numpy(dtype=object))[codes[1:]]
    fell = np.flatnonzero(same & (rate[1:] <= _DROP * rate[:-1]) & (around | in_steps))
    found: dict[str, list[float]] = {}
    for row in fell.tolist():
        found.setdefault(names[codes[row]], []).append(float(epoch[row]))
    return found
