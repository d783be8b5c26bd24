import os
import sqlite3
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from ncdiag.errors import SpecError, StoreError, UnavailableError
from ncdiag.store.engine import open_store
from ncdiag.store.handle import make_store
from ncdiag.store.runs import add_run, list_runs


def test_a_store_is_made_by_writing(url, make_spec):
    with open_store(url, write=True) as store:
        assert store.notes == ()
        add_run(store, make_spec())
    with open_store(url) as store:
        assert [run.name for run in list_runs(store)] == ["run-1"]


@pytest.mark.parametrize("write", [False, True])
def test_a_missing_store_is_not_made_by_reading(url, write):
    message = r"no store at .*\n.*ncdiag train.*ncdiag sweep.*--store PATH"
    with pytest.raises(StoreError, match=message) as caught, open_store(url, write=write, create=False):
        pass
    assert caught.value.exit_code == 3
    assert not Path(url).exists()


def test_an_empty_file_is_a_new_store_only_for_writing(url):
    Path(url).touch()
    with pytest.raises(StoreError, match="is empty: no run was ever stored"), open_store(url):
        pass
    assert Path(url).stat().st_size == 0
    with open_store(url, write=True) as store:
        assert list_runs(store) == []


def test_every_form_of_the_location_is_one_store(folder, url, make_spec, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    with open_store(url, write=True) as store:
        add_run(store, make_spec())
    (folder / "link.db").symlink_to(url)
    locations = ["ncdiag.db", "~/ncdiag.db", "link.db", "sqlite:///ncdiag.db", f"sqlite+pysqlite:///{url}"]
    for location in locations:
        with open_store(location) as store:
            assert len(list_runs(store)) == 1
            assert store.path == Path(url)
            assert store.run_folder(7) == folder / "ncdiag.db.runs" / "7"


@pytest.mark.parametrize("name", ["a b.db", "a?mode=memory", "a#b", "a%20b", "é😀.db", "'; DROP"])
def test_a_path_may_hold_any_character(folder, make_spec, name):
    with open_store(str(folder / name), write=True) as store:
        add_run(store, make_spec())
    with open_store(str(folder / name)) as store:
        assert len(list_runs(store)) == 1
    assert sorted(path.name for path in folder.iterdir()) == [name]


@pytest.mark.parametrize("location", ["", "sqlite://", ":memory:", "sqlite:///:memory:", "file:a.db?mode=memory"])
@pytest.mark.parametrize("write", [False, True])
def test_a_store_in_memory_is_refused(location, write):
    with pytest.raises(SpecError, match="a store is a file"), open_store(location, write=write):
        pass


def test_a_folder_and_a_place_without_a_folder_are_named(folder):
    with pytest.raises(StoreError, match="is a folder; expected a file"), open_store(str(folder), write=True):
        pass
    with pytest.raises(StoreError, match="does not exist"), open_store(str(folder / "a" / "b.db"), write=True):
        pass
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("write", [False, True])
def test_a_pipe_is_refused_rather_than_waited_for(folder, write):
    os.mkfifo(folder / "pipe")
    with pytest.raises(StoreError, match="is a pipe or a device"), open_store(str(folder / "pipe"), write=write):
        pass


@pytest.mark.parametrize("write", [False, True])
def test_what_is_no_database_is_left_alone(url, write):
    noise = os.urandom(8192)
    Path(url).write_bytes(noise)
    with pytest.raises(StoreError, match=r"is not an ncdiag store.*\nChoose another"), open_store(url, write=write):
        pass
    assert Path(url).read_bytes() == noise


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("table", ["trials", "alembic_version"])
def test_the_database_of_another_program_is_left_alone(url, table, write):
    connection = sqlite3.connect(url)
    connection.execute("CREATE TABLE other (id)")
    connection.execute(f"CREATE TABLE {table} (version_num)")
    connection.execute(f"INSERT INTO {table} VALUES ('0001')")
    connection.commit()
    connection.close()
    before = Path(url).read_bytes()
    with pytest.raises(StoreError, match="is a database of another program"), open_store(url, write=write):
        pass
    assert Path(url).read_bytes() == before


def test_a_store_that_is_deleted_does_not_come_back_empty(store, url, make_spec):
    Path(url).unlink()
    with pytest.raises(StoreError, match="cannot be opened"):
        add_run(store, make_spec())
    assert not Path(url).exists()


def test_connections_keep_what_is_committed(store):
    expected = {"journal_mode": "delete", "synchronous": 2, "foreign_keys": 1}
    for transaction in (store.read, store.write):
        with transaction() as connection:
            assert {name: connection.scalar(text(f"PRAGMA {name}")) for name in expected} == expected


def test_reading_cannot_write(url, store, make_spec):
    with open_store(url) as reader, pytest.raises(StoreError, match="is read-only here"):
        add_run(reader, make_spec())


def test_a_read_sees_one_moment(url, store, make_spec):
    with open_store(url) as reader, reader.read() as connection:
        before = connection.execute(text("SELECT count(*) FROM runs")).scalar_one()
        waiting = threading.Thread(target=add_run, args=(store, make_spec()))
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()  # its commit waits for this reader to leave
        assert connection.execute(text("SELECT count(*) FROM runs")).scalar_one() == before
    waiting.join()
    assert len(list_runs(store)) == before + 1


def test_passwords_are_never_shown(store):
    assert "secret" not in repr(replace(store, url="postgresql://me:secret@host/db"))
    with pytest.raises(SpecError) as other:
        make_store("mysql://me:secret1@host/db?password=secret2", write=False)
    with pytest.raises(UnavailableError) as missing:
        make_store("postgresql+nosuchdriver://me:secret1@host/db?password=secret2", write=False)
    with pytest.raises(SpecError) as malformed:
        make_store("me:secret1://host:port/db", write=False)
    with pytest.raises(SpecError) as bad_port:
        make_store("postgresql://me:secret1@host:port/db", write=False)
    with pytest.raises(SpecError) as one_slash:  # which would otherwise be a path, and be printed
        make_store("postgresql:/me:secret1@host/db", write=False)
    for caught in (other, missing, malformed, bad_port, one_slash):
        assert "secret" not in str(caught.value)
    assert "postgresql+nosuchdriver://me:***@host/db" in str(missing.value)


@pytest.mark.parametrize(
    "url", ["http://host/runs.db", "s3://bucket/runs.db", "file:///tmp/runs.db", "mysql://host/db"]
)
def test_a_url_of_something_else_is_no_store(url):
    with pytest.raises(SpecError, match=r"cannot be a store: .* SQLite and PostgreSQL only"):
        make_store(url, write=True)


def test_both_names_of_postgresql_are_known():
    pytest.importorskip("psycopg")
    labels = [make_store(f"{name}://me@host/db", write=False).label for name in ("postgres", "postgresql")]
    assert labels == ["postgresql+psycopg://me@host/db"] * 2


def test_a_reader_tidies_up_after_a_killed_writer(store, url, make_spec, kill_a_writer):
    add_run(store, make_spec())
    kill_a_writer(url)
    with open_store(url) as reader:
        assert [run.name for run in list_runs(reader)] == ["run-1"]


UNPRIVILEGED = """
import os, sys
from ncdiag.errors import StoreError
from ncdiag.store.engine import open_store
from ncdiag.store.frames import epochs_frame, runs_frame
from ncdiag.store.runs import add_run, list_runs, rename_run
url = sys.argv[1]
if os.getuid() == 0:
    os.setgid(65534); os.setuid(65534)
with open_store(url) as store:
    assert len(list_runs(store)) == len(runs_frame(store)) == 1 and epochs_frame(store).empty
try:
    with open_store(url, write=True) as store:
        rename_run(store, "run-1", "new")
except StoreError as error:
    print(error)
"""


def test_a_read_only_place_can_be_read(make_spec, start_python):
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # pytest's own folders are closed to other users
        folder = Path(name)
        url = str(folder / "ncdiag.db")
        with open_store(url, write=True) as store:
            add_run(store, make_spec())
        folder.chmod(0o555)
        said, problem = start_python(UNPRIVILEGED, url).communicate()
        folder.chmod(0o755)
    assert said.startswith(f"the store {url} is read-only here"), problem


def test_runs_of_two_databases_have_folders_of_their_own(folder, monkeypatch):
    pytest.importorskip("psycopg", reason="needs psycopg, the driver of PostgreSQL")
    monkeypatch.chdir(folder)
    places = [make_store(f"postgresql://me@host/{name}", write=True).run_folder(7) for name in ("a", "b", "..%2Fc")]
    assert places[:2] == [folder / "a.runs" / "7", folder / "b.runs" / "7"]
    assert places[2].parent.parent == folder  # in a name that depends on how SQLAlchemy reads the URL
    monkeypatch.chdir("/")
    store = make_store("postgresql://me@host/a", write=True)
    monkeypatch.chdir(folder)
    assert store.run_folder(7) == Path("/a.runs/7")


@pytest.mark.parametrize(("mask", "mode"), [(0o002, 0o664), (0o022, 0o644), (0o077, 0o600)])
def test_a_new_store_is_for_those_whom_the_umask_lets(folder, mask, mode):
    before = os.umask(mask)
    try:
        with open_store(str(folder / "new.db"), write=True):
            pass
    finally:
        os.umask(before)
    assert (folder / "new.db").stat().st_mode & 0o777 == mode
