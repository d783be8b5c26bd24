"""Every metric of collapse from features in memory, whatever computed them."""

import numpy as np
from numpy.typing import ArrayLike

from ncdiag.domain.metrics import collapse_metrics
from ncdiag.domain.moments import DOUBLE, SINGLE, between_directions, class_moments, project
from ncdiag.domain.shares import counted
from ncdiag.errors import DataError


@np.errstate(over="ignore", invalid="ignore")  # features that are not finite, or overflow, give NaN
def measure_features(
    features: ArrayLike, labels: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None
) -> dict[str, float]:
    """Measure a training set from its features, by the columns of an epoch: the metrics of collapse and the accuracy.

    features [N, d] are what the last linear layer is given, labels [N] whole numbers from 0 to K - 1, weight [K, d] and
    bias [K] those of that layer (none is 0): arrays of any framework that numpy reads. Computed in float64 throughout,
    with directions of the class means below the rounding of float32 features left out of NC1's pseudo-inverse; for a
    torch model `ncdiag.measure` needs less memory. Raises `DataError` for shapes that do not fit.
    """
    try:
        given, y = np.asarray(features), np.asarray(labels)
        H, W = (np.asarray(array, dtype=np.float64) for array in (given, weight))
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
    moments = class_moments(H, y, len(W))
    directions = between_directions(moments, SINGLE if given.dtype in (np.float16, np.float32) else DOUBLE)
    predicted = (H @ W.T + b).argmax(axis=1)
    found = collapse_metrics(moments, directions, project(H, y, predicted, moments, directions), W)
    return {"train_accuracy": float((predicted == y).mean()), **found}
