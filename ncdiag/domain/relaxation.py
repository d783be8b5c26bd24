"""How a disturbance dies away: r(t) = c + A exp(-lambda (t - t0)), fitted to one run.

For a given lambda the curve is linear in c and A, so only ln lambda is searched (variable projection; Golub and Pereyra
1973). The uncertainty of lambda comes from several runs: the covariance of a single fit, whose errors are not
independent, covers 46 to 50 % of a nominal 95 %.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from ncdiag.domain.statistics import ROUNDING, FloatArray

MIN_POINTS = 5  # three parameters, and something left to tell whether they mean anything
_SMALLEST_GAIN = 0.02  # a curve that explains less than 2 % more than a constant is no relaxation
_SLOWEST = 4.0  # half-lives this many times longer than what was watched look like straight lines
_LONGEST = 100.0  # are tried all the same: a line may fit better than the best of the curves
_FASTEST = 0.1  # of the steps between evaluations: below that everything happens before the first one
_GRID = 80


@dataclass(frozen=True, kw_only=True)
class Relaxation:
    """The fit to one run: `half_life` in the unit of time, `start` = A, `offset` = c.

    `contraction` is |r| at the end over |r| at the first evaluation. `flags` may hold `no_relaxation_seen` (the
    half-life is then NaN), `faster_than_sampling` and `growing`, when |r| of the curve ends larger than it began.
    """

    half_life: float
    start: float
    offset: float
    contraction: float
    flags: tuple[str, ...] = ()


def fit_relaxation(time: FloatArray, values: FloatArray) -> Relaxation:
    """Fit a relaxation to finite `values` at rising `time` since the disturbance (t - t0 >= 0)."""
    contraction = abs(float(values[-1])) / abs(float(values[0])) if len(values) and values[0] else math.nan
    if len(time) < MIN_POINTS:
        return _unseen(math.nan, contraction, ())
    centred = values - values.mean()
    total = float(centred @ centred)
    if total <= ROUNDING * float(values @ values):
        return _unseen(float(values.mean()), contraction, ())
    step, watched = float(np.median(np.diff(time))), float(time[-1] - time[0])
    longest, slowest, shortest = (
        math.log(math.log(2) / t) for t in (_LONGEST * watched, _SLOWEST * watched, _FASTEST * step)
    )
    grid = np.linspace(longest, shortest, _GRID)
    best = int(np.argmin([_residual(rate, time, values) for rate in grid]))
    inner = (float(grid[max(best - 1, 0)]), float(grid[min(best + 1, _GRID - 1)]))
    found = optimize.minimize_scalar(
        _residual, bounds=inner, args=(time, values), method="bounded", options={"xatol": 1e-9}
    )
    log_rate = float(found.x)
    offset, start, left = _linear(log_rate, time, values)
    first, last = (abs(offset + start * math.exp(-math.exp(log_rate) * t)) for t in (time[0], time[-1]))
    flags = ("growing",) if last > first else ()
    if 1 - left / total < _SMALLEST_GAIN or log_rate < slowest or flags:
        return _unseen(float(values.mean()), contraction, flags)
    half_life = math.log(2) / math.exp(log_rate)
    if half_life < step:
        flags = (*flags, "faster_than_sampling")
    return Relaxation(half_life=half_life, start=start, offset=offset, contraction=contraction, flags=flags)


def _unseen(mean: float, contraction: float, flags: tuple[str, ...]) -> Relaxation:
    return Relaxation(
        half_life=math.nan,
        start=math.nan,
        offset=mean,
        contraction=contraction,
        flags=("no_relaxation_seen", *flags),
    )


def _linear(log_rate: float, time: FloatArray, values: FloatArray) -> tuple[float, float, float]:
    """Give c, A and the sum of squares that is left, for one rate."""
    decay = np.exp(-math.exp(log_rate) * time)
    x, y = decay - decay.mean(), values - values.mean()
    start = float(x @ y) / max(float(x @ x), 1e-300)
    left = y - start * x
    return float(values.mean()) - start * float(decay.mean()), start, float(left @ left)


def _residual(log_rate: float, time: FloatArray, values: FloatArray) -> float:
    return _linear(log_rate, time, values)[2]
