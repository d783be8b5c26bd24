"""How often tests reject in many trials, and how often they may by chance."""

import math
import sys
from collections.abc import Mapping, Sequence

import numpy as np

ALPHA = 0.05


def told(what: str, found: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Give of each named test the share of its p-values up to 5 %, a p that is missing being none; and print it."""
    shares = {name: float(np.mean(np.asarray(ps, dtype=float) <= ALPHA)) for name, ps in found.items()}
    trials = len(next(iter(found.values())))
    said = ", ".join(f"{name} {share:.3f}" for name, share in shares.items())
    sys.stdout.write(f"{what}: {trials} trials, rejected: {said}\n")
    return shares


def at_most(share: float, trials: int) -> float:
    """Give what the share of so many trials exceeds about once in a thousand times: three standard errors more."""
    return share + 3 * math.sqrt(share * (1 - share) / trials)
