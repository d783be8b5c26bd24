"""How a p-value is written: two digits, without the 0 that every one begins with, and never as 0."""

import math

LEAST = 1e-4  # below it, digits say nothing


def p_text(p: float | None) -> str:
    """Write a p-value for a cell, `-` where there is none."""
    if p is None or math.isnan(p):
        return "-"
    return "< .0001" if p < LEAST else f"{p:.2g}".removeprefix("0") if p < 0.995 else "1"


def p_is(p: float | None) -> str:
    """Write a p-value for a sentence: `p = .031`, `p < .0001`."""
    text = p_text(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"
