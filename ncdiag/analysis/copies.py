"""Runs that have the same figures at every evaluation under several names, seeds or settings.

No two trainings agree in all of them, so they are one run that was taken in several times, perhaps with fewer digits.
Where that is said of them (the same settings, the same seed), `repeats` has left the others out; where it is not,
nobody knows which of the descriptions is wrong, and a reader has to be told.
"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile

import numpy as np
import pandas as pd

from ncdiag.domain.onset import Trajectory
from ncdiag.domain.shares import counted
from ncdiag.domain.words import first_of

_FEWEST = 3  # evaluations; of fewer, logged with a few digits, two runs may have the same by chance
_SAME = 1e-5  # of a figure: a copy may have been written with six digits, or with those of a float32


def figures_of(found: Mapping[str, Trajectory], names: Sequence[str]) -> list[str | None]:
    """Give a text for each run that only runs with the same figures share; None where there are too few."""
    alike: dict[bytes, list[tuple[float, str]]] = defaultdict(list)  # sums and names of runs, by their epochs
    for name in names:
        if name in found and np.count_nonzero(finite := np.isfinite(found[name].metric)) >= _FEWEST:
            total = float(found[name].metric[finite].sum())
            alike[found[name].epoch.tobytes()].append((total, name))
    texts: dict[str, str] = {}
    for some in map(sorted, alike.values()):
        for place, (total, name) in enumerate(some):
            copied = (other for other in _near(some[:place], total) if _are_copies(found[name], found[other]))
            texts[name] = next((texts[other] for other in copied), _digest(found[name]))
    return [texts.get(name) for name in names]


def _near(before: Sequence[tuple[float, str]], total: float) -> Iterator[str]:
    """Name the runs before one, the nearest first, whose sums are near enough to its own: its copies are among them."""
    near = takewhile(lambda other: math.isclose(other[0], total, rel_tol=_SAME), reversed(before))
    return (name for _, name in near)


def list_copies(runs: pd.DataFrame) -> dict[str, str]:
    """Give the rows of an onset table that have the figures of an earlier one, by name, with the name of that."""
    known = runs[runs["figures"].notna()]
    first = known.groupby("figures")["run"].transform("first")
    return {str(run): str(other) for run, other in zip(known["run"], first, strict=True) if run != other}


def say_copies(copies: Mapping[str, str]) -> str:
    """Say which runs have the figures of another, without a full stop."""
    have = "has" if len(copies) == 1 else "have"
    named = first_of([f"{run} those of {other}" for run, other in copies.items()])
    return f"{counted(len(copies), 'run')} {have} the figures of another at every evaluation ({named})"


def _digest(trajectory: Trajectory) -> str:
    norm = trajectory.feature_norm
    parts = (trajectory.epoch, trajectory.metric, *(() if norm is None else (norm,)))
    return hashlib.blake2b(np.concatenate(parts).tobytes(), digest_size=16).hexdigest()


def _are_copies(one: Trajectory, other: Trajectory) -> bool:
    pairs = [(one.metric, other.metric)]
    if one.feature_norm is not None and other.feature_norm is not None:
        pairs.append((one.feature_norm, other.feature_norm))
    return all(np.allclose(a, b, rtol=_SAME, atol=0, equal_nan=True) for a, b in pairs)
