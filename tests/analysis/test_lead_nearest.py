import numpy as np
import pytest

from ncdiag.analysis.lead_nearest import condition_places, nearest_forecast


def distances(frame):
    places = condition_places(frame)
    return np.minimum(np.abs(places[:, None] - places[None]), 1.0).sum(axis=2)


def test_numbers_go_by_rank_and_words_by_being_the_same(make_frames, make_run):
    runs, _ = make_frames(
        {
            "a": make_run(weight_decay=0.0, activation="relu"),
            "b": make_run(weight_decay=1e-5, activation="relu"),
            "c": make_run(weight_decay=1e-2, activation="tanh"),
            "d": make_run(weight_decay=None, activation="relu"),
        }
    )
    found = distances(runs)
    assert found[0] == pytest.approx([0, 0.5, 2, 1])
    assert found[1, 2] == pytest.approx(1.5)
    assert found[2, 3] == pytest.approx(2)
    alone, _ = make_frames({"a": make_run(width=512), "b": make_run(width=None)})
    assert distances(alone).tolist() == [[0, 1], [1, 0]]


def test_equally_near_conditions_count_together_and_open_runs_teach_nothing(make_frames, make_run):
    runs, _ = make_frames({str(i): make_run(depth=depth) for i, depth in enumerate((2, 4, 6, 6))})
    onset = np.array([10.0, 50, 30, np.nan])
    folds = np.array([0, 1, 2, 2])
    assert nearest_forecast(condition_places(runs), onset, folds).tolist() == [50, 20, 50, 50]


def test_a_run_beside_none_that_teaches_has_no_forecast(make_frames, make_run):
    runs, _ = make_frames({str(i): make_run(depth=depth) for i, depth in enumerate((2, 4, 4))})
    found = nearest_forecast(condition_places(runs), np.array([np.nan, 50, 40]), np.array([0, 1, 1]))
    assert found.tolist() == pytest.approx([45, np.nan, np.nan], nan_ok=True)
