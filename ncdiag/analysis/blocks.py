"""A factor over several groups of runs: each group, alike in everything else, is a block that ranks the values."""

from collections.abc import Sequence

import numpy as np

from ncdiag.analysis.factor_groups import FactorGroup
from ncdiag.domain.result import Result
from ncdiag.domain.statistics import group_means
from ncdiag.domain.trends import page_trend

_FEWEST = 3  # values, without which an order has no trend


def over_blocks(question: str, groups: Sequence[FactorGroup], level: float) -> list[Result]:
    """Give Page's test over the groups that have the same values of depth or width: `trend_over_blocks`, if any.

    Exploratory: it belongs to no family and decides no claim. Wider is tested to be earlier; a trend over depth is
    looked for both ways, and its p doubled. `levels` are the values that all blocks share.
    """
    if question not in ("depth", "width") or len(groups) < 2:
        return []
    shared = sorted(set.intersection(*(set(group.levels) for group in groups)))
    if len(shared) < _FEWEST:
        return []
    rows = np.array([_means(group, shared) for group in groups])
    earlier, later = (page_trend(block) for block in (rows[:, ::-1], rows))
    statistic, p = earlier if question == "width" or earlier[1] <= later[1] else later
    return [
        Result(
            question=question,
            quantity="trend_over_blocks",
            group={},
            level=level,
            estimate=statistic,
            p=p if question == "width" else min(1.0, 2 * p),
            n_runs=sum(len(group.level) for group in groups),
            n_conditions=sum(len(group.levels) for group in groups),
            n_censored=sum(group.n_censored for group in groups),
            method=f"Page's L over {len(groups)} blocks, of the mean ln min(T, budget); exploratory",
            status="not_testable" if np.isnan(p) else "ok",
            extra={
                "levels": shared,
                "n_blocks": len(groups),
                "direction": "earlier" if statistic == earlier[0] else "later",
            },
        )
    ]


def _means(group: FactorGroup, shared: Sequence[float]) -> list[float]:
    """Give the mean ln onset of a block at each value that all blocks have."""
    means = group_means(np.log(group.restricted), group.level)
    return [float(means[group.levels.index(value)]) for value in shared]
