import os
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from recorded import append
from small import small_spec

from ncdiag.errors import StoreError
from ncdiag.execution.signals import stops_heard
from ncdiag.store.engine import open_store
from ncdiag.store.epochs import list_epochs
from ncdiag.store.maintenance import backup_store, check_store, upgrade_store
from ncdiag.store.runs import add_run, get_run


def test_a_sound_store_has_no_problems(store, url, running, owner, record):
    append(store, running, *(record(epoch) for epoch in range(1, 30)), owner=owner)
    before = Path(url).read_bytes()
    assert check_store(url) == []
    assert Path(url).read_bytes() == before


def change(url, *statements):
    connection = sqlite3.connect(url)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_rows_that_belong_to_nothing_are_found(store, url, running, owner, record):
    append(store, running, record(1), owner=owner)
    change(url, "DELETE FROM runs")
    assert check_store(url) == ["rows of epochs belong to no row of runs"]


def test_orphans_do_not_hide_what_else_is_wrong(store, url, running, owner, record):
    append(store, running, *(record(epoch) for epoch in (1, 2)), owner=owner)
    change(url, "INSERT INTO epochs (run_id, epoch) VALUES (99, 1)")
    change(url, "UPDATE runs SET epochs_done = 3")
    assert check_store(url) == [
        "rows of epochs belong to no row of runs",
        "run-1 says that it has 3 epochs, but its last row is epoch 2",
    ]


def test_a_run_without_its_epochs_is_found(store, url, running, owner, record):
    append(store, running, *(record(epoch) for epoch in (1, 2)), owner=owner)
    change(url, "DELETE FROM epochs WHERE epoch = 2")
    assert check_store(url) == ["run-1 says that it has 2 epochs, but its last row is epoch 1"]


def test_an_index_that_lacks_a_row_is_found(store, url, running):
    with Path(url).open("r+b") as file:
        file.seek((root_page(url, "ix_runs_status") - 1) * 4096)
        page = file.read(4096)
        assert page.count(b"running") == 1
        file.seek(-4096, 1)
        file.write(page.replace(b"running", b"pending"))
    assert "row 1 missing from index ix_runs_status" in check_store(url)


def test_damage_that_stops_the_check_is_found(store, url):
    with Path(url).open("r+b") as file:
        file.seek((root_page(url, "ix_runs_status") - 1) * 4096)
        file.write(b"\x00" * 4096)
    assert "is damaged" in check_store(url)[-1]


def root_page(url, name):
    connection = sqlite3.connect(url)
    page = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()[0]
    connection.close()
    return page


def test_there_is_nothing_to_check_upgrade_or_copy_without_a_store(folder):
    url = str(folder / "missing.db")
    for work in (check_store, upgrade_store, lambda url: backup_store(url, folder / "copy.db")):
        with pytest.raises(StoreError, match="no store at"):
            work(url)
    assert list(folder.iterdir()) == []


def test_a_backup_of_a_live_store_is_the_store(store, url, folder, running, owner, record):
    append(store, running, record(1), owner=owner)
    with store.write() as connection:
        connection.exec_driver_sql("UPDATE runs SET reason = 'not committed yet'")
        copy = backup_store(url, folder / "copy.db")
    append(store, running, record(2), owner=owner)

    with open_store(str(copy)) as other:
        assert list_epochs(other, running.id) == [record(1)]
        assert get_run(other, running.name).reason is None
    assert check_store(str(copy)) == []
    assert sorted(path.name for path in folder.iterdir()) == ["copy.db", "ncdiag.db", "ncdiag.db.runs"]


def test_a_backup_overwrites_nothing(store, url, folder):
    with pytest.raises(StoreError, match="exists already and is not overwritten"):
        backup_store(url, Path(url))
    with pytest.raises(StoreError, match="its folder does not exist"):
        backup_store(url, folder / "a" / "copy.db")


def test_a_backup_into_a_read_only_folder_says_so(store, url, folder, monkeypatch):
    monkeypatch.setattr(os, "access", lambda place, mode: Path(place) != folder or mode != os.W_OK)
    with pytest.raises(StoreError, match=r"the copy .*copy\.db cannot be made: its folder is read-only"):
        backup_store(url, folder / "copy.db")


def test_a_backup_that_fails_leaves_nothing(store, url, folder, monkeypatch):
    def full(*args):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(StoreError, match="disk is full"):
        backup_store(url, folder / "copy.db")
    assert [path.name for path in folder.iterdir()] == ["ncdiag.db"]


@pytest.mark.parametrize(("sent", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_backup_hears_a_signal_before_it_is_done_and_leaves_nothing(store, url, folder, monkeypatch, sent, raised):
    """Of a signal that comes while a part is copied, Python says nothing until it runs a line of Python again."""
    left: list[int] = []

    class Signalled(sqlite3.Connection):
        def backup(self, target, *, pages, progress):
            def part(status, remaining, total):
                left.append(remaining)
                signal.raise_signal(sent)
                progress(status, remaining, total)

            super().backup(target, pages=1, progress=part)

    def connect(path, mode):
        return sqlite3.connect(path, factory=Signalled, isolation_level=None)

    monkeypatch.setattr("ncdiag.store.copying.connect_sqlite", connect)
    with stops_heard(), pytest.raises(raised):
        backup_store(url, folder / "copy.db")
    assert len(left) == 1
    assert left[0] > 0
    assert [path.name for path in folder.iterdir()] == ["ncdiag.db"]


def during_each_page(monkeypatch, happens):
    """Let a backup copy a page at a time, and something happen after each; it is told how many remain."""

    class Watched(sqlite3.Connection):
        def backup(self, target, *, pages, progress):
            super().backup(target, pages=1, progress=lambda status, remaining, total: happens(remaining))

    def connect(path, mode):
        return sqlite3.connect(path, factory=Watched, isolation_level=None)

    monkeypatch.setattr("ncdiag.store.copying.connect_sqlite", connect)


def test_a_writer_waits_for_a_backup_that_copies_in_parts(store, url, folder, monkeypatch):
    """Otherwise every commit of another process would make the copy begin anew."""
    refused: list[str] = []

    def write(remaining):
        with closing(sqlite3.connect(url, timeout=0, isolation_level=None)) as writer:
            with pytest.raises(sqlite3.OperationalError) as error:
                writer.execute("UPDATE runs SET reason = 'late'")
            refused.append(str(error.value))

    add_run(store, small_spec())
    during_each_page(monkeypatch, write)
    copy = backup_store(url, folder / "copy.db")
    assert len(refused) > 10
    assert set(refused) == {"database is locked"}
    assert check_store(str(copy)) == []


def test_what_a_killed_backup_left_is_in_nobodys_way(store, url, folder):
    (folder / "copy.db.partial").write_bytes(b"x" * 5000)
    assert check_store(str(backup_store(url, folder / "copy.db"))) == []
    assert not (folder / "copy.db.partial").exists()


def test_of_two_backups_to_one_name_the_first_is_made(store, url, folder, monkeypatch):
    refused: list[str] = []

    def back_up_too(remaining):
        if remaining:
            with pytest.raises(StoreError) as error:
                backup_store(url, folder / "copy.db")
            refused.append(str(error.value))

    add_run(store, small_spec())
    during_each_page(monkeypatch, back_up_too)
    copy = backup_store(url, folder / "copy.db")
    assert len(refused) > 10
    assert set(refused) == {f"{copy} is being made by another process. Wait for it, or give another name"}
    assert check_store(str(copy)) == []
    assert sorted(path.name for path in folder.iterdir()) == ["copy.db", "ncdiag.db"]


def test_a_backup_can_be_put_back(store, url, folder, running, owner, record):
    append(store, running, record(1), owner=owner)
    copy = backup_store(url, folder / "copy.db")
    append(store, running, record(2), owner=owner)
    shutil.copy(copy, url)
    assert list_epochs(store, running.id) == [record(1)]
