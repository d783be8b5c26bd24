"""Forecast rules, and how well each does on runs it has not seen.

At an epoch `now` every run has a reading, an epoch at which the rule expects its onset from what the run itself shows:

- `median`: no reading of its own (baseline B0); the median onset of the runs that had not collapsed by `now`.
- `nc1`: where the recent trend of the ln metric reaches ln eps (B2).
- `fn`: where fn falls, or by its recent trend will fall, below fn* of the other runs.

How far onset lies beyond the reading, as a ratio, is learned from the calibration runs: the forecast is the reading
times their median ratio. Only runs at risk calibrate, those without an onset by `now`, because the run in question is
one of them. Everything is refitted without the run (or the condition) that is held out: fn*, the ratio, the horizon.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ncdiag.domain.descent import Descent, see_descent
from ncdiag.domain.onset import Trajectory
from ncdiag.domain.statistics import FloatArray, IntArray, group_means

# The simplest first: it wins a tie.
RULES = {
    "median": "median onset of the other runs",
    "nc1": "trend of the metric",
    "fn": "fall of the feature norm to fn*",
}
BASELINE = "median"
# A reading beyond this many times the latest known onset says that the curve is not heading to its level at all.
_HORIZON = 2.0
_SAME = 1e-9  # relative difference of two errors that rounding explains


@dataclass(frozen=True, kw_only=True)
class CalibrationRun:
    """A run whose onset is known: its evaluations, its condition, and epoch and feature norm at onset."""

    trajectory: Trajectory
    condition: int
    onset: float
    feature_norm: float


@dataclass(frozen=True, kw_only=True)
class RuleScore:
    """A rule, its forecast for the target run, and its forecasts for the runs at risk, each without its own unit.

    `mae` is the mean absolute error of the latter, in epochs.
    """

    rule: str
    onset: float
    held_out: FloatArray
    mae: float


@dataclass(frozen=True, kw_only=True)
class Landmark:
    """The runs of a pair as they looked at the epoch `now`, seen for one target run.

    `at_risk` are the calibration runs with an onset after `now`; `unit` numbers what is held out together, runs or
    whole conditions. fn* also learns from the runs that have collapsed already (`norm_logs`, with `norm_condition` and
    `norm_unit`).
    """

    now: float
    log_eps: float
    onset: FloatArray
    unit: IntArray
    norm_logs: FloatArray
    norm_condition: IntArray
    norm_unit: IntArray
    metrics: tuple[Descent, ...]
    norms: tuple[Descent, ...]
    _levels: dict[frozenset[int], float] = field(default_factory=dict, repr=False, compare=False)

    @property
    def target(self) -> int:
        """The place of the target run among `metrics` and `norms`: after the calibration runs."""
        return len(self.onset)

    def level(self, without: frozenset[int]) -> float:
        """Give ln fn* learned without some units: the mean over conditions; NaN where nothing is left."""
        if without not in self._levels:
            kept = ~np.isin(self.norm_unit, list(without))
            means = group_means(self.norm_logs[kept], self.norm_condition[kept])
            self._levels[without] = float(means.mean()) if len(means) else math.nan
        return self._levels[without]


def see_landmark(
    target: Trajectory, runs: Sequence[CalibrationRun], *, now: float, eps: float, by_condition: bool
) -> Landmark:
    """Give what was known of the target and of the calibration runs at the epoch `now`."""
    units = [run.condition if by_condition else number for number, run in enumerate(runs)]
    at_risk = [(run, unit) for run, unit in zip(runs, units, strict=True) if run.onset > now]
    with_norm = [(run, unit) for run, unit in zip(runs, units, strict=True) if run.feature_norm > 0]
    seen = [trajectory.until(now) for trajectory in (*(run.trajectory for run, _ in at_risk), target)]
    return Landmark(
        now=now,
        log_eps=math.log(eps),
        onset=np.array([run.onset for run, _ in at_risk]),
        unit=np.array([unit for _, unit in at_risk], dtype=np.int64),
        norm_logs=np.log([run.feature_norm for run, _ in with_norm]),
        norm_condition=np.array([run.condition for run, _ in with_norm], dtype=np.int64),
        norm_unit=np.array([unit for _, unit in with_norm], dtype=np.int64),
        metrics=tuple(see_descent(run.epoch, run.metric, run.phase) for run in seen),
        norms=tuple(_norm_descent(run) for run in seen),
    )


def score_rules(landmark: Landmark) -> list[RuleScore]:
    """Give the score of each rule that says something about the target run; the baseline always does."""
    scores = []
    for rule in RULES:
        held_out = held_out_predictions(landmark, rule)
        if says_something(landmark, rule) and np.isfinite(held_out).all():
            mae = float(np.abs(landmark.onset - held_out).mean())
            scores.append(RuleScore(rule=rule, onset=predict(landmark, rule), held_out=held_out, mae=mae))
    return scores


def choose_rule(landmark: Landmark, scores: Sequence[RuleScore], without: int | None = None) -> RuleScore:
    """Give the rule with the smallest error on the runs outside a unit; of equals the simplest."""
    kept = landmark.unit != (-1 if without is None else without)
    errors = [float(np.abs(landmark.onset - score.held_out)[kept].mean()) for score in scores]
    limit = min(errors) + _SAME * float(landmark.onset.max())
    return next(score for score, error in zip(scores, errors, strict=True) if error <= limit)


def says_something(landmark: Landmark, rule: str) -> bool:
    """Say whether the target run's own curve is heading to the level of a rule, within the horizon."""
    return rule == BASELINE or _reach(landmark, rule, landmark.target, frozenset()) <= _horizon(landmark, None)


def predict(landmark: Landmark, rule: str, without: int | None = None) -> float:
    """Give the onset that a rule forecasts for the target run, at the earliest now, fitted without a unit."""
    ratio = _median(onset_ratios(landmark, rule, without))
    return max(reading(landmark, rule, landmark.target, without) * ratio, landmark.now)


def held_out_predictions(landmark: Landmark, rule: str) -> FloatArray:
    """Give the forecast for each calibration run, fitted without its unit; shape (runs at risk,)."""
    found = np.empty(len(landmark.onset))
    for unit in np.unique(landmark.unit).tolist():
        ratio = _median(onset_ratios(landmark, rule, unit))
        for run in np.flatnonzero(landmark.unit == unit).tolist():
            found[run] = max(reading(landmark, rule, run, unit) * ratio, landmark.now)
    return found


def onset_ratios(landmark: Landmark, rule: str, without: int | None = None) -> FloatArray:
    """Give onset / reading of the runs at risk outside a unit; each reading is fitted without its own unit too."""
    kept = np.flatnonzero(landmark.unit != (-1 if without is None else without)).tolist()
    readings = [reading(landmark, rule, run, without, int(landmark.unit[run])) for run in kept]
    ratios: FloatArray = landmark.onset[kept] / np.array(readings)
    return ratios


def reading(landmark: Landmark, rule: str, run: int, *without: int | None) -> float:
    """Give the reading of one run at the epoch `now`, learned without some units; NaN where they leave nothing.

    It is at least the first epoch, and the horizon where the curve does not head to the level: the run then shows, by
    its ratio, how wrong the rule can be.
    """
    if rule == BASELINE:
        return 1.0
    held = frozenset(unit for unit in without if unit is not None)
    if rule == "fn" and math.isnan(landmark.level(held)):
        return math.nan
    reached = _reach(landmark, rule, run, held)
    horizon = _horizon(landmark, without[0] if without else None)
    return max(reached, 1.0) if reached <= horizon else horizon


def _reach(landmark: Landmark, rule: str, run: int, held: frozenset[int]) -> float:
    if rule == "nc1":
        return landmark.metrics[run].reach(landmark.log_eps)
    return landmark.norms[run].reach(landmark.level(held))


def _median(ratios: FloatArray) -> float:
    return float(np.median(ratios)) if len(ratios) else math.nan


def _horizon(landmark: Landmark, without: int | None) -> float:
    kept = landmark.onset if without is None else landmark.onset[landmark.unit != without]
    return _HORIZON * float(kept.max(initial=landmark.now))


def _norm_descent(seen: Trajectory) -> Descent:
    norm = seen.feature_norm if seen.feature_norm is not None else np.full(len(seen.epoch), math.nan)
    return see_descent(seen.epoch, norm, seen.phase)
