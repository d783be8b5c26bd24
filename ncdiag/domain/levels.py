"""The confidence of intervals."""

from ncdiag.errors import SpecError


def check_level(level: float, name: str = "level") -> float:
    """Give the level back; raises `SpecError` unless it is one that intervals and tests of equality can have."""
    if not 0.5 < level < 1:  # a test of equality has an interval of twice the level less 1
        raise SpecError(f"{name} is the confidence of the intervals, above 0.5 and below 1, such as 0.95, not {level}")
    return level
