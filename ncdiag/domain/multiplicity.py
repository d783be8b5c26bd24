"""Several tests of one family: how small a p must be when it is not the only one."""

import numpy as np

from ncdiag.domain.statistics import FloatArray


def holm(p: FloatArray) -> FloatArray:
    """Give Holm's (1979) adjusted p of a family; a test that could not be made (NaN) is no member and stays NaN."""
    adjusted = np.full(len(p), np.nan)
    members = np.flatnonzero(~np.isnan(p))
    order = members[np.argsort(p[members], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(order) else steps
    return adjusted
