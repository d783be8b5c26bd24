"""Parts of a data set, the same on every machine and for every version of every library."""

import numpy as np
from numpy.typing import NDArray

from ncdiag.errors import SpecError


def balanced_subset(labels: NDArray[np.int64], size: int, seed: int) -> NDArray[np.int64]:
    """Give the places, rising, of `size` samples with equally many of each class 0 to K - 1.

    If K does not divide `size`, the first classes get one more. Every sample of the set is given a 64-bit key, in the
    order of the set: the raw output of PCG64 with this seed, which numpy guarantees never to change (its
    `Generator.choice` and `permutation` it does not). Each class takes its samples with the smallest keys. A smaller
    subset of the same seed is therefore part of a larger one.

    Raises `SpecError` if `size` leaves a class without sample or asks for more than the smallest class can give.
    """
    return _draw(labels, balanced_shares(np.bincount(labels), size), seed)


def balanced_shares(counts: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Give how many samples `balanced_subset` takes of each class, from how many there are; raises what it does."""
    num_classes = len(counts)
    largest = num_classes * int(counts.min())
    if not num_classes <= size <= largest:
        raise SpecError(
            f"--train-size must be from {num_classes} (one of each class) to {largest} ({num_classes} classes times "
            f"{counts.min()}, the smallest), not {size}.\nLeave it out to train on all {counts.sum()}"
        )
    return size // num_classes + (np.arange(num_classes) < size % num_classes)


def proportional_subset(labels: NDArray[np.int64], size: int, option: str) -> NDArray[np.int64]:
    """Give the places, rising, of `size` samples with the share of each class that it has in the whole set.

    Equal numbers of each class would weigh the classes of an unequal set anew: on MNIST that moves NC1 by 1 %. Shares
    are rounded by largest remainder, the lower class first among equals. Within a class the samples with the smallest
    keys are taken, as in `balanced_subset` with seed 0.

    Raises `SpecError`, which names the option that said so, if `size` leaves a class that is there without sample or
    asks for more than there are.
    """
    return _draw(labels, proportional_shares(np.bincount(labels), size, option), 0)


def proportional_shares(counts: NDArray[np.int64], size: int, option: str) -> NDArray[np.int64]:
    """Give how many samples `proportional_subset` takes of each class, from how many there are; raises what it does."""
    total = int(counts.sum())
    shares, remainders = np.divmod(counts * size, total)
    shares[np.argsort(-remainders, kind="stable")[: size - shares.sum()]] += 1
    there = counts > 0  # a test set may lack a class
    if size > total or not shares[there].all():
        least = int(np.ceil(total / counts[there].min()))
        raise SpecError(
            f"{option} must be from {least} (one of each class) to {total} (all), not {size}.\n"
            "Leave it out to measure on all"
        )
    return shares


def _draw(labels: NDArray[np.int64], shares: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Give the places, rising, of as many samples of each class as its share, those with the smallest keys."""
    keys = np.random.PCG64(seed).random_raw(len(labels))
    chosen = []
    for label, share in enumerate(shares):
        places = np.flatnonzero(labels == label)
        chosen.append(places[np.argsort(keys[places], kind="stable")[:share]])
    return np.sort(np.concatenate(chosen))
