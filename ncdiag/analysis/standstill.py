"""Whether the feature norm stands still once a run has collapsed, as at an attractor it would."""

from typing import Any

import numpy as np

from ncdiag.analysis.rescaled_set import LAST, RescaledSet, extra_of
from ncdiag.domain.crossing import Curve
from ncdiag.domain.equivalence import MARGIN
from ncdiag.domain.result import Result
from ncdiag.domain.statistics import IntArray

_MIN_AFTER = 3 * LAST  # evaluations after onset: fewer, and hardly any time has passed in which fn could move


def standstill(this: RescaledSet, quantity: str) -> Result:
    """Test whether fn of the controls stands still: in the last third after onset (`drift`), or at fn* (`settled`)."""
    rows = this.branches.control[this.branches.control >= 0]
    condition = this.branches.condition[this.branches.control >= 0]
    onset, norms = this.column("onset", rows), np.log(this.column("fn_star", rows))
    measure = _drift if quantity == "drift" else _distance
    found = [measure(this.curve(r), t, n) for r, t, n in zip(rows, onset, norms, strict=True)]
    values, watched = np.array(found).reshape(-1, 2).T
    known = np.isfinite(values)
    extra: dict[str, Any] = {
        "n_used": int(known.sum()),
        "n_left_out": int((~known).sum()),
        "of_most": bool(2 * known.sum() > len(known)),
        "watched": float(np.median(watched[known])) if known.any() else np.nan,
        "margin": MARGIN,
    }
    if not known.any():
        why = f"no control went on for {_MIN_AFTER} evaluations after its onset"
        return Result(quantity=quantity, status="not_testable", warnings=(why,), extra=extra, **this.base)
    test, over = this.tested(values[known], condition[known])
    return Result(
        quantity=quantity,
        **this.figures(test),
        method="slope of ln fn over the last third after onset, times its length"
        if quantity == "drift"
        else f"ln fn at the end (mean of {LAST} evaluations) minus ln fn at onset",
        warnings=_frozen(this, rows) if quantity == "drift" else (),
        extra={
            **extra,
            **extra_of(test),
            **this.each(rows[known], condition[known], values[known]),
            "ratio": float(np.exp(test.estimate)),
            "over": over,
        },
        **this.base,
    )


def _frozen(this: RescaledSet, rows: IntArray) -> tuple[str, ...]:
    if not this.is_cosine(rows):
        return ()
    return ("a cosine schedule ends at a learning rate of 0, where fn stands still whatever attracts it",)


def _after(curve: Curve, onset: float) -> Curve | None:
    kept = curve.epoch >= onset
    if np.count_nonzero(kept) < _MIN_AFTER:
        return None
    return Curve(epoch=curve.epoch[kept], log=curve.log[kept], switched=curve.switched[kept])


def _drift(curve: Curve, onset: float, _: float) -> tuple[float, float]:
    """Give the change of ln fn over the last third after onset, and how many epochs that is."""
    after = _after(curve, onset)
    if after is None:
        return np.nan, np.nan
    last = len(after.epoch) // 3
    t, y = after.epoch[-last:], after.log[-last:]
    centred, watched = t - t.mean(), float(t[-1] - t[0])
    return float(centred @ y) / float(centred @ centred) * watched, watched


def _distance(curve: Curve, onset: float, log_norm: float) -> tuple[float, float]:
    """Give the change of ln fn from onset to the end, and how many epochs that is."""
    after = _after(curve, onset)
    if after is None:
        return np.nan, np.nan
    return float(after.log[-LAST:].mean()) - log_norm, float(after.epoch[-1]) - onset
