"""Whether fn* is the same under all training conditions of a pair, and whether the conditions change anything."""

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ncdiag.analysis.conditions import condition_labels, condition_numbers
from ncdiag.analysis.onsets import collapsed_by, says_when
from ncdiag.analysis.pairs import list_pairs, pair_base, with_norm_at_onset
from ncdiag.analysis.terms import Terms
from ncdiag.domain.equivalence import MARGIN
from ncdiag.domain.group_times import differ_in_time, sizes_of_several
from ncdiag.domain.invariance import Invariance, check_invariance
from ncdiag.domain.levels import alpha_of
from ncdiag.domain.onset import OPEN
from ncdiag.domain.result import Result
from ncdiag.domain.statistics import IntArray

QUESTION = "threshold"


def invariance_results(onsets: pd.DataFrame, terms: Terms) -> list[Result]:
    """Give one result per pair, `invariance`, in the order of the runs.

    `estimate` is the largest distance of a condition's mean ln fn* from their mean; `p` is small where all of them lie
    within ln 1.08 (see `check_invariance`), `p_beyond` where one does not. `p_rate` is that of the test that the
    conditions differ in their onset, without which "changes the rate, not fn*" says nothing; runs without an onset
    take part in it: a condition under which hardly any run collapses is a slow one. A condition of one run does not.
    """
    return [_pair_result(pair, terms) for pair in list_pairs(onsets, terms.by)]


def _pair_result(pair: pd.DataFrame, terms: Terms) -> Result:
    usable = with_norm_at_onset(pair)
    conditions = condition_numbers(usable)
    n_conditions = int(conditions.max(initial=-1)) + 1
    found = check_invariance(np.log(usable["fn_star"].to_numpy(dtype=np.float64)), conditions, level=terms.level)
    rate = _rate(pair)
    labels = dict(zip(conditions.tolist(), condition_labels(usable), strict=True))
    lacks, meaning = _lacks(found, n_conditions)
    extra: dict[str, Any] = {
        "lacks": lacks,
        "margin": MARGIN,
        "verdict": _verdict(found, alpha_of(terms.level)),
        "p_beyond": found.p_beyond,
        "p_rate": rate.p,
        "rate_lacks": rate.lacks,
        "furthest": labels.get(found.furthest) if found.distances else None,
        "furthest_runs": found.sizes[found.furthest] if found.distances else 0,
        "beyond": None if math.isnan(found.p_beyond) else labels.get(found.beyond),
        "beyond_runs": 0 if math.isnan(found.p_beyond) else found.sizes[found.beyond],
        "conditions": [
            {"condition": labels[n], "distance": d, "n_collapsed": size}
            for n, (d, size) in enumerate(zip(found.distances, found.sizes, strict=True))
        ],
    }
    return Result(
        quantity="invariance",
        level=terms.level,
        n_conditions=n_conditions,
        estimate=found.estimate,
        lo=found.lo,
        hi=found.hi,
        p=found.p,
        method="largest |mean ln fn* of a condition - mean of the conditions|; two one-sided t-tests of each condition "
        f"against ln 1.08, the largest p counts; p_rate: {rate.method}, by relabelling up to 200 runs",
        status=found.status,
        warnings=((f"{lacks}: {meaning}",) if lacks else _alone(found)) + _pairs(rate, alpha_of(terms.level)),
        extra=extra,
        **pair_base(QUESTION, pair, terms.by),
    )


class _Rate(NamedTuple):
    """The p that the conditions differ in their onset, how it was found, what it lacks, and the runs of conditions."""

    p: float
    method: str
    lacks: str
    sizes: IntArray


def _rate(pair: pd.DataFrame) -> _Rate:
    """Test that the conditions differ in their onset.

    A run that ended without an onset is followed to its end, one that diverged or died never collapses.
    """
    runs = pair[(pair["state"] != "no_data") & says_when(pair)]
    onset, conditions = collapsed_by(runs), condition_numbers(runs)
    event = np.isfinite(onset)
    followed = np.where(runs["state"].isin(OPEN), runs["censored_at"], math.inf)
    p, method = differ_in_time(np.where(event, onset, followed.astype(np.float64)), event, conditions)
    lacks = _lacks_of_rate(conditions) if math.isnan(p) else ""
    return _Rate(p, method, lacks, sizes_of_several(conditions))


def _alone(found: Invariance) -> tuple[str, ...]:
    alone = sum(size == 1 for size in found.sizes)
    if not alone:
        return ()
    have = "1 condition has a single run" if alone == 1 else f"{alone} conditions have a single run"
    return (f"{have}: that such a run is alike takes it to vary as the runs of the others do",)


def _pairs(rate: _Rate, alpha: float) -> tuple[str, ...]:
    """Say how many conditions of two runs stand beside larger ones, where these differ: two say little of a spread."""
    pairs = int(np.count_nonzero(rate.sizes == 2))
    if not (rate.p <= alpha and pairs and np.ptp(rate.sizes)):
        return ()
    have = "1 condition has two runs" if pairs == 1 else f"{pairs} conditions have two runs"
    return (f"{have}: if these vary more than the others, a difference in onset is found too easily",)


def _lacks_of_rate(conditions: IntArray) -> str:
    """Say why whether conditions change the onset could not be tested."""
    if np.count_nonzero(np.bincount(conditions) > 1) < 2:
        return "whether conditions change the onset takes two of two runs each"
    return "no two runs of a condition differ in their onset, so there is no noise to compare conditions with"


def _lacks(found: Invariance, conditions: int) -> tuple[str, str]:
    """Say what the runs lack for the test, and what that means; nothing where it could be made."""
    if found.status == "zero_variance":
        return "the runs of each condition have the same fn*", "no noise to compare conditions with"
    if found.status != "too_few":
        return "", ""
    if conditions < 2:
        return "one condition", "whether fn* is the same under others is not known"
    return (
        "one run in every condition",
        "whether conditions or seeds differ is not known; two seeds in one would do",
    )


def _verdict(found: Invariance, alpha: float) -> str:
    if found.status != "ok":
        return "not testable"
    if found.p <= alpha:
        return "supported"
    return "refuted" if found.p_beyond <= alpha else "inconclusive"
