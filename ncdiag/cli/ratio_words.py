"""How a page writes a ratio whose parts may be too small: as a bound, with the one limit that still holds."""

from collections.abc import Callable


def number(value: float | None) -> str:
    """Write a figure with three significant digits, `-` where there is none."""
    return "-" if value is None else f"{value:.3g}"


def bounded(
    value: float | None,
    limits: tuple[float | None, float | None],
    bound: str | None,
    budget: float | None,
    show: Callable[[float | None], str] = number,
) -> str:
    """Give a figure with its limits, as `FactorGroup.bound` has it.

    Where runs without an onset entered one side with the budget, it is a bound, and the limit on the other side of it
    says nothing; where they entered both, it is a figure of what happened within the budget.
    """
    lo, hi = limits
    if bound == "at least":
        return f"at least {show(value)}" + ("" if lo is None else f" (lower limit {show(lo)})")
    if bound == "at most":
        return f"at most {show(value)}" + ("" if hi is None else f" (upper limit {show(hi)})")
    within = f" within {budget:.0f} epochs" if bound and budget is not None else ""
    return show(value) + ("" if lo is None or hi is None else f" ({show(lo)} to {show(hi)})") + within
