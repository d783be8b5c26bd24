"""A rescaling of the features of a run, as the column `intervention` writes it."""

import math
import re
from dataclasses import dataclass

_TEXT = re.compile(r"(?P<alpha>[0-9.eE+-]+?)@(?P<epoch>\d+)(?P<compensated>\+compensate-head)?")


@dataclass(frozen=True, kw_only=True)
class Rescaling:
    """What `0.3@200` or `0.3@200+compensate-head` says: a factor, after which epoch, and whether the head made up."""

    alpha: float
    epoch: int
    compensated: bool


def find_rescaling(text: object) -> Rescaling | None:
    """Read a cell of the column `intervention`; None for anything that is not a rescaling by a factor > 0."""
    match = _TEXT.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    try:
        alpha = float(match["alpha"])
    except ValueError:
        return None
    usable = math.isfinite(alpha) and alpha > 0
    return Rescaling(alpha=alpha, epoch=int(match["epoch"]), compensated=bool(match["compensated"])) if usable else None
