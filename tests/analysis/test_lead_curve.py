import math

import numpy as np
import pytest

from ncdiag.analysis.asked import Asked
from ncdiag.analysis.lead_curve import COLUMNS, lead_curve
from ncdiag.analysis.lead_data import MULTIPLES
from ncdiag.analysis.terms import Terms

RATES = (16.0, 18, 20, 22, 24, 26)


def curve(make_frames, runs):
    frames = make_frames(runs)
    return lead_curve(Asked(runs=frames[0], epochs=frames[1], terms=Terms()))


def steady(make_run, slope=0.01):
    """Runs whose fn falls to 1 at onset by `slope` an epoch."""
    runs = {}
    for number, rate in enumerate(RATES):
        run = make_run(rate)
        onset = rate * math.log(100)
        run["feature_norm"] = [math.exp(-slope * (t - onset)) for t in run["epoch"]]
        runs[str(number)] = run
    return runs


def test_lead_and_error_of_each_level(make_frames, make_run):
    found = curve(make_frames, steady(make_run))
    assert list(found.columns) == ["arch", "dataset", *COLUMNS]
    fn = found[(found["contender"] == "fn") & (found["multiple"] > 1.05) & (found["multiple"] < 1.7)]
    assert len(fn) >= 2
    assert fn["lead"].to_numpy() == pytest.approx(np.log(fn["multiple"].to_numpy()) / 0.01)
    assert fn["mae"].to_numpy() == pytest.approx(0, abs=1e-6)
    assert set(fn["n"]) == {6}
    onset = np.array(RATES) * math.log(100)
    guess = found[found["contender"] == "median"]
    errors = [abs(np.median(np.delete(onset, i)) - onset[i]) for i in range(6)]
    assert guess["mae"].item() == pytest.approx(np.mean(errors))
    assert guess[["multiple", "lead"]].isna().all(axis=None)


def test_silent_runs_are_counted_and_levels_that_most_never_reach_left_out(make_frames, make_run):
    """At epoch 200 fn is at exp(-.01 (200 - onset)): a lower level than that is never reached."""
    found = curve(make_frames, steady(make_run))
    fn = found[(found["contender"] == "fn") & (found["held_out"] == "run")].set_index("multiple")
    lowest = np.exp(-0.01 * (200 - np.array(RATES) * math.log(100)))
    for multiple in MULTIPLES:
        silent = lowest > multiple
        enough = all(2 * np.count_nonzero(~np.delete(silent, i)) >= 5 for i in range(6))
        assert (multiple in fn.index) == enough
        if enough:
            assert fn.loc[multiple, "n_silent"] == silent.sum()
    assert fn["n_silent"].max() > 0


def test_too_few_runs_have_no_rows(make_frames, make_run):
    found = curve(make_frames, {"a": make_run(), "b": make_run(25.0)})
    assert (len(found), list(found.columns)) == (0, ["arch", "dataset", *COLUMNS])
