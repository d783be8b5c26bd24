"""Runs that differ in one hyperparameter alone: the sample of the questions about depth, width and the like.

A factor is tested within groups of runs in which everything else but the seed is the same. Runs that never collapsed
stay in: within the common budget, the shortest training among them, they are later than every run that did.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from ncdiag.analysis.cautions import list_cautions, list_disqualifiers
from ncdiag.analysis.conditions import CONDITION_COLUMNS, group_numbers, plain_value
from ncdiag.analysis.onsets import collapsed_by, says_when
from ncdiag.analysis.terms import Terms
from ncdiag.domain.group_tests import geometric_mean
from ncdiag.domain.onset import OPEN
from ncdiag.domain.records import UNFINISHED
from ncdiag.domain.shares import counted
from ncdiag.domain.statistics import BoolArray, FloatArray, IntArray, clopper_pearson
from ncdiag.domain.survival import median_interval, restricted_mean

_MOST_NAMED = 8  # runs, in a filter that is to be typed

Bound = Literal["at least", "at most", "within the budget"]


def bound_of(over: bool, under: bool) -> Bound | None:
    """Say what a ratio bounds whose numerator, denominator, or both may be too small."""
    if over and under:
        return "within the budget"
    return "at least" if over else "at most" if under else None


@dataclass(frozen=True, kw_only=True)
class FactorGroup:
    """The runs of one group, run by run: name, number of the level, onset (infinite if never), fn* (NaN if never).

    `levels` are the values of the factor in their order. `budget` is the common budget in epochs; an onset after it
    counts as none (`event` is False). `confidence` is that of intervals. `blocked` says what forbids a verdict (see
    `list_disqualifiers`), `limited` what the budget hides, if it does.
    """

    factor: str
    fixed: Mapping[str, Any]
    levels: list[Any]
    run: list[str]
    level: IntArray
    time: FloatArray
    event: BoolArray
    fn_star: FloatArray
    budget: float
    confidence: float
    n_censored: int
    cautions: tuple[str, ...]
    blocked: tuple[str, ...]
    limited: tuple[str, ...]

    @property
    def restricted(self) -> FloatArray:
        """The onset of each run, or the budget where there is none within it."""
        return np.minimum(self.time, self.budget)

    @property
    def ranked(self) -> FloatArray:
        """The onset of each run, infinite where there is none within the budget."""
        return np.where(self.event, self.time, math.inf)

    @property
    def later(self) -> BoolArray:
        """Mark the runs that collapsed after the common budget: no events, though nothing prevented them."""
        return np.isfinite(self.time) & ~self.event

    @property
    def capped(self) -> IntArray:
        """The numbers of the levels at which no run collapsed within the budget."""
        return np.setdiff1d(self.level, self.level[self.event])

    @property
    def open(self) -> IntArray:
        """The numbers of the levels at which a run has no onset within the budget: their means are lower bounds."""
        return np.unique(self.level[~self.event])

    def bound(self, over: int, under: int) -> Bound | None:
        """Say what the ratio of the mean onsets of two levels bounds; None where it is that of the onsets themselves.

        A run without an onset enters with the budget, and collapses later or never: its level has too early a mean.
        """
        return bound_of(over in self.open, under in self.open)

    @property
    def sizes(self) -> list[int]:
        """The number of runs at each level."""
        return [int(size) for size in np.bincount(self.level, minlength=len(self.levels))]

    def describe_levels(self) -> list[dict[str, Any]]:
        """Describe each level: its runs, the share that collapsed, when, and fn* there.

        `onset` is the geometric mean of min(T, budget): with runs that have none within it, and its lower limit, bounds
        of that of T from below; `onset_hi` is infinite then. `n_later` runs collapsed after the budget, at
        `onset_later` with `fn_star_later` on average: they are told, and take no part in a test.
        """
        return [self._describe(number, value) for number, value in enumerate(self.levels)]

    def _describe(self, number: int, value: Any) -> dict[str, Any]:
        confidence = self.confidence
        own = self.level == number
        onsets, norms = self.restricted[own], self.fn_star[own & self.event]
        share = clopper_pearson(int(self.event[own].sum()), int(own.sum()), confidence)
        mean = geometric_mean(np.log(onsets), confidence)
        median, sure = median_interval(onsets, self.event[own], confidence)
        norms = norms[norms > 0]
        norm = geometric_mean(np.log(norms), confidence)
        late, late_norms = self.time[own & self.later], self.fn_star[own & self.later & (self.fn_star > 0)]
        return {
            "level": value,
            "n_runs": int(own.sum()),
            "n_collapsed": int(self.event[own].sum()),
            "share": share.estimate,
            "share_lo": share.lo,
            "share_hi": share.hi,
            "median": median.estimate,
            "median_lo": median.lo,
            "median_hi": median.hi,
            "median_level": sure,
            "rmst": restricted_mean(onsets, self.budget),
            "onset": mean.estimate,
            "onset_lo": mean.lo,
            "onset_hi": mean.hi if math.isnan(mean.hi) or self.event[own].all() else math.inf,
            "fn_star": norm.estimate,
            "fn_star_lo": norm.lo,
            "fn_star_hi": norm.hi,
            "n_later": len(late),
            "onset_later": geometric_mean(np.log(late), confidence).estimate,
            "fn_star_later": geometric_mean(np.log(late_norms), confidence).estimate,
        }


def list_factor_groups(onsets: pd.DataFrame, factor: str, terms: Terms) -> list[FactorGroup]:
    """Give the groups of runs that differ in `factor` alone, those with at least two of its values.

    `onsets` is the table of `onset_table`. Runs that are not finished are left out, whatever they
    have shown: those that happen to be finished first would be the fast ones. So are those that say nothing of when
    (`says_when`): they would leave a common budget of 0 epochs, or an onset without a logarithm.
    """
    known = onsets[onsets[factor].notna() & (onsets["state"] != "no_data")]
    numbers = group_numbers(known, [column for column in CONDITION_COLUMNS if column != factor])
    values = pd.factorize(known[factor])[0]
    of_group = np.bincount(np.unique(np.stack([numbers, values]), axis=1)[0]) if len(known) else np.empty(0)
    groups = (known[numbers == number] for number in np.flatnonzero(of_group > 1))
    return [_group(runs, factor, terms) for runs in groups if _taken(runs)[factor].nunique() > 1]


def _taken(runs: pd.DataFrame) -> pd.DataFrame:
    return runs[~runs["status"].isin(UNFINISHED) & says_when(runs)]


def _group(every: pd.DataFrame, factor: str, terms: Terms) -> FactorGroup:
    runs = _taken(every)
    levels = sorted(runs[factor].unique().tolist())
    level = np.array([levels.index(value) for value in runs[factor].tolist()], dtype=np.int64)
    time = np.where(runs["state"].isin(["collapsed", "left_censored"]), collapsed_by(runs), math.inf)
    is_open = runs["state"].isin(OPEN).to_numpy()
    followed = runs["censored_at"].to_numpy(dtype=np.float64)
    budget = float(followed[is_open].min()) if is_open.any() else _last(time, runs)
    limited = _limited(runs, is_open, followed, budget, time)
    late = int(np.count_nonzero(np.isfinite(time) & (time > budget)))
    return FactorGroup(
        factor=factor,
        fixed=_fixed(runs, factor),
        levels=[plain_value(value) for value in levels],
        run=runs["run"].tolist(),
        level=level,
        time=time,
        event=time <= budget,
        fn_star=runs["fn_star"].to_numpy(dtype=np.float64),
        budget=budget,
        confidence=terms.level,
        n_censored=int(is_open.sum()),
        cautions=(
            *limited,
            *_left_out(every, runs),
            *list_cautions(runs, terms.rule, late=(late, budget)),
        ),
        blocked=tuple(list_disqualifiers(runs)),
        limited=limited,
    )


def _last(time: FloatArray, runs: pd.DataFrame) -> float:
    """Give the budget where no run ended undecided: the last onset, or the last epoch where none collapsed."""
    finite = time[np.isfinite(time)]
    return float(finite.max()) if len(finite) else float(runs["last_epoch"].max())


def _fixed(runs: pd.DataFrame, factor: str) -> dict[str, Any]:
    values = {column: plain_value(runs[column].iloc[0]) for column in CONDITION_COLUMNS if column != factor}
    return {column: value for column, value in values.items() if value is not None}


def _limited(
    runs: pd.DataFrame, is_open: BoolArray, followed: FloatArray, budget: float, time: FloatArray
) -> tuple[str, ...]:
    """Say which runs shorten the budget, where others were followed for longer and onsets are lost to it."""
    lost = int(np.count_nonzero(np.isfinite(time) & (time > budget)))
    if not lost:
        return ()
    short = runs["run"][is_open & (followed == budget)].tolist()
    count = "counts" if lost == 1 else "count"
    ends, them = (f"{short[0]} ends", "it") if len(short) == 1 else (f"{len(short)} runs end", "them")
    # a run that is left out alone changes nothing while another one ends as early
    named = f"={short[0]}" if len(short) == 1 else f" in ({','.join(short)})"
    leave = f", or leave {them} out with --where 'not run{named}'" if len(short) <= _MOST_NAMED else ""
    return (
        f"the common budget is {budget:g} epochs, where {ends}; {counted(lost, 'later onset')} {count} as none. "
        f"Train {them} for longer{leave}",
    )


def _left_out(every: pd.DataFrame, runs: pd.DataFrame) -> tuple[str, ...]:
    states = Counter(runs["state"])
    found = []
    n = int(every["status"].isin(UNFINISHED).sum())
    if n:
        found.append(
            f"{counted(n, 'run')} {'is not finished and is' if n == 1 else 'are not finished and are'} left out"
        )
    silent = len(every) - len(runs) - n
    if silent:
        found.append(
            f"{counted(silent, 'run')} below eps at epoch 0, or from the first evaluation on without being confirmed, "
            f"{'says' if silent == 1 else 'say'} nothing of when, and {'is' if silent == 1 else 'are'} left out"
        )
    never = states["diverged"] + states["dead"]
    if never:
        found.append(f"{counted(never, 'run')} diverged or died, to count as never collapsed")
    return tuple(found)
