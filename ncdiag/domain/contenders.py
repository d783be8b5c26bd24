"""The ways to forecast an onset that compete with each other.

All forecast the logarithm of the onset from what a run shows until `now`:

- `median`: nothing of the run itself, the median onset of the other runs at risk (baseline B0).
- `phase`, `learned`: the time since the present phase began, or since the train accuracy reached 99.9 % (B1).
- `trend`, `trend_phase`, `trend_robust`: where the trend of the ln metric reaches ln eps (B2): over the last fifth of
  the training, the whole phase, or by the median slope.
- `fn`, `fn+25%`, ...: where fn falls, or by its trend will fall, to fn* of the other runs, or that margin above it.
- `nc1 level`, `nc3 level`, ...: an alarm on one observable, at the level where the run is now. Another run that was
  there at epoch u and collapsed at T says that the onset is at now * T / u. (An alarm at one fixed level says the same
  at the moment when it comes, and nothing before.)
- `level_trend`: ln onset on the level of the ln metric and on what `trend` says, shrunk (ridge).
- `regression`, `regression_without_fn`: ln onset on the levels of all observables, shrunk further.
- `mean`, `mean_without_fn`: the mean of all rules that beat the median, weighted by their errors.

How far the onset lies beyond a reading is learned as a ratio from the other runs.
"""

import math
from collections.abc import Iterator

import numpy as np

from ncdiag.domain.crossing import Curve
from ncdiag.domain.descent import TrendFit
from ncdiag.domain.landmark import Landmark, median_of_known
from ncdiag.domain.lead import MARGINS
from ncdiag.domain.statistics import FloatArray

BASELINE = "median"
NORM = "feature_norm"

_HORIZON = 3.0  # a trend that reaches its level later than this many times now is not heading there
_LEARNED = math.log(0.999)
_SHRINKAGE = 1.0  # as much weight as the data have: a coefficient is halved, were the observables uncorrelated
_SHRINKAGE_OF_TWO = 0.3  # level and trend are only two, so chance fits less of the onset with them
_LATE = 1.5  # a trend that reaches its level later than this many times now says no more than: late
_CONSTANT = 1e-7  # a spread of ln values that is nothing but rounding
_ROWS = 4  # a regression on fewer runs is not tried
_TRENDS: dict[str, TrendFit] = {
    "trend": {},
    "trend_phase": {"share": 1.0},
    "trend_robust": {"robust": True},
}
_WORDS = {
    "median": "median onset of the other runs",
    "phase": "time since the phase began",
    "learned": "time since train accuracy reached 99.9%",
    "trend": "trend of the metric",
    "trend_phase": "trend of the metric over the phase",
    "trend_robust": "trend of the metric (robust)",
    "fn": "fall of the feature norm to fn*",
    "level_trend": "regression on level and trend of the metric",
    "regression": "regression on all observables",
    "regression_without_fn": "regression on all observables but fn",
    "mean": "weighted mean of the rules",
    "mean_without_fn": "weighted mean of the rules without fn",
}


def describe(rule: str) -> str:
    """Give a rule in words."""
    if rule.startswith("fn+"):
        return f"fall of the feature norm to {rule[3:]} above fn*"
    name, _, level = rule.partition(" ")
    return f"how far {name} has come" if level else _WORDS[rule]


def is_of_norm(rule: str) -> bool:
    """Say whether a rule rests on the feature norm, alone or among others."""
    return rule.startswith(("fn", NORM)) or rule == "regression"


def contend(landmark: Landmark) -> dict[str, FloatArray]:
    """Give the ln onset that each simple rule forecasts; shape (folds + 1, courses), see `Landmark`.

    Entry [u, i] is fitted without the fold u and without the fold of course i; the last row leaves out nothing more.
    NaN where a rule is silent.
    """
    names = sorted({name for course in landmark.asked for name in course.curves})
    found = {BASELINE: _median(landmark)}
    found |= {name: _from_readings(landmark, readings) for name, readings in _clocks(landmark)}
    trends = {name: _trend_readings(landmark, name) for name in _TRENDS}
    found |= {name: _from_readings(landmark, readings) for name, readings in trends.items()}
    found |= dict(_norm_rules(landmark))
    found |= {f"{name} level": _at_level(landmark, name) for name in names}
    found["level_trend"] = _level_trend(landmark, trends["trend"])
    for rule, used in (("regression", names), ("regression_without_fn", [n for n in names if not n.startswith(NORM)])):
        levels = np.array([landmark.places(name)[2] for name in used]).reshape(len(used), len(landmark.asked)).T
        found[rule] = _ridge(landmark, levels[:, np.isfinite(levels).all(axis=0)], _SHRINKAGE)
    return found


def _median(landmark: Landmark) -> FloatArray:
    # The median of the onsets themselves: between two runs it is their arithmetic mean.
    medians = landmark.left_out_medians(np.exp(landmark.asked_log_onset))
    return np.log(medians)[:, landmark.asked_fold]


def _from_readings(landmark: Landmark, readings: FloatArray) -> FloatArray:
    """Forecast reading times the median ratio of onset to reading of the runs at risk; `readings` of all courses."""
    logs = np.log(readings)
    ratios = landmark.asked_log_onset - logs[: len(landmark.asked_log_onset)]
    return logs + landmark.left_out_medians(ratios)[:, landmark.asked_fold]


def _clocks(landmark: Landmark) -> Iterator[tuple[str, FloatArray]]:
    metric = landmark.metric
    stages = [course.stages(metric)[: course.place(metric, landmark.now)[0] + 1] for course in landmark.asked]
    yield "phase", np.array([seen[-1].epoch[0] if len(seen) > 1 else np.nan for seen in stages])
    yield (
        "learned",
        np.array([_first_learned(course.curves.get("train_accuracy"), landmark.now) for course in landmark.asked]),
    )


def _first_learned(curve: Curve | None, now: float) -> float:
    if curve is None:
        return math.nan
    rows = np.flatnonzero((curve.log >= _LEARNED) & (curve.epoch <= now))
    return float(curve.epoch[rows[0]]) if len(rows) else math.nan


def _trend_readings(landmark: Landmark, rule: str) -> FloatArray:
    asked = landmark.metric, landmark.now, landmark.log_eps
    found = np.array([course.head_for(*asked, **_TRENDS[rule]) for course in landmark.asked], dtype=np.float64)
    return np.where(found <= _HORIZON * landmark.now, np.maximum(found, landmark.now), np.nan)


def _norm_rules(landmark: Landmark) -> Iterator[tuple[str, FloatArray]]:
    """Give the fn rule for each margin; its level, and so each reading, depends on what is left out."""
    descents = [course.descent(NORM, landmark.now) for course in landmark.asked]
    count, runs = landmark.folds + 1, len(landmark.asked_log_onset)
    levels = landmark.log_fn_star.ravel()
    offsets = np.log1p(np.array(MARGINS))
    reached = np.full((len(descents), count, count, len(MARGINS)), np.nan)
    for place, descent in enumerate(descents):
        if descent is not None:
            epochs = descent.reach_each((levels[:, None] + offsets).ravel())
            reached[place] = np.where(epochs <= _HORIZON * landmark.now, np.maximum(epochs, 1.0), np.nan).reshape(
                reached.shape[1:]
            )
    logs = np.log(reached)
    fold, out = landmark.asked_fold[:runs, None, None], np.arange(count)
    kept = (fold != out[None, :, None]) & (fold != out[None, None, :])
    ratios = np.where(kept[..., None], landmark.asked_log_onset[:, None, None, None] - logs[:runs], np.nan)
    medians = median_of_known(ratios)
    courses = np.arange(len(descents))
    for number, margin in enumerate(MARGINS):
        rule = "fn" if margin == 0 else f"fn+{margin:.0%}"
        own = logs[courses, :, landmark.asked_fold, number].T
        yield rule, own + medians[:, landmark.asked_fold, number]


def _at_level(landmark: Landmark, name: str) -> FloatArray:
    """Forecast from when the other runs were at the level where each course is now, on the way that most of them go."""
    phases, at, levels = landmark.places(name)
    sign = np.where(landmark.left_out_means(np.tile(_falls(landmark, name), (len(levels), 1))) < 0, -1.0, 1.0)
    ratio = np.empty_like(sign)
    for way in np.unique(sign).tolist():
        np.copyto(ratio, _ratio_to_level(landmark, name, phases, levels, way), where=sign == way)
    forecasts: FloatArray = np.log(np.maximum(at, 1e-9)) + ratio
    return forecasts


def _falls(landmark: Landmark, name: str) -> FloatArray:
    """Give 1 for each run in which an observable falls from now to the onset, -1 where it rises; NaN if unknown."""
    ends = [[run.course.place(name, epoch)[2] for epoch in (landmark.now, run.onset)] for run in landmark.runs]
    now, onset = np.array(ends).T
    return np.where(landmark.at_risk, np.sign(now - onset), np.nan)


def _ratio_to_level(landmark: Landmark, name: str, phases: FloatArray, levels: FloatArray, sign: float) -> FloatArray:
    """Give the mean ln ratio of the onset of the other runs to when they were as low (sign 1) or as high (-1)."""
    ratios = np.full((len(levels), len(landmark.runs)), np.nan)
    groups = [(int(phase), phases == phase) for phase in np.unique(phases).tolist()]
    for column, run in enumerate(landmark.runs):
        stages = run.course.stages(name)
        for phase, here in groups:
            if phase < len(stages) and stages[phase].epoch[0] < run.onset:
                reached = stages[phase].reached(levels[here], sign)
                # A run that had not come so far when it collapsed says: now.
                reached = np.fmin(np.where(np.isnan(reached), run.onset, reached), run.onset)
                # From what it was before any training, at epoch 0, no time is a multiple.
                ratios[here, column] = math.log(run.onset) - np.log(np.where(reached > 0, reached, np.nan))
    ratios[np.isnan(levels)] = np.nan
    return landmark.left_out_means(ratios)


def _level_trend(landmark: Landmark, readings: FloatArray) -> FloatArray:
    now = max(landmark.now, 1e-9)
    late = np.fmin(readings, _LATE * now) / now  # a trend that leads nowhere says late, too
    return _ridge(landmark, np.column_stack((landmark.places(landmark.metric)[2], np.log(late))), _SHRINKAGE_OF_TWO)


def _ridge(landmark: Landmark, levels: FloatArray, shrinkage: float) -> FloatArray:
    """Forecast by a shrunk linear regression of ln onset on the columns of `levels`, a row per course.

    All pairs of folds are solved at once, from sums over folds: a sample without two folds is the total less theirs.
    """
    count, runs = landmark.folds + 1, len(landmark.asked_log_onset)
    if not levels.shape[1] or runs < _ROWS or not np.isfinite(levels).all():
        return np.full((count, len(landmark.asked)), np.nan)
    x, y = levels - levels.mean(axis=0), landmark.asked_log_onset
    member = np.eye(count)[landmark.asked_fold[:runs]]

    def sums(of: FloatArray) -> FloatArray:
        """Sum over the runs outside each pair of folds; shape (folds + 1, folds + 1, ...)."""
        parts = np.tensordot(member.T, of, axes=1)
        left: FloatArray = parts.sum(axis=0) - parts[:, None] - parts[None, :]
        left[np.arange(count), np.arange(count)] += parts
        return left

    n = np.maximum(sums(np.ones(runs)), 1.0)
    known = x[:runs]
    centre, mean = sums(known) / n[..., None], sums(y) / n
    spread = (
        sums(known[:, :, None] * known[:, None, :]) / n[..., None, None] - centre[..., :, None] * centre[..., None, :]
    )
    slope = sums(known * y[:, None]) / n[..., None] - centre * mean[..., None]
    scale = np.sqrt(np.maximum(np.diagonal(spread, axis1=2, axis2=3), 0.0))
    scale = np.where(scale < _CONSTANT, np.inf, scale)
    shrunk = spread / (scale[..., :, None] * scale[..., None, :]) + shrinkage * np.eye(x.shape[1])
    weights = np.linalg.solve(shrunk, (slope / scale)[..., None])[..., 0] / scale
    fold = landmark.asked_fold
    forecasts = mean[:, fold] + np.einsum("uip,uip->ui", x - centre[:, fold], weights[:, fold])
    return np.where(n[:, fold] >= _ROWS, forecasts, np.nan)
