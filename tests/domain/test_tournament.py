import math
from dataclasses import replace

import numpy as np
import pytest
from forecast_worlds import EMPTY, course, exponential, landmark, world

from ncdiag.domain.contenders import contend
from ncdiag.domain.course import Course
from ncdiag.domain.landmark import CalibrationRun
from ncdiag.domain.tournament import hold_contest

RATES = (40.0, 55.0, 63.0, 78.0, 90.0)
CONDITIONS = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def naive_scores(runs, units, now, rules):
    """The mean |error| of ln onset of each rule beside that of the median, by leaving one unit out at a time."""
    ratios = {rule: [] for rule in rules}
    for at in (now, 1.05 * now, 1.1 * now, 1.2 * now):
        errors = {rule: [] for rule in rules}
        for run, unit in zip(runs, units, strict=True):
            if run.onset <= at:
                continue
            known = [(other, its) for other, its in zip(runs, units, strict=True) if its != unit]
            others = landmark([o for o, _ in known], at, units=[u for _, u in known], target=run.course)
            found = contend(others)
            for rule in rules:
                log = found[rule][-1, -1]
                log = found["median"][-1, -1] if math.isnan(log) else log
                latest = max(other.onset for other, _ in known if other.onset > at)
                log = max(min(log, math.log(1.5 * latest)), math.log(at))
                errors[rule].append(abs(log - math.log(run.onset)))
        for rule in rules:
            ratios[rule].append(np.mean(errors[rule]) / np.mean(errors["median"]))
    return {rule: np.mean(found) for rule, found in ratios.items()}


@pytest.mark.parametrize("units", [CONDITIONS, list(range(10))], ids=["condition", "run"])
def test_scores_equal_a_naive_loop(units):
    runs = world(np.random.default_rng(1), "nc1", CONDITIONS)
    contest = hold_contest(landmark(runs, 100.0, units=units))
    rules = [rule for rule in contest.rules if not rule.startswith("mean")]
    expected = naive_scores(runs, units, 100.0, rules)
    score = dict(zip(contest.rules, contest.score[:, -1, -1], strict=True))
    assert len(rules) > 15
    assert {rule: score[rule] for rule in rules} == pytest.approx(expected)


def test_the_winner_for_a_run_does_not_know_the_run():
    """Whatever a run did in the end, the rule that answers for it and its answer are the same."""
    runs = world(np.random.default_rng(2), "nc1", CONDITIONS)
    moved = [
        CalibrationRun(
            course=run.course, condition=run.condition, onset=run.onset * 1.5, feature_norm=3 * run.feature_norm
        )
        if run.condition == 2
        else run
        for run in runs
    ]
    first, second = (hold_contest(landmark(each, 60.0, units=CONDITIONS)) for each in (runs, moved))
    held = [4, 5]
    twice = np.array([2, 2])
    place = int(first.winners(twice, twice, np.array(held))[0])
    assert place == second.winners(twice, twice, np.array(held))[0]
    assert first.logs[place, 2, held] == pytest.approx(second.logs[place, 2, held])
    assert first.logs[place, 2, [0, 1]] == pytest.approx(second.logs[place, 2, [0, 1]])
    assert not np.allclose(first.logs[:, -1, 0], second.logs[:, -1, 0])


def test_the_mean_is_that_of_the_rules_that_beat_the_median():
    runs = world(np.random.default_rng(3), "nc1", CONDITIONS)
    contest = hold_contest(landmark(runs, 100.0, units=CONDITIONS))
    base = contest.score[:-2, 3, 3]
    weights = np.where(base < 1, base**-4.0, 0.0)
    expected = (weights / weights.sum()) @ contest.logs[:-2, 3, :]
    held = contest.landmark.asked_fold == 3
    assert contest.logs[contest.place("mean"), 3, held] == pytest.approx(expected[held])


def test_a_mean_without_fn_does_not_change_with_fn():
    runs = world(np.random.default_rng(4), "nc1", CONDITIONS)
    other = world(np.random.default_rng(5), "nc1", CONDITIONS)
    mixed = [
        CalibrationRun(
            course=Course(curves={**run.course.curves, "feature_norm": another.course.curves["feature_norm"]}),
            condition=run.condition,
            onset=run.onset,
            feature_norm=another.feature_norm,
        )
        for run, another in zip(runs, other, strict=True)
    ]
    first, second = (hold_contest(landmark(each, 100.0, units=CONDITIONS)) for each in (runs, mixed))
    blind = first.place("mean_without_fn")
    assert first.logs[blind] == pytest.approx(second.logs[blind])
    assert not np.allclose(first.logs[first.place("fn+25%")], second.logs[first.place("fn+25%")])


def count_wins(kind, *, pairs, now=110.0):
    """Count the rules that win pairs of a world, and give the error of the winners beside that of guessing."""
    rng, wins, errors, guesses = np.random.default_rng(5), [], [], []
    for _ in range(pairs):
        contest = hold_contest(landmark(world(rng, kind, CONDITIONS), now, units=CONDITIONS))
        wins.append(contest.rules[int(np.argmin(contest.score[:, -1, -1]))])
        fold, onset = contest.landmark.asked_fold, contest.landmark.asked_log_onset
        runs = np.arange(len(fold))
        errors.append(np.abs(contest.logs[contest.winners(fold, fold, runs), fold, runs] - onset).mean())
        guesses.append(np.abs(contest.logs[0, fold, runs] - onset).mean())
    return wins, float(np.mean(errors)), float(np.mean(guesses))


def test_where_only_nc1_informs_fn_does_not_win():
    wins, error, guess = count_wins("nc1", pairs=12)
    assert not [rule for rule in wins if rule.startswith(("fn", "feature_norm"))]
    assert error < 0.4 * guess


def test_where_fn_informs_it_wins():
    wins, error, guess = count_wins("fn", pairs=12)
    assert len([rule for rule in wins if rule.startswith(("fn", "feature_norm", "mean", "regression"))]) == 12
    assert "mean_without_fn" not in wins
    assert error < 0.6 * guess


def test_nothing_that_is_seen_helps_with_a_hidden_clock():
    """The honest error says so; that of the rule picked afterwards would not."""
    _, error, guess = count_wins("clock", pairs=12)
    assert error > guess


def test_a_single_rule_has_to_err_a_third_less_than_the_mean():
    contest = hold_contest(landmark(world(np.random.default_rng(3), "nc1", CONDITIONS), 100.0, units=CONDITIONS))
    last = np.array([contest.landmark.folds])
    mean, rule = contest.place("mean"), contest.place("nc1 level")
    for error, expected in ((0.65, rule), (0.68, mean)):
        score = np.ones_like(contest.score)
        score[mean], score[rule] = 0.6, 0.6 * error
        assert replace(contest, score=score).winners(last, last, np.array([0]))[0] == expected


def test_no_forecast_is_far_beyond_the_latest_of_the_other_runs():
    slow = exponential(600.0, epoch=np.arange(1, 3001.0))
    contest = hold_contest(landmark([*(exponential(rate) for rate in RATES), slow], 150.0))
    latest = 1.5 * max(RATES) * math.log(100)
    assert np.exp(contest.logs[:, -1, 5]).max() == pytest.approx(latest)
    assert np.exp(contest.logs[:, -1, :5]).max() <= 1.5 * 600 * math.log(100)


def test_equal_rules_leave_the_first():
    same = [exponential(60) for _ in RATES]
    contest = hold_contest(landmark(same, 100.0, target=exponential(60).course))
    last = np.array([contest.landmark.folds])
    assert contest.rules[contest.winners(last, last, np.array([5]))[0]] == "median"


def test_before_the_first_evaluation_only_the_median_competes():
    contest = hold_contest(landmark([exponential(rate) for rate in RATES], 0.0, target=EMPTY))
    assert contest.only_median
    assert math.exp(contest.logs[0, -1, -1]) == pytest.approx(63 * math.log(100))


def test_a_rule_that_is_silent_about_the_target_does_not_compete():
    t = np.arange(1, 151.0)
    flat = course(t, nc1=np.full(150, 0.5), feature_norm=np.full(150, 9.0))
    contest = hold_contest(landmark([exponential(rate) for rate in RATES], 150.0, target=flat))
    assert contest.silent[contest.place("trend"), -1]
    assert not contest.silent[contest.place("trend"), 0]
    last = np.array([contest.landmark.folds])
    best = contest.place("trend_robust")  # exact on the other runs
    assert contest.score[best, -1, -1] < 0.01
    assert contest.winners(last, last, np.array([5]))[0] != best


def test_a_forecast_is_never_before_now():
    contest = hold_contest(landmark([exponential(rate) for rate in RATES], 250.0, target=exponential(56).course))
    assert (contest.logs >= math.log(250)).all()
