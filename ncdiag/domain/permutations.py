"""Relabelling runs at random or in every possible way, which gives a test its p without a distribution.

A p from relabelling counts the labellings that look at least as extreme as the one observed, itself included, so it is
never 0; the smallest one it can give depends on the group sizes alone and is known before the test.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ncdiag.domain.statistics import FloatArray, IntArray

RELABELLED_RUNS = 200  # beyond this the distribution of a statistic and relabelling agree
PERMUTATIONS = 9999  # the standard error of a p of 0.05 is then 0.002
_ENUMERATED = 20_000  # up to this many labellings all of them are looked at, and the p is exact
_CELLS = 4_000_000  # numbers held at once
_TIE = 1e-9  # relative difference of two statistics that rounding explains

Labels = NDArray[np.int64]


def generator_of(*values: FloatArray) -> np.random.Generator:
    """Give a random generator whose seed is the data, so that the same runs always give the same p."""
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(part, dtype=np.float64).tobytes() for part in values))
    return np.random.default_rng(int.from_bytes(digest.digest()[:8], "little"))


def permutations_for(n: int) -> int:
    """Give the number of random permutations of `n` values: 9999, and fewer where that would take many seconds."""
    return int(min(PERMUTATIONS, max(999, 50_000_000 // n)))


def count_labellings(sizes: Sequence[int], *, ordered: bool = True) -> int:
    """Give the number of ways to deal runs to groups of these sizes.

    Groups that are not `ordered` have no direction: those of one size can swap their names, and a labelling is one with
    those that then look the same.
    """
    every = math.factorial(sum(sizes)) // math.prod(math.factorial(size) for size in sizes)
    return every if ordered else every // math.prod(math.factorial(count) for count in Counter(sizes).values())


def smallest_p(sizes: Sequence[int], *, ordered: bool) -> float:
    """Give the smallest p that relabelling groups of these sizes can give; see `count_labellings`."""
    return 1 / count_labellings(sizes, ordered=ordered)


def permutation_p(
    statistic: Callable[[Labels], FloatArray],
    labels: IntArray,
    generator: np.random.Generator,
    *,
    ordered: bool = True,
) -> tuple[float, int]:
    """Give the share of labellings whose statistic is at least the observed one, and how many were looked at.

    `statistic` takes labels [m, n] and gives m values, large where the data speak for the alternative; where groups are
    not `ordered`, it must not depend on their names. All labellings are looked at where there are at most 20,000 of
    them, and as many random ones as `permutations_for` says otherwise.
    """
    observed = float(statistic(labels[None, :])[0])
    level = observed - _TIE * max(abs(observed), 1.0)
    sizes = np.unique(labels, return_counts=True)[1].tolist()
    total = count_labellings(sizes, ordered=ordered)
    chunk = max(1, _CELLS // len(labels))
    if total <= _ENUMERATED:
        every = list_labellings(labels, ordered=ordered)
        reached = sum(int(np.sum(statistic(every[at : at + chunk]) >= level)) for at in range(0, total, chunk))
        return reached / total, total
    reached, rounds = 0, permutations_for(len(labels))
    for at in range(0, rounds, chunk):
        some = np.tile(labels, (min(chunk, rounds - at), 1))
        reached += int(np.sum(statistic(generator.permuted(some, axis=1)) >= level))
    return (1 + reached) / (1 + rounds), rounds


def list_labellings(labels: IntArray, *, ordered: bool = True) -> Labels:
    """Give every different order of the labels, as rows; see `count_labellings`."""
    values, sizes = np.unique(labels, return_counts=True)
    every: Labels = values[_labellings(tuple(sizes.tolist()), ordered)]
    return every


@lru_cache(maxsize=64)
def _labellings(sizes: tuple[int, ...], ordered: bool) -> Labels:  # a key of the cache
    """Give every order of the numbers of groups of these sizes; a sweep has many groups of the same few sizes.

    Of groups that are not ordered, those of one size take turns: the first to appear is the one with the least number.
    """
    rows = [([], sizes)]  # type: list[tuple[list[int], tuple[int, ...]]]
    for _ in range(sum(sizes)):
        rows = [
            ([*row, group], (*left[:group], left[group] - 1, *left[group + 1 :]))
            for row, left in rows
            for group in range(len(sizes))
            if left[group] and (ordered or _is_its_turn(group, left, sizes))
        ]
    return np.array([row for row, _ in rows], dtype=np.int64)


def _is_its_turn(group: int, left: tuple[int, ...], sizes: tuple[int, ...]) -> bool:
    """Tell whether a group has appeared already, or no group of its size before it still waits to."""
    size = sizes[group]
    return left[group] < size or (size, size) not in zip(left[:group], sizes[:group], strict=True)
