"""What the pages of several questions write alike: the name of a pair, and what its tests show."""

from collections.abc import Mapping
from typing import Any

from ncdiag.cli.output import printable, table_cell
from ncdiag.domain.p_values import p_is, p_text

Values = Mapping[str, Any]

_FEW = 0.01  # where the smallest possible p is not below this, it is the number of runs that keeps p large


def pair_label(group: Values) -> str:
    """Name a pair: `mlp mnist`, and `depth=5` for what would not be understood without its name."""
    parts = [value if isinstance(value, str) else f"{key}={_known(value)}" for key, value in group.items()]
    return printable(" ".join(parts))


def is_shown(test: Values, name: str = "p") -> bool:
    """Tell whether a test shows what it tests, at the level that was asked for."""
    level = test.get("level")
    return test[name] is not None and test[name] <= 1 - (0.95 if level is None else level)


def corrected_p(test: Values) -> str:
    """Write Holm's p of a test that was fixed for each pair, in brackets; nothing where there was no test."""
    if test["p"] is None:
        return ""
    over = f" after Holm's correction over {test['family']} pairs" if test["family"] > 1 else ""
    return f" ({p_is(test['p_holm'])}{over}{least_p(test['p_min'])})"


def least_p(p_min: float) -> str:
    """Say how small p can be with these runs, where they are so few that it matters."""
    return f", with so few runs at least {p_text(p_min)}" if p_min >= _FEW else ""


def _known(value: Any) -> str:
    return "?" if value is None else table_cell(value)
