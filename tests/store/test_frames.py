import dataclasses
import math
import re
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from recorded import append
from sqlalchemy import event

from ncdiag.domain.records import EpochRecord, ImportedRun, RunStatus
from ncdiag.store.frames import epochs_frame, runs_frame
from ncdiag.store.imports import import_runs
from ncdiag.store.leases import hold_lease
from ncdiag.store.runs import add_run, claim_run, finish_run

# Copied from the contract of the command line.
RUNS = """
run, status, arch, depth, width, activation, dataset, train_size, optimizer, lr, weight_decay, batch_size, seed,
phases, epochs_done, device, started_at, seconds
"""
EPOCHS = """
run, epoch, phase, loss, lr, seconds, train_loss, train_accuracy, test_accuracy, feature_norm, nc1, nc1_pinv,
nc2_equinorm, nc2_equiangular, nc3, nc4, weight_norm
"""
TEXT, WHOLE, REAL = np.dtype(object), pd.Int64Dtype(), np.dtype(float)


def test_the_columns_of_runs_begin_with_the_contract(store, make_spec):
    add_run(store, make_spec())
    frame = runs_frame(store)
    assert list(frame.columns[:18]) == re.findall(r"\w+", RUNS)
    row = frame.iloc[0]
    assert (row.run, row.status, row.depth, row.width, row.phases) == ("run-1", "pending", 3, 32.0, "ce:20,mse:40")
    assert row.train_size is pd.NA
    assert row.device is None


def test_the_columns_of_epochs_begin_with_the_contract(store, running, owner, record):
    append(store, running, *(record(epoch) for epoch in (1, 2)), owner=owner)
    frame = epochs_frame(store)
    assert list(frame.columns[:17]) == re.findall(r"\w+", EPOCHS)
    for number, row in enumerate(frame.to_dict("records"), start=1):
        expected = dataclasses.asdict(record(number)) | {"run": "run-1", "run_id": 1, "nonfinite": None}
        assert row == expected


def test_types_do_not_depend_on_the_rows(store, running, owner, record):
    append(store, running, record(1), EpochRecord(epoch=2), owner=owner)
    for frame in (runs_frame(store), runs_frame(store, [])):
        types = frame.dtypes
        assert {types[name] for name in ("run", "status", "arch", "phases", "device", "reason")} == {TEXT}
        assert {types[name] for name in ("depth", "train_size", "seed", "epochs_done", "run_id")} == {WHOLE}
        assert {types[name] for name in ("width", "lr", "weight_decay", "seconds")} == {REAL}
        assert types["started_at"] == types["finished_at"] == pd.DatetimeTZDtype("us", "UTC")
        assert types["inexact"] == np.dtype(bool)
    for frame in (epochs_frame(store), epochs_frame(store, [])):
        types = frame.dtypes
        assert {types[name] for name in ("run", "loss", "nonfinite")} == {TEXT}
        assert {types[name] for name in ("epoch", "phase", "run_id")} == {WHOLE}
        assert set(types.drop(["run", "loss", "nonfinite", "epoch", "phase", "run_id"])) == {REAL}


def test_infinite_and_nan_are_restored_and_told_from_missing(store, running, owner):
    values = [None, math.nan, math.inf, -math.inf, 0.5]
    append(
        store,
        running,
        *(EpochRecord(epoch=number, nc1=value) for number, value in enumerate(values, start=1)),
        owner=owner,
    )
    frame = epochs_frame(store)
    np.testing.assert_array_equal(frame["nc1"], [math.nan, math.nan, math.inf, -math.inf, 0.5])
    assert frame["nonfinite"].tolist() == [None, {"nc1": "nan"}, {"nc1": "inf"}, {"nc1": "-inf"}, None]
    assert frame["loss"].tolist() == [None] * 5
    assert frame["phase"].isna().all()


def test_rows_come_by_run_and_epoch_and_can_be_chosen(store):
    runs = [
        ImportedRun(config={"seed": seed}, epochs=tuple(EpochRecord(epoch=e) for e in (0, 9, 10)), source="x")
        for seed in range(12)
    ]
    import_runs(store, runs)
    assert runs_frame(store)["run_id"].tolist() == list(range(1, 13))
    assert runs_frame(store, [12, 3, 3, 99])["seed"].tolist() == [2, 11]
    chosen = epochs_frame(store, np.array([11, 2]))
    assert list(zip(chosen["run_id"], chosen["epoch"], strict=True)) == [(i, e) for i in (2, 11) for e in (0, 9, 10)]
    assert epochs_frame(store, []).empty


def test_the_end_of_a_run_can_be_read_alone(store):
    epochs = tuple(EpochRecord(epoch=epoch, nc1=float(epoch)) for epoch in (0, 9, 10, 20))
    import_runs(store, [ImportedRun(config={"seed": seed}, epochs=epochs, source="x") for seed in range(2)])
    assert epochs_frame(store, [2], after=9)[["run_id", "epoch", "nc1"]].values.tolist() == [[2, 10, 10], [2, 20, 20]]
    assert epochs_frame(store, [2], after=0)["epoch"].tolist() == [9, 10, 20]
    assert epochs_frame(store, [2], after=20).empty


def test_any_number_of_ids(store):
    runs = [ImportedRun(config={"seed": s}, epochs=(EpochRecord(epoch=1),), source="x") for s in range(1200)]
    import_runs(store, runs)
    ids = range(1, 40_001)  # more than SQLite takes as values of one statement
    assert runs_frame(store, ids)["seed"].tolist() == list(range(1200))
    assert epochs_frame(store, ids)["run_id"].tolist() == list(range(1, 1201))


def test_the_status_is_the_one_that_is_true_now(store, make_spec):
    run, _ = add_run(store, make_spec())
    with hold_lease(store, run.id, "me"):
        claim_run(store, run.id, owner="me", device="cpu", environment={})
        assert runs_frame(store)["status"].tolist() == ["running"]
    assert runs_frame(store)["status"].tolist() == ["lost"]
    finish_run(store, run.id, owner="me", status=RunStatus.DONE)
    assert runs_frame(store)["status"].tolist() == ["done"]
    assert runs_frame(store)["finished_at"].notna().all()


def test_columns_can_be_chosen_and_values_stay(store, running, owner):
    values = [0.5, math.nan, None, -math.inf]
    append(
        store,
        running,
        *(EpochRecord(epoch=n, phase=1, loss="ce", nc1=v, nc3=v) for n, v in enumerate(values, start=1)),
        owner=owner,
    )
    whole = epochs_frame(store)
    for columns in (["run", "epoch", "nc1"], ["nc3", "phase", "nonfinite"], ["loss", "run_id"]):
        pd.testing.assert_frame_equal(epochs_frame(store, columns=columns), whole[columns])


def test_reading_takes_a_statement_for_each_500_runs_and_no_more(store, counted):
    runs = [ImportedRun(config={"seed": n}, epochs=(EpochRecord(epoch=1),), source="x") for n in range(600)]
    ids = [run.id for run in import_runs(store, runs).runs]
    with counted(store) as statements:
        epochs_frame(store, ids)
    assert len(statements) == 4  # two for the epochs, two for the names
    with counted(store) as statements:
        epochs_frame(store)
    assert len(statements) == 2


@pytest.fixture
def counted():
    """Count the statements that are sent to the database."""

    @contextmanager
    def count(store):
        seen = []

        def remember(connection, cursor, statement, parameters, context, executemany):
            if statement.startswith("SELECT"):
                seen.append(statement)

        event.listen(store.engine, "before_cursor_execute", remember)
        yield seen
        event.remove(store.engine, "before_cursor_execute", remember)

    return count
