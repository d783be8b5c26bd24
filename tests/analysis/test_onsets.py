import math
import time

import numpy as np
import pandas as pd
import pytest

from ncdiag.analysis.onsets import ONSET_COLUMNS, onset_table
from ncdiag.domain.onset_rule import OnsetRule


def test_one_row_per_run_beside_its_own_columns(make_frames, make_run):
    runs, epochs = make_frames({"a": make_run(20.0, norm=1.5), "b": make_run(90.0), "c": {"status": "pending"}})
    table = onset_table(runs, epochs, OnsetRule())
    assert table["run"].tolist() == ["a", "b", "c"]
    assert table["state"].tolist() == ["collapsed", "censored", "no_data"]
    assert table["onset"][0] == pytest.approx(20 * math.log(100))
    assert table["fn_star"][0] == pytest.approx(1.5)
    assert table["censored_at"][1] == 200
    assert table["evaluations"].tolist() == [200, 200, 0]
    assert [name for name in (*runs.columns, *ONSET_COLUMNS) if name not in table.columns] == []


def test_the_order_is_that_of_the_runs_and_other_epochs_do_not_matter(make_frames, make_run):
    runs, epochs = make_frames({"a": make_run(20.0), "b": make_run(30.0), "c": make_run(10.0)})
    table = onset_table(runs.iloc[[2, 0]], epochs, OnsetRule())
    assert table["run"].tolist() == ["c", "a"]
    assert table["onset"].tolist() == pytest.approx([10 * math.log(100), 20 * math.log(100)])


@pytest.mark.parametrize(("status", "state"), [("diverged", "diverged"), ("dead", "dead"), ("done", "censored")])
def test_the_end_of_the_training_decides_what_the_rows_leave_open(make_frames, make_run, status, state):
    table = onset_table(*make_frames({"a": make_run(90.0, status=status)}), OnsetRule())
    assert table["state"].tolist() == [state]


@pytest.mark.parametrize("status", ["diverged", "dead"])
def test_a_run_that_ended_before_anything_could_be_measured_is_not_without_data(make_frames, make_run, status):
    first = {"epoch": [1], "nc1": [math.inf], "feature_norm": [math.inf], "status": status}
    table = onset_table(*make_frames({"a": first, "b": make_run(90.0, status=status)}), OnsetRule())
    assert table[["state", "censored_at"]].to_numpy().tolist() == [[status, 0.0], [status, 200.0]]
    later = onset_table(*make_frames({"a": first | {"phase": [1]}}), OnsetRule(phase=2))  # which it never came to
    assert later["state"].tolist() == [status]


def test_an_onset_outlives_a_later_divergence(make_frames, make_run):
    table = onset_table(*make_frames({"a": make_run(20.0, status="diverged")}), OnsetRule())
    assert table["state"].tolist() == ["collapsed"]


def test_the_stop_rule_stands_beside_the_onset(make_frames):
    said = {"epoch": [1, 2], "nc1": [1.0, 1.0], "feature_norm": [3.0, 2.0], "config": {"stop": {"eps": 0.05}}}
    table = onset_table(*make_frames({"a": said, "b": {}}), OnsetRule())
    assert table["stop_eps"][0] == 0.05
    assert math.isnan(table["stop_eps"][1])


def test_columns_have_one_type_with_and_without_an_onset(make_frames, make_run):
    with_onset, without = (onset_table(*make_frames({"a": make_run(time)}), OnsetRule()) for time in (20.0, 90.0))
    assert with_onset["onset_index"].isna().sum() == 0
    assert without["onset_index"].isna().all()
    pd.testing.assert_series_equal(with_onset.dtypes, without.dtypes)


def test_no_runs_give_an_empty_table(make_frames):
    table = onset_table(*make_frames({}), OnsetRule())
    assert len(table) == 0
    assert "state" in table.columns


def test_a_thousand_runs_take_a_fraction_of_a_second(make_frames, make_run):
    """Ten thousand runs of 400 epochs should take seconds; this is a tenth of them, with time to spare."""
    runs, _ = make_frames({f"run-{i}": {} for i in range(1000)})
    rng = np.random.default_rng(0)
    t = np.tile(np.arange(1, 401), 1000)
    epochs = pd.DataFrame(
        {
            "run": np.repeat(runs["run"].to_numpy(), 400),
            "epoch": pd.array(t, dtype="Int64"),
            "phase": pd.array(1 + (t > 200), dtype="Int64"),
            "loss": np.where(t > 200, "mse", "ce").astype(object),
            "nc1": np.exp(-t / 50 + 0.1 * rng.normal(size=len(t))),
            "feature_norm": 20 * np.exp(-t / 100),
            "train_accuracy": 0.99,
            "lr": 1e-3,
            "nonfinite": None,
        }
    )
    started = time.perf_counter()
    table = onset_table(runs, epochs, OnsetRule())
    assert time.perf_counter() - started < 3
    assert set(table["state"]) == {"collapsed"}


def with_tail(run, values):
    """A run whose NC1 ends with some values instead of its own."""
    return {**run, "nc1": [*run["nc1"][: -len(values)], *values]}


@pytest.mark.parametrize(
    ("tail", "rule", "relapsed"),
    [
        ([0.05] * 20, {}, True),
        ([0.05] * 3, {}, True),
        ([0.05] * 2, {}, False),  # two evaluations are noise where three in a row make an onset
        ([0.05] * 3 + [0.001], {}, False),
        ([0.05], {"rule": "first"}, True),
        ([0.001], {"rule": "first"}, False),
    ],
)
def test_a_run_that_is_above_eps_again_at_its_end_has_relapsed(make_frames, make_run, tail, rule, relapsed):
    table = onset_table(*make_frames({"a": with_tail(make_run(20.0), tail), "b": make_run(90.0)}), OnsetRule(**rule))
    assert table["state"].tolist() == ["collapsed", "censored"]
    assert table["relapsed"].tolist() == [relapsed, False]


STOPPED = {"origin": "imported", "epochs": 93}  # exp(-93 / 20) = 0.00956, the first below 0.01


@pytest.mark.parametrize(
    ("about", "eps", "possible"),
    [
        ({}, 0.0095, True),
        ({}, 0.0077, True),
        ({}, 0.0076, False),  # more than a quarter above
        ({}, 0.01, False),  # below eps at the end, though not yet confirmed
        ({"origin": "trained"}, 0.0095, False),  # what it was told is known
        ({"epochs_planned": 93}, 0.0095, False),  # it used up its budget
        ({"epochs_planned": 200}, 0.0095, True),
        ({"status": "interrupted"}, 0.0095, False),
    ],
)
def test_an_import_that_ends_just_above_eps_may_have_been_stopped(make_frames, make_run, about, eps, possible):
    runs = {"a": make_run(20.0, **STOPPED, **{key: value for key, value in about.items() if key != "origin"})}
    runs["a"] |= about
    assert onset_table(*make_frames(runs), OnsetRule(eps=eps))["maybe_stopped"].tolist() == [possible]


def test_an_end_above_the_smallest_value_was_no_stop(make_frames, make_run):
    run = with_tail(make_run(20.0, **STOPPED), [0.0110, 0.0120])
    assert onset_table(*make_frames({"a": run}), OnsetRule(eps=0.0100))["maybe_stopped"].tolist() == [False]
