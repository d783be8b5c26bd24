"""Every metric of collapse from features in memory, whatever computed them."""

from collections.abc import Iterator
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ncdiag.domain.metrics import collapse_metrics
from ncdiag.domain.moments import (
    DOUBLE,
    SINGLE,
    ClassMoments,
    Projections,
    between_directions,
    class_moments,
    project,
)
from ncdiag.domain.shares import counted
from ncdiag.errors import DataError

_PIECE = 2**22  # numbers that are turned into float64 at a time, 32 MiB


@np.errstate(over="ignore", invalid="ignore")  # features that are not finite, or overflow, give NaN
def measure_features(
    features: ArrayLike, labels: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None
) -> dict[str, float]:
    """Measure a training set from its features, by the columns of an epoch: the metrics of collapse and the accuracy.

    features [N, d] are what the last linear layer is given, labels [N] whole numbers from 0 to K - 1, weight [K, d] and
    bias [K] those of that layer (none is 0): arrays of any framework that numpy reads. Computed in float64 throughout,
    a piece of the features at a time, with directions of the class means below the rounding of float32 features left
    out of NC1's pseudo-inverse. Raises `DataError` for shapes that do not fit.
    """
    try:
        H, y, W = np.asarray(features), np.asarray(labels), np.asarray(weight, dtype=np.float64)
        H = H if H.dtype.kind == "f" else H.astype(np.float64)
        b = np.zeros(len(W)) if bias is None else np.asarray(bias, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as error:  # such as torch's, for a tensor elsewhere or in bfloat16
        raise DataError(
            f"numpy cannot read an array: {str(error).rstrip('.')}.\n"
            "Expected numbers in the memory of this machine, of a torch tensor tensor.detach().float().cpu()"
        ) from None
    if H.ndim != 2 or W.ndim != 2 or H.shape[1] != W.shape[1] or y.shape != (len(H),) or b.shape != (len(W),):
        raise DataError(
            f"shapes do not fit: features {H.shape}, labels {y.shape}, weight {W.shape}, bias {b.shape};\n"
            "expected [N, d], [N], [K, d] and [K]"
        )
    if len(W) < 2:
        raise DataError(f"the weight has {counted(len(W), 'row')}; expected one for each class, of which there are two")
    if y.dtype.kind not in "iu" or not len(y) or not 0 <= y.min() <= y.max() < len(W):
        raise DataError(f"labels must be whole numbers from 0 to {len(W) - 1}, as the weight has {len(W)} rows")
    predicted = np.concatenate([(h @ W.T + b).argmax(axis=1) for (h,) in _pieces(H)])
    moments = reduce(ClassMoments.merge, (class_moments(h, classes, len(W)) for h, classes in _pieces(H, y)))
    directions = between_directions(moments, SINGLE if H.dtype in (np.float16, np.float32) else DOUBLE)
    projected = (project(h, classes, put, moments, directions) for h, classes, put in _pieces(H, y, predicted))
    found = collapse_metrics(moments, directions, reduce(Projections.merge, projected), W)
    return {"train_accuracy": float((predicted == y).mean()), **found}


def _pieces(features: NDArray[Any], *of_each: NDArray[Any]) -> Iterator[tuple[NDArray[Any], ...]]:
    """Cut features [N, d], as float64, and what belongs to each sample into pieces: a copy of all may not fit."""
    rows = max(1, _PIECE // max(1, features.shape[1]))
    for start in range(0, len(features), rows):
        piece = slice(start, start + rows)
        yield features[piece].astype(np.float64, copy=False), *(array[piece] for array in of_each)
