"""A grid of runs: every combination of the values that each option was given.

The axes keep the order in which they were written, and the last one varies fastest, so the list of points is the
same every time the same command is typed. Points that come out equal, such as a default said and left unsaid, are one
point.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from ncdiag.domain.spec import RunSpec
from ncdiag.errors import SpecError

MAX_POINTS = 100_000  # far beyond any sweep that ends, and still listed in seconds


def list_points(axes: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Give every combination of the axes' values as a mapping from axis to value."""
    size = 1
    for name, values in axes.items():
        if not values:
            raise SpecError(f"--{name.replace('_', '-')} has no value; give at least one")
        size *= len(values)
    if size > MAX_POINTS:
        raise SpecError(f"the grid has {size:,} points; expected at most {MAX_POINTS:,}. Leave values out")
    return (dict(zip(axes, values, strict=True)) for values in product(*axes.values()))


def expand(axes: Mapping[str, Sequence[Any]], make_spec: Callable[[dict[str, Any]], RunSpec]) -> list[RunSpec]:
    """Give the runs of a grid in order, each once."""
    specs = (make_spec(point) for point in list_points(axes))
    return list({spec.key: spec for spec in specs}.values())
