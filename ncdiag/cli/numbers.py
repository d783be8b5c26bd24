"""Options that take a number, read so that a mistake is answered with what was found and what was expected."""

from collections.abc import Callable
from typing import Any

import typer

from ncdiag.errors import SpecError


def number_option(
    flag: str,
    *,
    text: str,
    kind: type[int] | type[float] = float,
    least: float | None = None,
    most: float | None = None,
    metavar: str = "NUMBER",
    callback: Callable[..., Any] | None = None,
) -> Any:
    """Give a Typer option for a number from `least` to `most`, both of them allowed."""
    sort = "a whole number" if kind is int else "a number"
    limits = "" if least is None else f" of at least {least:g}" if most is None else f" from {least:g} to {most:g}"

    def read(given: str | float) -> int | float:
        try:
            value = kind(given)
        except ValueError:
            value = None
        if value is None or (least is not None and not value >= least) or (most is not None and not value <= most):
            raise SpecError(f"{flag}: expected {sort}{limits}, not {given!r}")
        return value

    return typer.Option(flag, metavar=metavar, min=least, max=most, parser=read, callback=callback, help=text)
