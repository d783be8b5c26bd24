"""Every rule, the choice of the winner and the intervals against loops that fit all of it anew each time."""

import math
from dataclasses import replace

import naive_forecast
import numpy as np
import pytest
from forecast_worlds import EPS, landmark, world

from ncdiag.domain.course import Course
from ncdiag.domain.crossing import Curve
from ncdiag.domain.forecast import forecast_onset
from ncdiag.domain.landmark import CensoredRun
from ncdiag.domain.prediction import predictions
from ncdiag.domain.tournament import hold_contest

NOW = 100.0


def varied(rng, runs):
    """Give runs a phase switch each, an accuracy, a quantity that rises by steps, gaps, and grids of their own."""
    found = []
    for run in runs:
        keep = rng.random(len(run.course.curves["nc1"].epoch)) < rng.choice([0.6, 1.0])
        epoch = run.course.curves["nc1"].epoch[keep]
        switch = float(rng.choice([35.0, 45.0, 55.0]))
        switched = (epoch >= switch) & (np.roll(epoch, 1) < switch)
        logs = {name: curve.log[keep] for name, curve in run.course.curves.items()}
        logs["train_accuracy"] = np.log(np.minimum(1.0, 0.9 + epoch / rng.uniform(300, 900)))
        logs["weight_norm"] = np.log(5 + np.floor(epoch / rng.uniform(20, 60)))
        curves = {name: Curve(epoch=epoch, log=log, switched=switched) for name, log in logs.items()}
        found.append(replace(run, course=Course(curves=curves)))
    return found


def both(runs, units, now=NOW, target=None):
    """The contest of ncdiag and the naive one, with the naive runs at risk."""
    contest = hold_contest(landmark(runs, now, units=units, target=target))
    naive = [
        naive_forecast.Run(run.course, unit, run.condition, run.onset, run.feature_norm)
        for run, unit in zip(runs, units, strict=True)
    ]
    further = None if target is None else naive_forecast.Run(target, "target")
    return contest, naive_forecast.Contest(naive, now, math.log(EPS), further)


@pytest.mark.parametrize(("kind", "seed"), [("nc1", 0), ("fn", 1), ("clock", 2)])
@pytest.mark.parametrize("held_out", ["condition", "run"])
def test_rules_scores_and_winners_are_those_of_the_loop(kind, seed, held_out):
    rng = np.random.default_rng(seed)
    runs = varied(rng, world(rng, kind, [0, 0, 1, 1, 2, 2, 3], step=10.0))
    units = [run.condition for run in runs] if held_out == "condition" else list(range(len(runs)))
    contest, naive = both(runs, units)
    asked, last = naive.asked(NOW), contest.landmark.folds
    assert list(contest.rules) == naive.rules
    assert len(asked) > 4
    for place, rule in enumerate(contest.rules):
        logs = [naive.log(rule, run, None) for run in asked]
        assert contest.logs[place, last] == pytest.approx(logs, rel=1e-8), rule
        assert contest.score[place, last, last] == pytest.approx(naive.score(rule, None, None), rel=1e-6), rule
        if rule not in naive_forecast.MEANS:
            silent = [math.isnan(naive.raw(rule, run, None, NOW)) for run in asked]
            assert contest.silent[place].tolist() == silent, rule
    fold = contest.landmark.asked_fold
    winners = contest.winners(fold, fold, np.arange(len(fold)))
    assert [contest.rules[k] for k in winners.tolist()] == [naive.winner(run, run.unit, run.unit) for run in asked]


@pytest.mark.parametrize(("conditions", "level"), [([0, 0, 1, 1, 2, 2, 3], 0.95), ([*range(10), 0], 0.8)])
def test_the_intervals_of_held_out_runs_are_those_of_the_loop(conditions, level):
    rng = np.random.default_rng(3)
    runs = varied(rng, world(rng, "nc1", conditions, step=10.0))
    contest, naive = both(runs, conditions, now=60.0)
    asked = naive.asked(60.0)
    for unit in sorted({run.unit for run in asked}):
        limits, _ = predictions(contest, unit).limits(level, (), by_condition=True)
        expected = [np.exp(naive.limits(run, level, (), by_condition=True)) for run in asked if run.unit == unit]
        assert np.array([(each.lo, each.hi) for each in limits]) == pytest.approx(np.array(expected), rel=1e-6)


CENSORED = {
    "of a known condition": ([0, 0, 0, 1, 1], 0, [], 0.8),
    "of a known condition, jackknife+": ([0] * 6 + [1] * 5, 0, [], 0.8),
    "of a known condition, too few for jackknife+": ([0] * 6 + [1] * 5, 0, [], 0.95),
    "of a known condition, some never": ([0] * 6 + [1] * 5, 0, [1], 0.8),
    "of a new condition": ([0, 0, 1, 1, 2, 2], 9, [], 0.8),
    "of a new condition, some never": ([0, 0, 1, 1, 2, 2], 9, [2, 3], 0.8),
    "of a new condition, one never": ([0, 0, 1, 1, 2, 2], 9, [1], 0.8),
    "of a new condition, few never": ([0, 0, 1, 1, 2, 2] * 2, 9, [1], 0.8),
    "of a new condition, jackknife+": ([*range(9), 0, 1], 99, [], 0.8),
    "of a new condition, too few for jackknife+": ([*range(9), 0, 1], 99, [], 0.95),
    "of a new condition, jackknife+, few never": ([*range(9), 0, 1], 99, [0, 20], 0.75),
    "of a new condition, jackknife+, some never": ([*range(9), 0, 1], 99, [20, 21, 22], 0.8),
}
EARLY = {  # those of above in which runs without an onset end at these shares of the later onsets, or after all
    "of a known condition, some never": (0.5,),
    "of a new condition, some never": (0.7, 2.0),
    "of a new condition, jackknife+, few never": (0.5, 2.0),
    "of a new condition, jackknife+, some never": (0.2, 0.6, 2.0),
}


@pytest.mark.parametrize(("case", "early"), [*((case, False) for case in CENSORED), *((case, True) for case in EARLY)])
def test_a_forecast_is_that_of_the_loop(case, early):
    conditions, own, censored, level = CENSORED[case]
    rng = np.random.default_rng(5)
    *runs, target = varied(rng, world(rng, "nc1", [*conditions, own], step=10.0))
    now = 60.0
    onsets = sorted(run.onset for run in runs if run.onset > now)
    shares = EARLY[case] if early else [2.0] * len(censored)
    ends = [600.0 if share > 1 else onsets[int(share * len(onsets))] + 0.5 for share in shares]
    ended = [CensoredRun(end=end, condition=each) for end, each in zip(ends, censored, strict=True)]
    settings = {"now": now, "metric": "nc1", "eps": EPS, "level": level}
    found = forecast_onset("run", target.course, own, runs, ended, **settings)
    by_condition = own not in conditions
    _, naive = both(runs, conditions if by_condition else list(range(len(runs))), now, target.course)
    further, risk = naive.target, naive.asked(now)[:-1]
    winner = naive.winner(further, None, "target")
    onset = math.exp(naive.log(winner, further, None))
    lo, hi = naive.limits(further, level, list(zip(ends, censored, strict=True)), by_condition=by_condition)
    chosen = [math.exp(naive.log(naive.winner(run, "target", run.unit), run, "target")) for run in risk]
    lasted = sum(end >= onsets[-1] for end in ends)
    assert (found.rule, found.n_calibration, found.n_censored) == (winner, len(risk), lasted)
    weights = naive_forecast.weights_of_all(onsets, ends, [1] * (len(onsets) + len(ends)))
    expected = {
        "onset": onset,
        "lo": min(max(math.exp(lo), now), onset),
        "hi": math.exp(hi) if hi < math.inf else hi,
        "mae": np.mean([abs(run.onset - said) for run, said in zip(risk, chosen, strict=True)]),
        "mae_selected": np.mean([abs(run.onset - math.exp(naive.log(winner, run, None))) for run in risk]),
        "baseline_mae": np.mean([abs(run.onset - math.exp(naive.log("median", run, None))) for run in risk]),
        "p_no_collapse": sum(weights[len(onsets) :]) / sum(weights),
    }
    assert {name: getattr(found, name) for name in expected} == pytest.approx(expected, rel=1e-6)
    assert sorted(score.rule for score in found.rules) == sorted(
        rule
        for rule in naive.rules
        if rule in naive_forecast.MEANS or not math.isnan(naive.raw(rule, further, None, now))
    )
