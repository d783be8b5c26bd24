import math

import numpy as np
import pytest
from analysis.conftest import pick
from lead_worlds import RATES, leads, world


def test_a_late_condition_alone_at_risk_has_no_landmark(make_frames, make_run):
    """At three quarters of the median onset only the runs of depth 8 have not collapsed, and none can teach them."""
    depths = [2, 2, 3, 3, 8, 8, 8, 8, 8, 8]
    rates = [1.0, 1.1, 1.2, 1.3, 20.0, 21.0, 22.0, 23.0, 24.0, 25.0]
    found = leads(make_frames(world(make_run, rates, [0.01] * 10, depth=depths)))
    late = pick(found, "landmark_mae", held_out="condition", landmark=0.75)
    assert (late.status, late.extra["n_at_risk"]) == ("too_few", 6)
    assert late.warnings[0].startswith(
        "6 runs of 1 condition had not collapsed by epoch 71; a forecast needs 3 conditions"
    )
    assert pick(found, "landmark_mae", held_out="run", landmark=0.75, baseline="nearest").status == "ok"


def test_at_a_landmark_a_straight_line_is_forecast_without_error(make_frames, make_run):
    found = leads(make_frames(world(make_run, RATES, [0.01] * 6)))
    onset = RATES * math.log(100)
    for share in (0.25, 0.5, 0.75):
        about = {"landmark": share, "held_out": "run"}
        now = share * np.median(onset)
        late = onset[onset > now]
        guess = np.mean([abs(np.median(late[late != t]) - t) for t in late])
        errors = {name: pick(found, "landmark_mae", baseline=name, **about) for name in ("fn", "nc1_trend", "median")}
        assert errors["fn"].estimate == pytest.approx(0, abs=1e-6)
        assert errors["nc1_trend"].estimate == pytest.approx(0, abs=1e-6)
        assert errors["median"].estimate == pytest.approx(guess)
        assert (errors["fn"].extra["epoch"], errors["fn"].extra["n_at_risk"]) == (pytest.approx(now), len(late))
        assert pick(found, "landmark_skill", baseline="median", **about).estimate == pytest.approx(1)


def test_a_landmark_sees_nothing_of_what_comes_after(make_frames, make_run):
    runs = world(make_run, RATES, [0.01] * 6)
    early = leads(make_frames(runs))
    for run in runs.values():
        onset = run["epoch"][next(i for i, value in enumerate(run["nc1"]) if value < 0.01)]
        norm = run["feature_norm"]
        run["feature_norm"] = [
            9.0 if 30 < t < onset - 1 else value for t, value in zip(run["epoch"], norm, strict=True)
        ]
    late = leads(make_frames(runs))
    about = {"landmark": 0.25, "held_out": "run", "baseline": "fn"}
    assert pick(early, "landmark_mae", **about).extra["epoch"] < 30
    assert pick(late, "landmark_mae", **about).estimate == pick(early, "landmark_mae", **about).estimate


def test_no_forecast_lies_before_the_epoch_at_which_it_is_asked(make_frames, make_run):
    """The last run learned at once; its alarm plus the lag of the others is long past at the landmark."""
    rates = np.array([20, 20.5, 21, 21.5, 22, 30])
    runs = world(make_run, rates, [0.01] * 6)
    for run, learned in zip(runs.values(), [70, 70, 70, 70, 70, 1], strict=True):
        run["train_accuracy"] = [1.0 if t >= learned else 0.9 for t in run["epoch"]]
    onset, learned = rates * math.log(100), np.array([70, 70, 70, 70, 70, 1])
    now = 0.75 * np.median(onset)
    lag = [np.median(np.delete(onset - learned, i)) for i in range(6)]
    assert learned[5] + lag[5] < now
    errors = np.abs(np.maximum(learned + lag, now) - onset)
    found = pick(leads(make_frames(runs)), "landmark_mae", landmark=0.75, held_out="run", baseline="accuracy")
    assert found.estimate == pytest.approx(errors.mean())


def test_a_landmark_with_few_runs_at_risk_says_so(make_frames, make_run):
    found = leads(make_frames(world(make_run, [10.0, 11, 40, 41], [0.01] * 4)))
    last = pick(found, "landmark_mae", landmark=0.75, held_out="run")
    assert (last.status, last.extra["n_at_risk"]) == ("too_few", 2)
    assert last.warnings[0].startswith("2 runs had not collapsed by epoch")
    assert last.warnings[0].endswith("a forecast needs 3 runs, one to hold out and two to learn from")
