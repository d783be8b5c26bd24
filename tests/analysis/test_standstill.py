import math

import numpy as np
import pytest
from analysis.conftest import pick
from analysis.rescaling import BACK, attractor, experiment


def test_norms_that_go_on_moving_after_onset_are_no_attractor(make_frames, make_run):
    runs = experiment(make_run, BACK)
    for name, run in runs.items():
        t = np.array(run["epoch"])
        wavers = 0.01 * (t % 5) if name[0] == "u" else 0  # 0.02 over any five evaluations
        run["feature_norm"] = (np.array(run["feature_norm"]) * np.exp(wavers - t / 200)).tolist()
    found = attractor(make_frames(runs))
    assert pick(found, "log_ratio", arm="up_control").extra["values"] == pytest.approx(
        np.array(BACK)[:, 0] + 0.02, abs=1e-6
    )
    logs = np.log([runs[f"c{seed}"]["feature_norm"] for seed in range(5)])
    at_onset = [np.interp((15 + s / 10) * math.log(100), runs[f"c{s}"]["epoch"], logs[s]) for s in range(5)]
    assert pick(found, "settled").estimate == pytest.approx(np.mean(logs[:, -5:].mean(axis=1) - at_onset))
    drift = pick(found, "drift")
    assert drift.estimate == pytest.approx(-(drift_span(runs["c0"]) / 200), rel=0.1)
    assert drift.extra["outcome"] == "different"
    assert "drift" in pick(found, "verdict").extra["different"]


def drift_span(run, seed=0):
    after = [t for t in run["epoch"] if t >= (15 + seed / 10) * math.log(100)]
    return after[-1] - after[-(len(after) // 3)]


def test_runs_that_stop_at_onset_cannot_show_that_it_stays(make_frames, make_run):
    runs = experiment(make_run, BACK)
    for run in runs.values():
        for key in ("epoch", "nc1", "feature_norm", "train_accuracy"):
            run[key] = run[key][:74]
    found = attractor(make_frames(runs))
    assert pick(found, "drift").status == "not_testable"
    assert pick(found, "verdict").extra["verdict"] == "inconclusive"


@pytest.mark.parametrize(("short", "verdict"), [(2, "supported"), (3, "inconclusive")])
def test_that_norms_stay_is_shown_of_most_controls_only(make_frames, make_run, short, verdict):
    runs = experiment(make_run, BACK)
    for name, run in runs.items():  # so that seeds differ
        run["feature_norm"] = (
            np.array(run["feature_norm"]) * np.exp(1e-5 * int(name[1]) * np.arange(len(run["epoch"])))
        ).tolist()
    for seed in range(short):
        for key in ("epoch", "nc1", "feature_norm", "train_accuracy"):
            runs[f"c{seed}"][key] = runs[f"c{seed}"][key][:82]  # about twelve evaluations after onset
    found = attractor(make_frames(runs))
    drift = pick(found, "drift")
    assert (drift.extra["n_used"], drift.extra["of_most"]) == (5 - short, short == 2)
    assert drift.extra["watched"] == np.median([drift_span(runs[f"c{seed}"], seed) for seed in range(short, 5)])
    assert drift.extra["outcome"].startswith("equivalent")
    assert pick(found, "verdict").extra["verdict"] == verdict
