"""Tests of one family among the results of a question, corrected together."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from ncdiag.domain.multiplicity import holm
from ncdiag.domain.result import Result


def with_holm(results: Sequence[Result], family_of: Callable[[Result], str | None]) -> list[Result]:
    """Give the results, with Holm's `p_holm` and the size of the `family` in the `extra` of those that are in one.

    `family_of` names the family of a result, None where it is in none. A test that could not be made is listed with its
    family, but is no member: its p stays NaN, and `family` counts the others.
    """
    families: dict[str, list[int]] = {}
    for place, result in enumerate(results):
        name = family_of(result)
        if name is not None:
            families.setdefault(name, []).append(place)
    found = list(results)
    for places in families.values():
        adjusted = holm(np.array([found[place].p for place in places]))
        members = int(np.count_nonzero(~np.isnan(adjusted)))
        for place, p in zip(places, adjusted.tolist(), strict=True):
            found[place] = replace(found[place], extra={**found[place].extra, "p_holm": p, "family": members})
    return found
