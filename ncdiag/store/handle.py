"""A store that was found: where it is, and connections to it whose transactions do what they should.

With SQLite every write begins with BEGIN IMMEDIATE. Under the usual deferred BEGIN two processes that read and then
write deadlock, and one of them fails at once whatever the timeout; taking the write lock first makes them queue.
The rollback journal (SQLite's default) and synchronous = FULL keep what was committed through a crash, and keep a
store readable on read-only media. There is no pool: a connection costs a fraction of a millisecond, and none is ever
shared between threads or inherited by a forked process.
"""

import os.path
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from ncdiag.domain.words import as_unicode
from ncdiag.errors import SpecError, StoreError, UnavailableError
from ncdiag.store.faults import decoded, translated
from ncdiag.store.shielding import shielded
from ncdiag.store.waiting import patiently

BUSY_SECONDS = 0.5  # SQLite waits deaf to signals; `ncdiag.store.waiting` does the rest
# Of a URL, whatever follows: with one slash too few it is no path, and may hold a password that must not be repeated.
_SCHEME = re.compile(r"(postgres|postgresql|sqlite)(\+\w+)?:")


@dataclass(frozen=True, kw_only=True)
class Store:
    """A store that is open. `label` names it without its password; `notes` say what opening it has changed.

    `url` is what `open_store` was given, so that another process can open the same store; it may hold a password,
    so print `label` instead. `path` is the file of an SQLite store, absolute and without symbolic links, else None.
    `folder` holds those of the runs. Both stay what they are when a script changes the current directory.
    """

    url: str = field(repr=False)
    label: str
    path: Path | None
    folder: Path
    engine: Engine = field(repr=False)
    notes: tuple[str, ...] = ()

    @cached_property
    def _writing(self) -> Engine:
        return self.engine.execution_options(ncdiag_write=True)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection that sees one moment of the store throughout.

        Fetch every row before leaving, and leave soon: a reader that lingers keeps writers waiting.
        """
        with shielded(), translated(self.label), decoded(self.label), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a connection that is the only writer; its work is committed at the end, or undone by an exception."""
        with shielded(), translated(self.label), self._writing.begin() as connection:
            yield connection

    def run_folder(self, run_id: int) -> Path:
        """Give the folder of a run's lock and checkpoints, which may not exist yet: `<store>.runs/<id>`.

        That of a store on a server is in the directory where it was opened, and called after the database.
        """
        return self.folder / str(run_id)


def make_store(url: str, *, write: bool) -> Store:
    """Give the handle of the store at a path or SQLAlchemy URL, without touching the file or the server.

    Raises `SpecError` for text that is no URL, or that of another database, and `UnavailableError` when the driver of
    the database is not installed.
    """
    if "://" not in url and not _SCHEME.match(url):
        return _sqlite_store(url, url, write=write)
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # ValueError for a port that is no number
        # The text is not repeated: it may hold a password.
        raise SpecError("the store is neither a path nor a URL such as postgresql://user@host/name") from None
    if parsed.get_backend_name() == "sqlite":
        return _sqlite_store(url, parsed.database or "", write=write)
    return _server_store(url, parsed)


def _sqlite_store(url: str, place: str, *, write: bool) -> Store:
    if place in ("", ":memory:") or place.startswith("file:"):
        raise SpecError(f"a store is a file that outlives the command, such as ncdiag.db; {url!r} is none")
    path = Path(os.path.realpath(os.path.expanduser(place)))  # Path.resolve raises where links lead in a circle
    # mode=rw and ro never create a file: a store that is deleted under a run must not come back empty.
    label = as_unicode(place)  # a name that is not UTF-8 is opened as it is, and spelt out where it is printed
    engine = _sqlite_engine(path, "rw" if write else "ro", label)
    return Store(url=url, label=label, path=path, folder=_folder(path), engine=engine)


def _folder(place: Path) -> Path:
    if not place.name:
        raise StoreError(f"the store {place} is a folder; expected the path of a file")
    return place.with_name(f"{place.name}.runs")


def _sqlite_engine(path: Path, mode: str, label: str) -> Engine:
    """Make an engine that waits for a lock wherever SQLite may need one: at both ends of a transaction."""

    def connect() -> sqlite3.Connection:
        return patiently(label, lambda: connect_sqlite(path, mode))

    engine = create_engine("sqlite+pysqlite://", creator=connect, poolclass=NullPool)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        begin_sqlite(_driver(connection), label, write=connection.get_execution_options().get("ncdiag_write", False))

    @event.listens_for(engine, "commit")
    def commit(connection: Connection) -> None:  # who reads at this moment is waited for; SQLAlchemy's own does nothing
        patiently(label, lambda: _driver(connection).execute("COMMIT"))

    return engine


def _driver(connection: Connection) -> sqlite3.Connection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


def begin_sqlite(connection: sqlite3.Connection, label: str, *, write: bool) -> None:
    """Begin a transaction that has its lock, and so sees one moment of the store throughout."""
    if write:
        patiently(label, lambda: connection.execute("BEGIN IMMEDIATE"))
        return
    connection.execute("BEGIN")
    patiently(label, lambda: _touch(connection))


def _server_store(url: str, parsed: URL) -> Store:
    # SQLAlchemy before 2.1 asks for another driver, and no version knows postgres://, as many services write it.
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    # The query part goes too, since some drivers take the password there.
    label = parsed.set(query={}).render_as_string(hide_password=True)
    if parsed.get_backend_name() != "postgresql":
        raise SpecError(
            f"{label} cannot be a store: ncdiag keeps runs in SQLite and PostgreSQL only.\n"
            "Give the path of a file, such as ncdiag.db, or a URL such as postgresql://user@host/name"
        )
    try:
        engine = create_engine(parsed, poolclass=NullPool)
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise UnavailableError(
            f"the store {label} needs a database driver that is not installed ({error}).\n"
            "Install one into this environment: pip install 'psycopg[binary]'"
        ) from None
    folder = _folder(Path(quote(parsed.database or "ncdiag", safe="")).absolute())
    return Store(url=url, label=label, path=None, folder=folder, engine=engine)


def make_file(store: Store) -> None:
    """Make an empty SQLite file where there is none, for the migrations to fill."""
    if store.path is not None and not store.path.exists():
        path = store.path
        with suppress(OSError):  # SQLite says why; by itself it would not let the group write, whatever the umask
            path.touch()
        patiently(store.label, lambda: connect_sqlite(path, "rwc").close())


def connect_sqlite(path: Path, mode: str) -> sqlite3.Connection:
    """Open an SQLite file with SQLite's `mode` (ro, rw, rwc), in autocommit, and with the pragmas of every store."""
    connection = sqlite3.connect(f"{path.as_uri()}?mode={mode}", uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        _touch(connection)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
    except sqlite3.OperationalError as error:
        connection.close()
        if error.sqlite_errorcode != sqlite3.SQLITE_READONLY_ROLLBACK:
            raise
        # A writer was killed in mid-commit and left its journal. Rolling it back takes a connection that may write.
        _roll_back(path)
        return connect_sqlite(path, mode)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _touch(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA schema_version").fetchall()  # reads the file, and so meets whatever is wrong with it


def _roll_back(path: Path) -> None:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS)) as connection:
        _touch(connection)
