"""Where the values of a factor stand on an axis, and how runs stand side by side in the room that each of them has.

All of it is in units of the data, so that no point of a value can lie in the room of another, however wide the panel.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ncdiag.plotting.axes import lanes
from ncdiag.plotting.style import Page

LOGARITHMIC = {"width": 2.0, "weight_decay": 10.0}
_FILLED = 0.86  # of the distance of two values; the rest keeps them apart
_MARGIN = 0.6  # of the smallest distance of two values, to either end of the axis
_ROOM, _MOST_ROOM = 1.2, 2.4  # in letters: what the runs of a group take side by side, at least and at most


@dataclass(frozen=True, kw_only=True)
class Slots:
    """The places of the values of a factor, and the part of the room around each that a group has.

    `width` is that of a part in units of the axis, `points` its width in points, as wide as a panel is about; `even`
    says that the values are equally far apart although they differ by unequal steps.
    """

    places: Mapping[Any, float]
    order: Mapping[Any, Sequence[str]]  # the groups at each value, from left to right
    width: float
    points: float
    even: bool

    @property
    def limits(self) -> tuple[float, float]:
        """The ends of the axis."""
        margin = _MARGIN * _smallest_gap(self.places)
        return min(self.places.values()) - margin, max(self.places.values()) + margin

    @property
    def spacing(self) -> float:
        """The smallest distance of two values, in points: the room of a label."""
        return self.points / self.width * _smallest_gap(self.places)

    def part(self, value: Any, group: str) -> tuple[float, float]:
        """Give the part of a group at a value: where it begins and where it ends."""
        names = self.order[value]
        begin = self.places[value] + self.width * (names.index(group) - len(names) / 2)
        return begin, begin + self.width


def make_slots(factor: str, groups: Mapping[str, Sequence[Any]], sizes: tuple[float, float], *, even: bool) -> Slots:
    """Give the slots of a factor for groups with their values; `sizes` are those of a panel and of its type, in points.

    With `even`, the values are equally far apart; otherwise a width and a weight decay stand at their logarithm.
    """
    values = sorted({value for own in groups.values() for value in own})
    true = _true_places(factor, values)
    places = {value: float(number) for number, value in enumerate(values)} if even else true
    order = {value: [name for name, own in groups.items() if value in own] for value in values}
    gap = _smallest_gap(places)
    span = max(places.values()) - min(places.values()) + 2 * _MARGIN * gap
    width = min(_FILLED * gap / max(map(len, order.values())), _MOST_ROOM * sizes[1] * span / sizes[0])
    gaps = [b - a for a, b in pairwise(true.values())]
    return Slots(
        places=places,
        order=order,
        width=width,
        points=width / span * sizes[0],
        even=even and not np.allclose(gaps, gaps[:1] * len(gaps)),
    )


def roomy(slots: Slots, page: Page) -> bool:
    """Say whether the runs of a group find room side by side."""
    return slots.points >= _ROOM * page.points


def _true_places(factor: str, values: Sequence[Any]) -> dict[Any, float]:
    """Give the place of each value: its logarithm, itself, or its number if it is a word.

    A value of 0 has no logarithm; it stands a step before the smallest other one.
    """
    if any(isinstance(value, str) for value in values):
        return {value: float(number) for number, value in enumerate(values)}
    if factor not in LOGARITHMIC:
        return {value: float(value) for value in values}
    places = {value: math.log(value, LOGARITHMIC[factor]) for value in values if value > 0}
    return {value: min(places.values(), default=0.0) - 1 for value in values if value <= 0} | places


def _smallest_gap(places: Mapping[Any, float]) -> float:
    return min((b - a for a, b in pairwise(sorted(places.values()))), default=1.0)


def spread_out(heights: ArrayLike, near: float, room: tuple[float, float], step: float) -> NDArray[np.float64]:
    """Give each height a place between the ends of `room`, so that those nearer than `near` stand side by side.

    They are `step` apart, or closer where that would lead beyond the room.
    """
    lane = lanes(heights, near)
    most = int(lane.max(initial=0))
    fitting = min(step, (room[1] - room[0]) / most) if most else step
    return np.asarray(room[0] + lane * fitting, dtype=np.float64)
