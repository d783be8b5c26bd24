"""Curves of a few characters, for a table or a line of text."""

import math
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ncdiag.store.handle import Store

POINTS = 12
_BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float | None], limits: tuple[float, float] | None) -> str:
    """Draw a curve, a character a value, on a logarithmic scale between two limits; a gap is a space.

    What is not positive, not finite or missing is a gap. `limits` are those of `log_limits`; None draws gaps alone.
    """
    if limits is None:
        return " " * len(values)
    low, high = map(math.log, limits)
    return "".join(_bar(value, low, high) for value in values)


def _bar(value: float | None, low: float, high: float) -> str:
    if value is None or not (math.isfinite(value) and value > 0):
        return " "
    share = (math.log(value) - low) / (high - low) if high > low else 0.0
    return _BARS[min(max(int(share * len(_BARS)), 0), len(_BARS) - 1)]


def log_limits(values: Iterable[float | None]) -> tuple[float, float] | None:
    """Give the smallest and the largest of the values that a logarithmic scale can show, None where there is none."""
    known = [value for value in values if value is not None and math.isfinite(value) and value > 0]
    return (min(known), max(known)) if known else None


def draw_curves(store: "Store", names: Sequence[str], column: str) -> dict[str, str]:
    """Draw a column of runs on one scale, so that they can be compared; a run without an epoch is missing."""
    from ncdiag.store.sampling import sample_curves

    sampled = sample_curves(store, names, [column], points=POINTS)
    curves = {name: [value for (value,) in rows] for name, rows in sampled.items()}
    limits = log_limits(value for values in curves.values() for value in values)
    return {name: sparkline(values, limits) for name, values in curves.items()}


def can_draw() -> bool:
    """Tell whether stdout is a terminal that has the characters."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    try:
        _BARS.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return sys.stdout.isatty()
