import math
import sqlite3
from contextlib import closing, contextmanager, nullcontext
from types import SimpleNamespace

import pytest

from ncdiag.domain.records import EpochRecord, InterventionRecord
from ncdiag.errors import StoreError
from ncdiag.store import handle, recorder, waiting
from ncdiag.store.engine import open_store
from ncdiag.store.epochs import discard_epochs, insert_epoch, list_epochs
from ncdiag.store.faults import StoreBusyError, TakenOverError
from ncdiag.store.interventions import insert_intervention, list_interventions
from ncdiag.store.recorder import Recorder, list_pending, pending_path, store_together
from ncdiag.store.runs import add_run, finish_run


@contextmanager
def locked(url):
    """Hold a store as a program does that is left open in the middle of a write."""
    with closing(sqlite3.connect(url, isolation_level=None)) as blocker:
        blocker.execute("BEGIN EXCLUSIVE")
        yield


@pytest.fixture
def said():
    return []


@pytest.fixture
def impatient(url, running, owner, said, monkeypatch):
    """The recorder of the running run, which waits for nothing and tries at every record."""
    for name in ("TURN_SECONDS", "OUTAGE_SECONDS", "HURRY_SECONDS"):
        monkeypatch.setattr(waiting, name, 0)
    monkeypatch.setattr(handle, "BUSY_SECONDS", 0)
    monkeypatch.setattr(recorder, "SECONDS_BETWEEN_TRIES", 0)
    with open_store(url, write=True) as store:
        yield Recorder(store, running, owner=owner, tell=said.append)


def test_records_wait_while_the_store_is_locked_and_are_stored_in_their_order(store, url, running, record, impatient):
    change = InterventionRecord(epoch=2, alpha=0.5, compensate_head=True, feature_norm_before=math.inf)
    impatient.add(record(1))
    with locked(url):
        impatient.add(record(2, nc1=math.nan, nc4=-math.inf))
        impatient.add(change)
        impatient.add(record(3))
        waiting = list_pending(store, running)
    assert [type(item) for item in waiting] == [EpochRecord, InterventionRecord, EpochRecord]
    assert (waiting[0].nonfinite(), waiting[1], waiting[2]) == ({"nc1": "nan", "nc4": "-inf"}, change, record(3))

    impatient.add(record(4))
    stored = list_epochs(store, running.id)
    assert [item.epoch for item in stored] == [1, 2, 3, 4]
    assert (stored[1].nonfinite(), stored[3]) == ({"nc1": "nan", "nc4": "-inf"}, record(4))
    assert list_interventions(store, running.id) == [change]
    assert not pending_path(store, running.id).exists()


def test_a_record_that_waits_is_on_the_disk_before_training_goes_on(
    store, url, running, record, impatient, monkeypatch
):
    synced: list[bytes] = []
    monkeypatch.setattr(recorder.os, "fsync", lambda _: synced.append(impatient.path.read_bytes()))
    with locked(url):
        for epoch in (1, 2):
            impatient.add(record(epoch))
            assert synced[-1] == impatient.path.read_bytes()
            assert len(list_pending(store, running)) == len(synced) == epoch


def test_it_says_once_that_records_wait_and_once_that_they_are_stored(url, record, impatient, said):
    impatient.add(record(1))
    assert said == []
    with locked(url):
        for epoch in (2, 3, 4):
            impatient.add(record(epoch))
    impatient.settle()
    assert [text.partition(":")[0] for text in said] == ["run-1", "run-1"]
    assert str(impatient.path) in said[0]
    assert said[1] == "run-1: 3 epochs stored that had been waiting"


def test_while_the_store_is_held_training_waits_for_it_every_ten_seconds_and_no_more_often(
    url, record, impatient, monkeypatch
):
    clock, tried = [0.0], []
    monkeypatch.setattr(recorder, "SECONDS_BETWEEN_TRIES", 10.0)
    monkeypatch.setattr(recorder, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(recorder, "hurry", lambda: tried.append(clock[0]) or nullcontext())
    with locked(url):
        for epoch, clock[0] in enumerate((1000.0, 1001.0, 1009.0, 1011.0, 1012.0, 1020.0, 1022.0), start=1):
            impatient.add(record(epoch))
    assert tried == [1011.0, 1022.0]


def test_at_the_end_a_lock_is_waited_for_and_then_an_error_that_names_the_file_and_what_to_do(
    url, record, impatient, monkeypatch
):
    hurries = []
    monkeypatch.setattr(recorder, "hurry", lambda: hurries.append(1) or nullcontext())
    with locked(url):
        impatient.add(record(1))
        with pytest.raises(StoreBusyError, match=r"1 epoch of run-1 not stored yet: .*pending.jsonl\n.*--resume run-1"):
            impatient.settle()
        assert not hurries
        assert not impatient.settle_in_hurry()
        assert hurries
    assert impatient.path.exists()
    assert impatient.settle_in_hurry()


def test_what_a_dead_process_left_is_stored_by_the_next(store, url, running, owner, record, impatient, said):
    with locked(url):
        for epoch in (1, 2, 3):
            impatient.add(record(epoch))
    with impatient.path.open("ab") as file:
        file.write(b'{"run": "torn')
    Recorder(store, running, owner=owner, tell=said.append).recover()
    assert [item.epoch for item in list_epochs(store, running.id)] == [1, 2, 3]
    assert "3 epochs stored that had been waiting" in said[-1]
    assert not impatient.path.exists()


def test_records_of_another_environment_are_dropped(store, url, running, owner, record, impatient, said):
    with locked(url):
        for epoch in (1, 2, 3):
            impatient.add(record(epoch))
    Recorder(store, running, owner=owner, tell=said.append).recover(until=1)
    assert [item.epoch for item in list_epochs(store, running.id)] == [1]
    assert not impatient.path.exists()


def test_storing_twice_does_no_harm(store, url, running, owner, record, impatient, said):
    """As after a kill between the commit and the removal of the file."""
    with locked(url):
        impatient.add(record(1))
    lines = impatient.path.read_bytes()
    impatient.settle()
    impatient.path.write_bytes(lines)
    Recorder(store, running, owner=owner, tell=said.append).recover()
    assert list_epochs(store, running.id) == [record(1)]


def test_lines_of_a_run_of_another_store_are_not_stored(store, url, folder, running, make_spec, record, impatient):
    with locked(url):
        impatient.add(record(1))
    with open_store(str(folder / "other.db"), write=True) as other:
        run, _ = add_run(other, make_spec())
        path = pending_path(other, run.id)
        path.parent.mkdir(parents=True)
        path.write_bytes(impatient.path.read_bytes())
        assert list_pending(other, run) == []


@pytest.mark.parametrize(("until", "epochs", "changed"), [(0, [], []), (2, [1, 2], []), (3, [1, 2, 3], [2])])
def test_what_waits_goes_where_a_run_goes_back_as_what_is_stored_does(
    store, url, running, owner, record, impatient, until, epochs, changed
):
    change = InterventionRecord(epoch=2, alpha=0.5, compensate_head=True)  # made before epoch 3, and so made again
    with locked(url):
        for measured in (record(1), record(2), change, record(3)):
            impatient.add(measured)
    Recorder(store, running, owner=owner, tell=lambda text: None).recover(until=until)

    def stored():
        changes = [change.epoch for change in list_interventions(store, running.id)]
        return [kept.epoch for kept in list_epochs(store, running.id)], changes

    assert stored() == (epochs, changed)
    with store.write() as connection:
        for missing in (record(1), record(2), record(3)):
            insert_epoch(connection, running.id, missing)
        insert_intervention(connection, running.id, change)
        discard_epochs(connection, running.id, until)
    assert stored() == (epochs, changed)


def test_a_process_that_lost_its_run_stores_nothing(store, url, running, owner, record, impatient):
    with locked(url):
        impatient.add(record(1))
    finish_run(store, running.id, owner=owner, status="interrupted")
    with pytest.raises(TakenOverError):
        impatient.settle()
    with pytest.raises(TakenOverError):
        impatient.add(record(2))
    assert list_epochs(store, running.id) == []


@pytest.mark.parametrize("line", [b"\0" * 20, b"[1]", b"{}", b'"x"', b"\xff", b"[" * 10_000])
def test_a_file_that_no_process_has_written_so_is_an_error_that_says_what_to_do(
    store, url, running, record, impatient, line
):
    with locked(url):
        impatient.add(record(1))
    with impatient.path.open("ab") as file:
        file.write(line + b"\n")
    for work in (impatient.recover, impatient.settle):
        with pytest.raises(StoreError, match=r"pending.jsonl is damaged.*\nRemove it and the checkpoints"):
            work()
    assert impatient.path.exists()


def test_where_all_runs_of_a_group_wait_there_is_nothing_to_store_together():
    store_together([])


def test_a_full_disk_is_an_error_of_the_store(url, record, impatient):
    impatient.path.mkdir()  # nobody can write to this
    with locked(url), pytest.raises(StoreError, match=r"pending.jsonl cannot be used"):
        impatient.add(record(1))
