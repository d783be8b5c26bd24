"""A pair of architecture and data set asked at one epoch, each run forecast by those that are not held out with it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ncdiag.domain.landmark import CalibrationRun, Landmark, folds_of_all
from ncdiag.domain.onset_rule import OnsetRule
from ncdiag.domain.prediction import predictions
from ncdiag.domain.statistics import FloatArray, IntArray, Interval
from ncdiag.domain.tournament import Contest, hold_contest

MIN_UNITS_HELD = 3  # one to hold out, one to forecast from and one to choose the rule by
PUBLISHED_LEAD = 62.0  # epochs (arXiv 2604.00230: mean lead 62, error 24)
PUBLISHED_SHARE = 0.19  # ... of a mean onset at epoch 324
SHARES = (0.5, 0.35, 0.25, 0.1)  # further leads, of the mean onset
WINNER = "winner"


@dataclass(frozen=True, kw_only=True)
class View:
    """A pair asked at one epoch with one way of holding out."""

    contest: Contest
    held_out: str
    primary: bool

    @property
    def onset(self) -> FloatArray:
        """The onset of each run at risk."""
        found: FloatArray = np.exp(self.contest.landmark.asked_log_onset)
        return found

    @property
    def lead(self) -> float:
        """The mean lead of the runs at risk."""
        return float(self.onset.mean()) - self.contest.landmark.now

    @property
    def conditions(self) -> IntArray:
        """The condition of each run at risk."""
        return self.contest.landmark.condition

    @property
    def places(self) -> IntArray:
        """The place of the rule that forecasts each run, chosen without the part that is held out with it."""
        fold = self.contest.landmark.asked_fold
        return self.contest.winners(fold, fold, np.arange(len(fold)))

    @property
    def rules(self) -> list[str]:
        """The rule that forecasts each run."""
        return [self.contest.rules[place] for place in self.places.tolist()]

    def forecasts(self, rule: str) -> FloatArray:
        """Give the held-out forecasts of a rule, or of the winners."""
        logs = self.contest.logs
        fold = self.contest.landmark.asked_fold
        places = self.places if rule == WINNER else np.full(len(fold), self.contest.place(rule))
        found: FloatArray = np.exp(logs[places, fold, np.arange(len(fold))])
        return found

    def limits(self, level: float, rule: str = WINNER) -> list[Interval]:
        """Give the forecast of each run with its limits, all made without the part that is held out."""
        fold, own = self.contest.landmark.asked_fold, self.forecasts(rule)
        now = self.contest.landmark.now
        found: dict[int, Interval] = {}
        for unit in np.unique(fold).tolist():
            made = predictions(self.contest, unit, None if rule == WINNER else rule)
            limits, _ = made.limits(level, (), by_condition=self.held_out == "condition")
            for place, each in zip(np.flatnonzero(fold == unit).tolist(), limits, strict=True):
                at = float(own[place])
                found[place] = Interval(estimate=at, lo=min(max(each.lo, now), at), hi=max(each.hi, at))
        return [found[place] for place in range(len(fold))]


def list_views(runs: list[CalibrationRun], epochs: FloatArray, rule: OnsetRule) -> Iterator[View]:
    """Give the pair with conditions and then with runs held out, where there are enough, at each of the leads.

    `epochs` are those at which some run was evaluated, in their order.
    """
    onset, condition = np.array([run.onset for run in runs]), np.array([run.condition for run in runs])
    mean = float(onset.mean())
    primary = PUBLISHED_LEAD if mean / 2 > PUBLISHED_LEAD else PUBLISHED_SHARE * mean
    for held_out, unit in (("condition", condition), ("run", np.arange(len(runs)))):
        if len(np.unique(unit)) < MIN_UNITS_HELD:
            continue
        chosen: set[float] = set()
        for lead in (primary, *(share * mean for share in SHARES)):
            epoch = _epoch_of_lead(onset, unit, epochs, lead)
            if epoch is not None and epoch not in chosen:
                chosen.add(epoch)
                landmark = Landmark(
                    runs=runs,
                    fold=folds_of_all(unit),
                    now=epoch,
                    metric=rule.metric,
                    log_eps=float(np.log(rule.eps)),
                )
                yield View(contest=hold_contest(landmark), held_out=held_out, primary=lead == primary)


def _epoch_of_lead(onset: FloatArray, unit: IntArray, epochs: FloatArray, lead: float) -> float | None:
    """Give the evaluated epoch at which the mean lead of the runs at risk is nearest to `lead`.

    At least half of the runs must be at risk, in as many units as a tournament needs.
    """
    best, epoch = np.inf, None
    for candidate in epochs[epochs < onset.max()].tolist():
        left = onset > candidate
        if 2 * left.sum() >= len(onset) and len(np.unique(unit[left])) >= MIN_UNITS_HELD:
            distance = abs(float(onset[left].mean()) - candidate - lead)
            if distance < best:
                best, epoch = distance, candidate
    return epoch
