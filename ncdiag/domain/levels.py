"""The confidence of intervals."""

from typing import SupportsFloat

from ncdiag.errors import SpecError

_DIGITS = 12  # 1 - 0.95 is 0.050000000000000044, and 1 - 0.9 is below 0.1, the p of one labelling in ten


def check_level(level: float, name: str = "level") -> float:
    """Give the level back; raises `SpecError` unless it is one that intervals and tests of equality can have."""
    # A test of equality has an interval of twice the level less 1.
    if not (isinstance(level, SupportsFloat) and 0.5 < level < 1):
        expected = "the confidence of the intervals, above 0.5 and below 1, such as 0.95"
        raise SpecError(f"{name} is {expected}, not {level!r}")
    return level


def alpha_of(level: float) -> float:
    """Give the p up to which something is shown: 0.05 at 0.95, without what binary fractions leave of it."""
    return round(1 - level, _DIGITS)
