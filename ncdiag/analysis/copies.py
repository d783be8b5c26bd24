"""Runs that have the same figures at every evaluation under several names, seeds or settings.

No two trainings agree to the last digit, so they are one run that was taken in several times. Where that is said of
them (the same settings, the same seed), `repeats` has left the others out; where it is not, nobody knows which of the
descriptions is wrong, and a reader has to be told.
"""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ncdiag.domain.onset import Trajectory
from ncdiag.domain.shares import counted
from ncdiag.domain.words import first_of

_FEWEST = 3  # evaluations; of fewer, logged with a few digits, two runs may have the same by chance


def figures_of(found: Mapping[str, Trajectory], names: Sequence[str]) -> list[str | None]:
    """Give a text for each run that only runs with the same figures share; None where there are too few."""
    return [_digest(found[name]) if name in found else None for name in names]


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


def _digest(trajectory: Trajectory) -> str | None:
    if len(trajectory.epoch) < _FEWEST:
        return None
    norm = trajectory.feature_norm
    parts = (trajectory.epoch, trajectory.metric, *(() if norm is None else (norm,)))
    return hashlib.blake2b(np.concatenate(parts).tobytes(), digest_size=16).hexdigest()
