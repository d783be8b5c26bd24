"""The contest of all forecast rules at one epoch, and what its winner is worth.

A rule is judged by its mean |error| of ln onset on runs that were held out, beside that of guessing their median. It is
judged at the epoch of the question and at three later ones: the runs that calibrate are known to their end, and at one
epoch alone a lucky rule wins. The smallest of many such errors is a lucky one, too, so a single rule has to err a
third less than the mean of the rules to take its place. The error of the winner flatters it all the same; so the choice
is repeated for every fold without that fold, and the error of the winners so chosen is the honest one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ncdiag.domain.contenders import BASELINE, contend, is_of_norm
from ncdiag.domain.landmark import Landmark
from ncdiag.domain.statistics import FloatArray, IntArray

MEANS = {"mean_without_fn": True, "mean": False}
_LATER = (1.05, 1.1, 1.2)  # times the epoch of the question: no onset that is forecast has a say in when
_WEIGHT_POWER = 4  # of the ratio of errors: a rule that errs half as much has 16 times the weight
_HANDICAP = 1.5  # of the error of a single rule, when it is compared with the mean
_BEYOND = 1.5  # no forecast is later than so many times the latest onset of the other runs
_SAME = 1e-9  # a difference of two errors that rounding explains: the rule named first wins


@dataclass(frozen=True, kw_only=True)
class Contest:
    """The forecasts of `rules`, ln onset, with shape (rules, folds + 1, courses); where one was silent, the median's.

    Entry [k, u, i] is fitted without the fold u and the own fold of course i, and is at the earliest now. `score`
    [k, u, v] is the mean error of a rule beside that of the median, over the runs outside u and v, by forecasts without
    u. `handicapped` is the score that a rule is chosen by. `silent` [k, i] marks rules that say nothing about a course:
    they do not answer for it.
    """

    landmark: Landmark
    rules: tuple[str, ...]
    logs: FloatArray
    score: FloatArray
    silent: NDArray[np.bool_]

    @cached_property
    def handicapped(self) -> FloatArray:
        """The scores, half as large again for single rules other than the median."""
        factor = np.full(len(self.rules), _HANDICAP)
        factor[[0, *range(-len(MEANS), 0)]] = 1.0
        found: FloatArray = self.score * factor[:, None, None]
        return found

    @property
    def only_median(self) -> bool:
        """Whether no rule but the median says anything."""
        return bool(self.silent[1 : -len(MEANS)].all())

    def place(self, rule: str) -> int:
        """Give the place of a rule among `rules`."""
        return self.rules.index(rule)

    def winners(self, without: IntArray, second: IntArray, course: IntArray) -> IntArray:
        """Give the place of the rule that answers for each of some courses: the best on the runs outside two folds.

        Its forecasts on these runs are those without the first fold. Of equals the simplest, which comes first.
        """
        score = np.where(self.silent[:, course], np.inf, self.handicapped[:, without, second])
        found: IntArray = np.argmax(score <= score.min(axis=0) + _SAME, axis=0)
        return found

    def chosen(self, without: int) -> FloatArray:
        """Give the forecasts of the winners, each chosen without the own fold of the course; shape (courses,).

        Forecasts and choices are made without the fold `without`, too.
        """
        fold, courses = self.landmark.asked_fold, np.arange(len(self.landmark.asked))
        places = self.winners(np.full(len(fold), without), fold, courses)
        found: FloatArray = self.logs[places, without, courses]
        return found


def hold_contest(landmark: Landmark) -> Contest:
    """Give the contest of all rules at the epoch of a landmark."""
    found = contend(landmark)
    rules = tuple(found)
    silent = np.array([np.isnan(logs[landmark.folds]) for logs in found.values()])
    silent[0] = False
    views = [_filled(landmark, found)]
    landmarks = [landmark, *_later(landmark)]
    for later in landmarks[1:]:
        seen = contend(later)
        nothing = np.full_like(seen[BASELINE], np.nan)
        views.append(_filled(later, {rule: seen.get(rule, nothing) for rule in rules}))
    score = _score(landmarks, views)
    for without_norm in MEANS.values():
        members = np.array([not (without_norm and is_of_norm(rule)) for rule in rules])
        weights = _weights(np.where(members[:, None, None], score[: len(rules)], np.inf))
        views = [
            np.concatenate([view, _mean(weights, view[: len(rules)], each.asked_fold)[None]])
            for each, view in zip(landmarks, views, strict=True)
        ]
    score = np.concatenate([score, _score(landmarks, [view[[0, -2, -1]] for view in views])[1:]])
    silent = np.concatenate([silent, np.zeros((len(MEANS), silent.shape[1]), dtype=bool)])
    return Contest(landmark=landmark, rules=(*rules, *MEANS), logs=views[0], score=score, silent=silent)


def _filled(landmark: Landmark, found: dict[str, FloatArray]) -> FloatArray:
    """Give the forecasts of all rules, from now to 1.5 times the latest onset, the median where one is silent."""
    now = np.log(max(landmark.now, 1e-9))
    latest = landmark.left_out_latest() + np.log(_BEYOND)
    logs = np.array([np.where(np.isfinite(rule), rule, found[BASELINE]) for rule in found.values()])
    filled: FloatArray = np.maximum(np.minimum(logs, latest), now)
    return filled


def _later(landmark: Landmark) -> list[Landmark]:
    """Give the calibration runs at later epochs, as long as there are two at risk."""
    found = [replace(landmark, now=landmark.now * share, target=None) for share in _LATER]
    return [later for later in found if np.count_nonzero(later.at_risk) > 1]


def _score(landmarks: Sequence[Landmark], views: Sequence[FloatArray]) -> FloatArray:
    """Give the error of each rule beside that of the first, the mean over the landmarks; shape (rules, u, v)."""
    ratios = []
    for landmark, logs in zip(landmarks, views, strict=True):
        errors = _fold_errors(landmark, logs)
        ratios.append(errors / np.maximum(errors[:1], 1e-12))
    stacked = np.array(ratios)
    known = np.isfinite(stacked)
    counts = known.sum(axis=0)
    sums = np.where(known, stacked, 0.0).sum(axis=0)
    found: FloatArray = np.divide(sums, counts, out=np.ones(sums.shape), where=counts > 0)
    return found


def _fold_errors(landmark: Landmark, logs: FloatArray) -> FloatArray:
    """Give the mean |error| of each rule over the runs at risk outside u and v; shape (rules, u, v)."""
    onset = landmark.asked_log_onset
    member = np.eye(landmark.folds + 1)[landmark.asked_fold[: len(onset)]]
    outside = 1.0 - member.T
    kept = np.abs(logs[:, :, : len(onset)] - onset) * outside
    counts = outside.sum(axis=1)[:, None] - outside @ member
    sums = kept.sum(axis=2)[:, :, None] - kept @ member
    found: FloatArray = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0.5)
    return found


def _weights(score: FloatArray) -> FloatArray:
    """Weigh the rules that beat the median, which is the first, by how much smaller their errors are."""
    ratio = 1 / np.maximum(score, 1e-6)
    weights = np.where(ratio > 1, ratio**_WEIGHT_POWER, 0.0)
    weights[0] = np.where(weights[1:].sum(axis=0) > 0, 0.0, 1.0)
    found: FloatArray = weights / weights.sum(axis=0)
    return found


def _mean(weights: FloatArray, logs: FloatArray, fold: NDArray[np.int64]) -> FloatArray:
    found: FloatArray = (weights[:, :, fold] * logs).sum(axis=0)
    return found
