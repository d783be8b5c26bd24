"""fn* of each pair with its interval, as a table to join to the runs of a figure."""

import pandas as pd

from ncdiag.analysis.asked import Asked
from ncdiag.analysis.repeats import drop_repeats
from ncdiag.analysis.thresholds import threshold_results
from ncdiag.plotting.conditions import name_pairs


def pair_thresholds(asked: Asked) -> pd.DataFrame:
    """Give a row per pair: its label, fn* with the interval at the level asked for, NaN where there is none.

    Runs that repeat the trajectory of another do not narrow the interval.
    """
    onsets = drop_repeats(asked.onsets, asked.count_evaluations)
    results = threshold_results(onsets, asked.trajectories, asked.terms)
    names = name_pairs(asked)
    found = [result for result in results if result.quantity == "fn_star"]
    return pd.DataFrame(
        {
            "pair": pd.Series([names[result.key] for result in found], dtype=object),
            "pair_fn_star": [result.estimate for result in found],
            "pair_lo": [result.lo for result in found],
            "pair_hi": [result.hi for result in found],
        }
    )
