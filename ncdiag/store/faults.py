"""What can go wrong between a store and its disk, said so that a user can act on it.

This is the only place that knows the errors of SQLAlchemy and of sqlite3.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, SQLAlchemyError

from ncdiag.errors import StoreError


class MissingStoreError(StoreError):
    """There is no store at the place that was named."""


class StoreBusyError(StoreError):
    """The store could not be had: another process held it, or its server was away. The same call may succeed later."""


class TakenOverError(StoreError):
    """The run belongs to another process now, or was removed: this one must write no more of it."""


@contextmanager
def translated(label: str) -> Iterator[None]:
    """Turn the errors of SQLAlchemy and sqlite3 into a `StoreError` that names the store by its `label`."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise explain(label, error) from error


@contextmanager
def decoded(label: str) -> Iterator[None]:
    """Turn what reading a stored value raises into a `StoreError`: ncdiag has not written it as it is."""
    try:
        yield
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise StoreError(
            f"the store {label} holds a value that ncdiag does not write ({_first_line(error)[:80]!r}).\n"
            "`ncdiag store check` names the runs; restore a backup, or save the rest with\n"
            "`ncdiag store repair FILE -o NEW.db`"
        ) from error


def explain(label: str, error: Exception) -> StoreError:
    """Say what happened, without the statement and its values: a URL or a value may be a secret."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        return _explain_sqlite(label, cause)
    if isinstance(error, IntegrityError):
        # Outside SQLite two writers can pass the same check together; the second try then sees what the first wrote.
        return StoreBusyError(f"the store {label} refused a row that another process has just written; try again")
    if isinstance(error, DBAPIError) and _server_is_away(error):
        return StoreBusyError(
            f"the server of the store {label} is away: {_first_line(cause)}.\n"
            "Check that it runs and can be reached, then repeat the command"
        )
    return StoreError(f"the store {label} cannot be used: {_first_line(cause)}")


def _server_is_away(error: DBAPIError) -> bool:
    """Tell whether a connection broke or was refused, as when a server restarts; not that a statement failed."""
    state = getattr(error.orig, "sqlstate", None)
    if state is None:  # no answer came
        return error.connection_invalidated or isinstance(error, OperationalError)
    return str(state).startswith(("08", "57P0"))  # connection exceptions; shutting down, crashed, starting up


def _explain_sqlite(label: str, error: sqlite3.Error) -> StoreError:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    match code & 0xFF:  # the upper bits say where it happened
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreBusyError(
                f"the store {label} is locked by another process.\n"
                "Close the program that holds it open (a database browser, say), then repeat the command"
            )
        case sqlite3.SQLITE_FULL:
            return StoreError(
                f"disk full while writing to the store {label}; what it held before is intact.\n"
                "Free some space, then repeat the command"
            )
        case sqlite3.SQLITE_IOERR:
            return StoreError(
                f"the disk failed under the store {label} ({error}); what it held before should be intact.\n"
                "Check free space, quota and the disk, then run `ncdiag store check`"
            )
        case sqlite3.SQLITE_READONLY if code == sqlite3.SQLITE_READONLY_ROLLBACK:
            return StoreError(
                f"the store {label} was left in the middle of a write, and cannot be tidied up in a read-only place.\n"
                "Copy it together with its -journal file to a place that can be written, and read it there"
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return StoreError(
                f"the store {label} is read-only here; this command needs to write to it.\n"
                "Allow writing to the file and its folder, or choose another store with --store PATH"
            )
        case sqlite3.SQLITE_CANTOPEN:
            return StoreError(
                f"the store {label} cannot be opened; expected a file that this user may read and write.\n"
                "Check the path and the permissions of file and folder, or choose another store with --store PATH"
            )
        case sqlite3.SQLITE_NOTADB:
            return StoreError(
                f"{label} is not an ncdiag store: its header is not that of a database. Nothing was changed.\n"
                "Choose another --store PATH. If this was a store, restore a backup, or save what is left with\n"
                "`ncdiag store repair FILE -o NEW.db`"
            )
        case sqlite3.SQLITE_CORRUPT:
            return StoreError(
                f"the store {label} is damaged ({error}).\n"
                "Keep the file. `ncdiag store check` shows the extent; restore a backup, or save what is left with\n"
                "`ncdiag store repair FILE -o NEW.db`"
            )
    return StoreError(f"the store {label} cannot be used: {_first_line(error)}")


def _first_line(error: object) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
