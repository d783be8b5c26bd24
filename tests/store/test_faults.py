import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from recorded import append
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from ncdiag.errors import StoreError
from ncdiag.store import handle
from ncdiag.store.engine import open_store
from ncdiag.store.epochs import list_epochs
from ncdiag.store.faults import StoreBusyError, explain, translated
from ncdiag.store.runs import heartbeat, list_runs
from ncdiag.store.waiting import hurry


def test_a_lock_is_waited_for(url, running, owner, record):
    blocker = sqlite3.connect(url, isolation_level=None, check_same_thread=False)
    blocker.execute("BEGIN EXCLUSIVE")
    released = threading.Timer(0.5, blocker.rollback)
    released.start()
    with open_store(url, write=True) as patient:
        append(patient, running, record(1), owner=owner)
        assert list_epochs(patient, running.id) == [record(1)]
    released.join()
    blocker.close()


def test_a_lock_that_outlasts_the_patience_is_named(url, running, owner):
    with open_store(url, write=True) as other, closing(sqlite3.connect(url, isolation_level=None)) as blocker:
        blocker.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match=r"is locked by another process.*\nClose the program"), hurry():
            heartbeat(other, [running.id], owner)
        blocker.rollback()
        heartbeat(other, [running.id], owner)


def test_a_full_disk_is_named_and_loses_nothing(store, running, owner, record, monkeypatch):
    append(store, running, record(1), owner=owner)
    connect = handle.connect_sqlite

    def small(path, mode):
        connection = connect(path, mode)
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
        return connection

    with monkeypatch.context() as patch:
        patch.setattr(handle, "connect_sqlite", small)
        append(store, running, record(2), owner=owner)  # what fits on the last page
        many = [record(epoch) for epoch in range(3, 100)]
        with pytest.raises(StoreError, match=r"disk full while writing.*\nFree some space"):
            append(store, running, *many, owner=owner)
        assert list_epochs(store, running.id) == [record(1), record(2)]
    append(store, running, *many, owner=owner)
    assert len(list_epochs(store, running.id)) == 99


def test_a_damaged_page_is_named(store, url, running, owner, record):
    for epoch in range(1, 60):
        append(store, running, record(epoch), owner=owner)
    with Path(url).open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (Path(url).stat().st_size - 4096))
    message = r"is damaged .*\n.*`ncdiag store check`.*\n`ncdiag store repair"
    with pytest.raises(StoreError, match=message), open_store(url) as damaged:
        list_runs(damaged)


def test_messages_hold_no_statement_and_no_value(store):
    with pytest.raises(StoreError) as caught, store.write() as connection:
        connection.execute(text("INSERT INTO nowhere VALUES (:value)"), {"value": "secret"})
    assert str(caught.value) == f"the store {store.label} cannot be used: no such table: nowhere"


def test_a_message_of_another_driver_is_cut_to_a_line():
    with pytest.raises(StoreError) as caught, translated("here"):
        raise sqlite3.Error("first\nsecond")
    assert str(caught.value) == "the store here cannot be used: first"


@pytest.mark.parametrize(
    ("state", "is_away"),
    [("08006", True), ("57P01", True), ("57P03", True), (None, True), ("57014", False), ("42P01", False)],
)
def test_a_server_that_is_away_is_told_from_a_statement_that_failed(state, is_away):
    """By the codes of PostgreSQL: 57014 is a statement that was cancelled, and comes to the same the next time."""
    cause = Exception("as it says")
    cause.sqlstate = state
    assert isinstance(explain("the store", OperationalError("SELECT 1", {}, cause)), StoreBusyError) is is_away
