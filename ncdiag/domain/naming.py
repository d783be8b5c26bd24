"""What a group of runs is called: the settings that tell it from the others, as a text or a figure writes them.

A group is a mapping of columns to plain values, None where a value is missing. Groups are told apart by `group_key`
and never by their names, which are written with as many digits as tell these groups apart.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ncdiag.domain.spec import find_rescaling
from ncdiag.domain.words import as_word

Group = Mapping[str, Any]
Key = tuple[tuple[str, Any], ...]

PAIR = ("arch", "dataset")
# What a run is that does not say it: trained on the whole set, not rescaled (as --scale-features none), nothing else.
UNSAID = {"train_size": "all", "intervention": "none", "other": "none"}
_ALONE = "{}"
_DIGITS = range(6, 18)  # with 17 no two numbers are written alike


@dataclass(frozen=True, kw_only=True)
class Naming:
    """A way to write settings: numbers with so many digits, and a value with the name of its column around it.

    `forms` holds the columns that are not written in the `usual` form. `wordy` writes texts of some columns in words of
    its own, and `unsaid` is what stands for a missing value. Names in a row need no comma between them if `marked`.
    """

    number: Callable[[float, int], str]
    usual: str
    forms: Mapping[str, str]
    unsaid: Mapping[str, str]
    wordy: Mapping[str, Callable[[str], str]] = field(default_factory=dict)
    marked: bool = False

    def write(self, column: str, value: Any, digits: int = _DIGITS[0]) -> str:
        """Write a value without the name of its column: `5`, `1e-05`, `?` where it is not known."""
        if value is None:
            return self.unsaid.get(column, "?")
        if isinstance(value, float):
            return self.number(value, digits)
        return self.wordy.get(column, str)(str(value))

    def put(self, column: str, text: str) -> str:
        """Put the name of a column around a written value, where it takes one."""
        return self.forms.get(column, self.usual).format(text, column=column)

    def name(self, column: str, value: Any, digits: int = _DIGITS[0]) -> str:
        """Give the name of a setting: `depth=5` or `wd 1e-5`; one that is missing is never without its column."""
        text = self.write(column, value, digits)
        if value is None and self.forms.get(column) == _ALONE and column not in self.wordy:
            return self.usual.format(text, column=column)
        return self.put(column, text)


def show(value: Any, digits: int = _DIGITS[0]) -> str:
    """Write a value as people do: whole numbers without a point, `?` for what is not known."""
    if value is None:
        return "?"
    if isinstance(value, float):
        return str(int(value)) if math.isfinite(value) and value == int(value) else f"{value:.{digits}g}"
    return str(value)


def compact(value: float, digits: int = _DIGITS[0]) -> str:
    """Write a number with up to six digits, or more: 512, 0.05, 1e-4."""
    if 0 < abs(value) < 1e-3 or abs(value) >= 1e5:
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        return f"{float(mantissa):.{digits}g}e{int(exponent)}"
    return f"{value:.{digits}g}"


def _rescaled(text: str) -> str:
    """Write `3.0@20+compensate-head` as one would say it."""
    found = find_rescaling(text)
    if found is None:
        return text
    return f"× {compact(found.alpha)} at {found.epoch}{', head too' if found.compensate_head else ''}"


TEXT = Naming(number=show, usual="{column}={}", forms={"other": _ALONE}, unsaid=UNSAID, marked=True)
# The forms are in the order in which figures name settings: what an earlier one tells apart, a later one need not say.
FIGURE = Naming(
    number=compact,
    usual="{column} {}",
    forms={
        "arch": _ALONE,
        "dataset": _ALONE,
        "depth": "depth {}",
        "width": "width {}",
        "activation": _ALONE,
        "weight_decay": "wd {}",
        "optimizer": _ALONE,
        "lr": "lr {}",
        "momentum": "momentum {}",
        "schedule": _ALONE,
        "batch_size": "batch {}",
        "train_size": "{} samples",
        "phases": _ALONE,
        "intervention": _ALONE,
        "other": _ALONE,
    },
    unsaid={**UNSAID, "intervention": "not rescaled"},
    wordy={"intervention": _rescaled},
)


def group_key(group: Group) -> Key:
    """Give what a group is told by: equal for the same values of the same columns, in whatever order they stand."""
    return tuple(sorted(group.items(), key=lambda item: item[0]))


def differing(groups: Sequence[Group], columns: Iterable[str] | None = None) -> list[str]:
    """Give the columns in which groups differ, of all that they have or of those given."""
    return [column for column in columns or _columns(groups) if _count(groups, [column]) > 1]


def telling(groups: Sequence[Group], columns: Iterable[str] | None = None, always: Sequence[str] = ()) -> list[str]:
    """Give the columns that tell groups apart, as few as do if taken in their order, after those that are `always`."""
    needed = list(always)
    for column in columns or _columns(groups):
        if _count(groups, [*needed, column]) > _count(groups, needed):
            needed.append(column)
    return needed


def name_groups(
    groups: Sequence[Group], naming: Naming, columns: Sequence[str] | None = None, *, bare: Collection[str] = ()
) -> list[str]:
    """Name groups by some columns, all of theirs if none are given: `mlp mnist depth=5`, `depth 5, wd 1e-5`.

    Words of `bare` columns stand in a row without the name of the column, which is left out where a group lacks it. The
    names of groups that differ in these columns differ.
    """
    shown = _columns(groups) if columns is None else columns
    row = bool(bare) and (naming.marked or all(naming.forms.get(column) == _ALONE for column in shown))

    def name(group: Group, digits: int) -> str:
        parts = [
            as_word(value) if column in bare and isinstance(value, str) else naming.name(column, value, digits)
            for column, value in ((column, group.get(column)) for column in shown)
            if column in group or column not in bare
        ]
        return (" " if row else ", ").join(parts)

    return _apart(groups, shown, name)


def write_values(groups: Sequence[Group], naming: Naming) -> list[str]:
    """Write the values of groups of one column without its name; those that differ are written differently."""

    def write(group: Group, digits: int) -> str:
        ((column, value),) = group.items()
        return naming.write(column, value, digits)

    return _apart(groups, _columns(groups), write)


def _apart(groups: Sequence[Group], columns: Sequence[str], name: Callable[[Group, int], str]) -> list[str]:
    """Name groups with the fewest digits that tell apart those which differ in some columns."""
    wanted, names = _count(groups, columns), [""] * len(groups)
    for digits in _DIGITS:
        names = [name(group, digits) for group in groups]
        if len(set(names)) >= wanted:
            break
    return names


def _columns(groups: Iterable[Group]) -> list[str]:
    return list(dict.fromkeys(column for group in groups for column in group))


def _count(groups: Iterable[Group], columns: Sequence[str]) -> int:
    return len({tuple(group.get(column) for column in columns) for group in groups})
