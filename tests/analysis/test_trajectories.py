import math

import numpy as np

from ncdiag.analysis.trajectories import trajectories


def test_one_trajectory_per_run_in_the_order_of_epochs(make_frames):
    _, epochs = make_frames({"a": {"epoch": [1, 2], "nc1": [0.5, 0.4]}, "b": {"epoch": [1, 2], "nc1": [0.3, 0.2]}})
    shuffled = epochs.iloc[[3, 0, 2, 1]]
    found = trajectories(shuffled, "nc1")
    assert found["a"].metric.tolist() == [0.5, 0.4]
    assert found["b"].metric.tolist() == [0.3, 0.2]
    assert found["a"].epoch.tolist() == [1, 2]


def test_what_was_not_measured_is_no_evaluation_and_a_measured_nan_is(make_frames):
    said = {
        "epoch": [1, 2, 3, 4],
        "nc1": [None, 0.5, math.nan, math.inf],
        "nonfinite": [None, None, {"nc1": "nan"}, {"nc1": "inf"}],
    }
    found = trajectories(make_frames({"a": said})[1], "nc1")["a"]
    assert found.epoch.tolist() == [2, 3, 4]
    assert np.isnan(found.metric[1])
    assert found.metric[2] == math.inf


def test_a_nan_of_another_metric_is_not_this_ones(make_frames):
    said = {"epoch": [1, 2], "nc1": [None, 0.5], "nonfinite": [{"nc1_rank": "nan"}, None]}
    assert trajectories(make_frames({"a": said})[1], "nc1")["a"].epoch.tolist() == [2]


def test_unknown_phase_and_loss_are_nan_and_none(make_frames):
    said = {"epoch": [1, 2], "nc1": [0.5, 0.4], "phase": [None, 2], "loss": [None, "ce"]}
    found = trajectories(make_frames({"a": said})[1], "nc1")["a"]
    assert np.isnan(found.phase[0])
    assert found.phase[1] == 2
    assert list(found.loss) == [None, "ce"]


def test_a_run_without_evaluations_is_left_out(make_frames):
    _, epochs = make_frames({"a": {"epoch": [1], "nc1": [None]}, "b": {}})
    assert trajectories(epochs, "nc1") == {}
