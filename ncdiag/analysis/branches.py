"""Runs that are alike but for a rescaling of their features: for each seed a control, one up and one down."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ncdiag.analysis.conditions import CONDITION_COLUMNS, group_numbers
from ncdiag.analysis.pairs import name_pair
from ncdiag.analysis.selection import asks_for_rescaled
from ncdiag.analysis.terms import Terms
from ncdiag.domain.shares import counted
from ncdiag.domain.spec import Intervention, find_rescaling
from ncdiag.domain.statistics import BoolArray, IntArray

_ALIKE = (*(column for column in CONDITION_COLUMNS if column != "intervention"), "seed")


@dataclass(frozen=True, kw_only=True)
class Branches:
    """The runs branched at one epoch by one factor up and one down, from the same seeds.

    `control`, `up` and `down` hold a row of the onset table for each unit (a seed of a condition), -1 where that run is
    missing; `condition` numbers the units' conditions. `alphas` are the factors, None for an arm that nobody ran.
    """

    group: Mapping[str, Any]
    epoch: int
    alphas: tuple[float | None, float | None]
    control: IntArray
    up: IntArray
    down: IntArray
    condition: IntArray


def is_rescaled(runs: pd.DataFrame) -> BoolArray:
    """Mark the runs whose features were rescaled; a factor of 1 leaves them as they were."""
    scalings = (find_rescaling(text) for text in runs["intervention"])
    return np.array([scaling is not None and scaling.alpha != 1 for scaling in scalings], dtype=bool)


def rescaled_beside_others(runs: pd.DataFrame, terms: Terms) -> BoolArray:
    """Mark the rescaled runs of each pair that has others: an experiment on it, and no training condition.

    None where the filter asks for rescaled runs.
    """
    marked = np.zeros(len(runs), dtype=bool)
    if asks_for_rescaled(terms.where):
        return marked
    numbers, changed = group_numbers(runs, terms.by), is_rescaled(runs)
    for number in np.unique(numbers[changed]).tolist():
        own = numbers == number
        marked |= own & changed & (not changed[own].all())
    return marked


def list_branches(onsets: pd.DataFrame, by: tuple[str, ...]) -> list[Branches]:
    """Give the sets of branches in an onset table, pair by pair: each epoch, head and matching factors apart."""
    numbers = group_numbers(onsets, by)
    found = []
    for number in range(int(numbers.max(initial=-1)) + 1):
        own = numbers == number
        rows = np.flatnonzero(own & (onsets["state"] != "no_data").to_numpy())
        found += list(_pair_branches(onsets, rows, name_pair(onsets[own], by)))
    return found


def _pair_branches(onsets: pd.DataFrame, rows: IntArray, group: dict[str, Any]) -> Iterator[Branches]:
    pair = onsets.iloc[rows]
    unit, condition = group_numbers(pair, _ALIKE), group_numbers(pair, _ALIKE[:-1])
    scalings = [find_rescaling(text) for text in pair["intervention"]]
    plain = np.array([_is_control(text, s) for text, s in zip(pair["intervention"], scalings, strict=True)], dtype=bool)
    for epoch, compensated in sorted({(s.epoch, s.compensate_head) for s in scalings if s and s.alpha != 1}):
        alphas = [s.alpha if s and (s.epoch, s.compensate_head) == (epoch, compensated) else np.nan for s in scalings]
        ups = sorted({a for a in alphas if a > 1})
        downs = sorted({a for a in alphas if a < 1}, reverse=True)
        for place in range(max(len(ups), len(downs))):
            up, down = (some[place] if place < len(some) else None for some in (ups, downs))
            arms = [np.array([a == wanted for a in alphas], dtype=bool) for wanted in (up, down)]
            units = np.unique(unit[arms[0] | arms[1]])
            yield Branches(
                group={
                    **group,
                    "epoch": epoch,
                    "head": "compensated" if compensated else "kept",
                    "up": up,
                    "down": down,
                },
                epoch=epoch,
                alphas=(up, down),
                control=_rows(rows, unit, plain, units),
                up=_rows(rows, unit, arms[0], units),
                down=_rows(rows, unit, arms[1], units),
                condition=np.array([condition[unit == one][0] for one in units], dtype=np.int64),
            )


def _is_control(text: Any, scaling: Intervention | None) -> bool:
    return bool(pd.isna(text)) or (scaling is not None and scaling.alpha == 1)


def _rows(rows: IntArray, unit: IntArray, arm: BoolArray, units: IntArray) -> IntArray:
    """Give the first run of an arm for each unit, as a row of the onset table; -1 where there is none."""
    first = {int(unit[place]): int(rows[place]) for place in np.flatnonzero(arm)[::-1].tolist()}
    return np.array([first.get(int(one), -1) for one in units], dtype=np.int64)


def say_left_out(count: int, but_for: str = "") -> str:
    """Say how many rescaled runs are no part of something, and how they would be; without a full stop."""
    left_out = f"{counted(count, 'run')} whose features were rescaled {'is' if count == 1 else 'are'} left out"
    return f"{left_out}{but_for and f' but for {but_for}'} (--where with intervention takes such in)"
