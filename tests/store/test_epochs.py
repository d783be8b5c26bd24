import dataclasses
import itertools
import math
import sqlite3
import struct

import pytest
from recorded import append

from ncdiag.domain.records import METRICS, EpochRecord, InterventionRecord, RunStatus
from ncdiag.store.epochs import discard_epochs, list_epochs
from ncdiag.store.faults import TakenOverError
from ncdiag.store.interventions import list_interventions
from ncdiag.store.leases import hold_lease
from ncdiag.store.recorder import Recorder, store_together
from ncdiag.store.runs import add_run, claim_run, finish_run, get_run, remove_runs


def bits(value):
    return None if value is None else struct.pack("d", value)


def test_a_record_comes_back_as_it_was(store, running, owner, record):
    whole, empty = record(1, lr=0.1, nc1=5e-324, weight_norm=1.7976931348623157e308), EpochRecord(epoch=2)
    append(store, running, whole, owner=owner)
    append(store, running, empty, owner=owner)

    assert list_epochs(store, running.id) == [whole, empty]


def test_no_number_is_mangled(store, running, owner):
    fields = ["train_loss", "lr", *METRICS]
    values = [math.nan, math.inf, -math.inf, None, 0.0]
    given = [EpochRecord(epoch=1 + n, **{f: v}) for n, (f, v) in enumerate(itertools.product(fields, values))]

    append(store, running, *(record for record in given), owner=owner)

    for before, after in zip(given, list_epochs(store, running.id), strict=True):
        for name, value in dataclasses.asdict(before).items():
            assert bits(getattr(after, name)) == bits(value), before


def test_sqlite_readers_tell_missing_from_nan_and_infinite(store, url, running, owner):
    append(store, running, EpochRecord(epoch=1, nc1=math.inf, nc4=math.nan, nc3=0.5), owner=owner)
    connection = sqlite3.connect(url)
    row = connection.execute("SELECT nc1, nc4, nc3, cdnv, nonfinite FROM epochs").fetchone()
    connection.close()
    assert row == (None, None, 0.5, None, '{"nc1":"inf","nc4":"nan"}')


def test_the_run_counts_its_epochs_and_seconds(store, running, owner, record):
    for epoch, seconds in [(1, 0.25), (3, 0.5), (5, None), (7, math.inf)]:
        append(store, running, record(epoch, seconds=seconds), owner=owner)
    run = get_run(store, running.name)
    assert (run.epochs_done, run.seconds) == (7, 0.75)


def test_an_epoch_that_was_missing_takes_none_of_the_later_ones_away(store, running, owner, record):
    append(store, running, *(record(epoch) for epoch in (1, 4, 2)), owner=owner)  # a gap that a repair has left
    assert get_run(store, running.name).epochs_done == 4


def test_a_replayed_epoch_changes_nothing(store, running, owner, record):
    append(store, running, *(record(epoch) for epoch in (1, 2)), owner=owner)
    before = get_run(store, running.name)

    append(store, running, record(2, nc1=99.0, seconds=7.0), owner=owner)
    append(store, running, record(1), owner=owner)

    assert list_epochs(store, running.id) == [record(1), record(2)]
    assert get_run(store, running.name) == before


def test_a_process_that_lost_its_run_stores_nothing(store, running, owner, record):
    append(store, running, record(1), owner=owner)
    finish_run(store, running.id, owner=owner, status=RunStatus.INTERRUPTED)
    assert claim_run(store, running.id, owner="heir", device="cpu", environment={})

    with pytest.raises(TakenOverError, match="no longer trained by this process") as caught:
        append(store, running, record(2), owner=owner)
    with pytest.raises(TakenOverError):
        append(store, running, InterventionRecord(epoch=1, alpha=0.5, compensate_head=False), owner=owner)

    assert caught.value.exit_code == 3
    assert list_epochs(store, running.id) == [record(1)]
    assert list_interventions(store, running.id) == []
    append(store, running, record(2), owner="heir")


def test_a_finished_or_removed_run_takes_no_more_epochs(store, running, owner, record):
    finish_run(store, running.id, owner=owner, status=RunStatus.DONE)
    with pytest.raises(TakenOverError):
        append(store, running, record(1), owner=owner)
    remove_runs(store, [running.name])
    with pytest.raises(TakenOverError):
        append(store, running, record(1), owner=owner)


def test_several_runs_are_appended_together_or_not_at_all(store, make_spec, running, owner, record):
    other, _ = add_run(store, make_spec(seed=1))
    records = [(Recorder(store, run, owner=owner, tell=print), record(1)) for run in (running, other)]
    with pytest.raises(TakenOverError):
        store_together(records)
    assert list_epochs(store, running.id) == []

    with hold_lease(store, other.id, owner):
        claim_run(store, other.id, owner=owner, device="cpu", environment={})
        store_together(records)
    assert list_epochs(store, running.id) == list_epochs(store, other.id) == [record(1)]


def test_discarding_keeps_what_came_before(store, running, owner, record):
    append(store, running, *(record(epoch) for epoch in range(1, 6)), owner=owner)
    for epoch in (2, 3):  # after epoch 3, which stays, and before epoch 4, which is trained again
        append(store, running, InterventionRecord(epoch=epoch, alpha=0.5, compensate_head=False), owner=owner)

    with store.write() as connection:
        discard_epochs(connection, running.id, 3)

    assert list_epochs(store, running.id) == [record(1), record(2), record(3)]
    assert [done.epoch for done in list_interventions(store, running.id)] == [2]
    run = get_run(store, running.name)
    assert (run.epochs_done, run.seconds) == (3, 1.5)

    with store.write() as connection:
        discard_epochs(connection, running.id, 0)
    run = get_run(store, running.name)
    assert (run.epochs_done, run.seconds) == (0, 0.0)


def test_an_intervention_is_stored_once(store, running, owner):
    for before in (2.0, 3.0):
        rescaled = InterventionRecord(
            epoch=20, alpha=0.3, compensate_head=True, feature_norm_before=before, feature_norm_after=math.inf
        )
        append(store, running, rescaled, owner=owner)
    (stored,) = list_interventions(store, running.id)
    assert dataclasses.asdict(stored) == {
        "epoch": 20,
        "alpha": 0.3,
        "compensate_head": True,
        "feature_norm_before": 2.0,
        "feature_norm_after": math.inf,
    }


def test_an_epoch_belongs_to_a_run(store, url, running):
    connection = sqlite3.connect(url)
    connection.execute("PRAGMA foreign_keys = ON")
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        connection.execute("INSERT INTO epochs (run_id, epoch) VALUES (99, 1)")
    with pytest.raises(sqlite3.IntegrityError, match="ck_epochs_epoch"):
        connection.execute("INSERT INTO epochs (run_id, epoch) VALUES (1, -1)")
    connection.close()
