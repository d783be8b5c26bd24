"""Saving what a damaged store still holds into a new one.

Every row is asked for by its key. Where the way down to a page of the file is broken, SQLite can read neither it nor
past it, so a table is read from its first row to the damage, from its last row back to the damage, and key by key in
between. The damaged file is never opened: a copy of it is.

The table of contents begins on the first page of a file. It is the same in all stores of one schema that were made
new, except for counters, so where it cannot be read that of a new store takes its place.
"""

import os.path
import shutil
import sqlite3
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import alembic.command  # noqa: F401  # a signal that comes while it is loading would leave what is half made
from sqlalchemy import Connection, Double, Integer, delete, func, or_, select, update

from ncdiag.domain.evaluations import due_epochs
from ncdiag.domain.spec import RunSpec
from ncdiag.errors import SpecError, StoreError
from ncdiag.store import migrate, schema
from ncdiag.store.consistency import is_no_number, is_no_time
from ncdiag.store.copying import unfinished
from ncdiag.store.faults import MissingStoreError, translated
from ncdiag.store.handle import Store, make_store

_LAST_ID = "SELECT seq + 1 FROM sqlite_sequence WHERE name = '{}'"
_EPOCHS = "SELECT id, max(epochs_done, coalesce(epochs_planned, 0)) + 1 FROM runs"
_POINTS = "SELECT id, (SELECT count(*) FROM runs) FROM sweeps"
# Each table and the columns of its key; then the query for the keys that precede the last, and for what the last one
# stays below. That bounds the search where the end of a table is damaged.
_TABLES = (
    ("runs", ("id",), _LAST_ID.format("runs")),
    ("epochs", ("run_id", "epoch"), _EPOCHS),
    ("interventions", ("run_id", "epoch"), _EPOCHS),
    ("sweeps", ("id",), _LAST_ID.format("sweeps")),
    ("sweep_points", ("sweep_id", "position"), _POINTS),
)
_REASON = "saved from a damaged store"
# The file, and what SQLite keeps beside it: what a killed writer left to be put back, and, where another program has
# switched the store to a write-ahead log, what is not in the file yet.
_LOGS = ("-journal", "-wal")
_BESIDE = (*_LOGS, "-shm")


@dataclass(frozen=True, kw_only=True)
class Saved:
    """What was saved from a damaged store, and what is known to be missing.

    `incomplete` names the runs that lack epochs, `epochs_lost` says how many. `runs_lost` is the number of runs of
    which nothing could be read. Both are the most it can be: where keys cannot be read, nobody knows which were there.
    `blanked` counts the settings and times of runs that were neither a number nor a time.
    """

    runs: int
    epochs: int
    runs_lost: int
    epochs_lost: int
    incomplete: tuple[str, ...]
    blanked: int


def salvage(damaged: Path, target: Path) -> Saved:
    """Make a new store of what can still be read from a damaged one, which is left as it is, and say how much it is.

    A run that lacks epochs is `interrupted`, so that training it again fills the gaps. Raises `StoreError` when
    `target` exists, or when nothing can be read.
    """
    if not damaged.is_file():
        raise MissingStoreError(f"there is no file {damaged}. Give the damaged store, such as ncdiag.db")
    if os.path.lexists(target):  # a link that leads nowhere, too
        raise StoreError(f"{target} exists already and is not overwritten. Give another name for the new store")
    if not target.parent.is_dir():
        raise StoreError(f"the store {target} cannot be made: its folder does not exist. Make the folder first")
    with _scratch(target) as (copy, partial), translated(str(target)):
        _copy(damaged, copy)
        revision = _revision(copy)
        store = make_store(str(partial), write=True)
        migrate.run_migrations(store, revision or schema.REVISION)
        if revision is None:
            _lend_contents(copy, partial)
        runs_lost, unreadable = _copy_rows(copy, store)
        migrate.run_migrations(store, schema.REVISION)
        with store.write() as connection:
            blanked = _blank(connection)
            for run_id, count in _drop_epochs(connection).items():
                unreadable[run_id] += count
        saved = _settle(partial, runs_lost, unreadable, blanked)
        if not saved.runs:
            raise StoreError(f"no run can be read from {damaged} any more; no new store was made. Restore a backup")
        partial.rename(target)
    return saved


@contextmanager
def _scratch(target: Path) -> Iterator[tuple[Path, Path]]:
    """Give two names beside the target that are this process's alone; what is there at the end is removed."""
    copy = target.with_name(f"{target.name}.damaged-copy")
    with unfinished(target) as partial, ExitStack() as stack:
        for file in (copy, *(name.with_name(name.name + end) for name in (copy, partial) for end in _BESIDE)):
            file.unlink(missing_ok=True)  # of a repair that was killed
            stack.callback(file.unlink, missing_ok=True)
        yield copy, partial


def _copy(damaged: Path, copy: Path) -> None:
    try:
        for end in ("", *_LOGS):
            source = damaged.with_name(damaged.name + end)
            if source.exists():
                shutil.copyfile(source, copy.with_name(copy.name + end))
    except OSError as error:
        raise StoreError(f"{damaged} cannot be copied: {error}. Check the free space and the permissions") from error


def _revision(path: Path) -> str | None:
    """Give the schema of a store that may be damaged, or None when its table of contents cannot be read."""
    try:
        with closing(sqlite3.connect(path)) as connection:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error:
        return None
    return str(row[0]) if row else None


def _lend_contents(copy: Path, fresh: Path) -> None:
    """Give a copy the table of contents of a new store, with its own length and without a list of free pages."""
    content = fresh.read_bytes()
    (size,) = struct.unpack_from(">H", content, 16)
    with copy.open("r+b") as file:
        first = bytearray(content[:size])
        struct.pack_into(">III", first, 28, file.seek(0, 2) // size, 0, 0)
        file.seek(0)
        file.write(first)
        for page in _contents_pages(content):
            file.seek((page - 1) * size)
            file.write(content[(page - 1) * size : page * size])


def _contents_pages(content: bytes) -> list[int]:
    """Give the pages, counted from 1, to which the first page of a new store points (sqlite.org/fileformat2.html, 1.6).

    It is an interior page: the schema takes more than one.
    """
    (cells,) = struct.unpack_from(">H", content, 103)
    places = struct.unpack_from(f">{cells}H", content, 112)
    pages = [struct.unpack_from(">I", content, place)[0] for place in places]
    return [*pages, struct.unpack_from(">I", content, 108)[0]]


def _copy_rows(copy: Path, store: Store) -> tuple[int, dict[int, int]]:
    """Copy every row that can be read; give how many runs could not be, and by run how many epochs."""
    runs_lost, epochs_lost = 0, {}
    with closing(sqlite3.connect(copy)) as source, closing(sqlite3.connect(str(store.path))) as target:
        for table, keys, bounds in _TABLES:
            columns = [name for _, name, *_ in target.execute(f"PRAGMA table_info({table})")]
            query = f"SELECT {', '.join(columns)} FROM {table} WHERE "  # noqa: S608  # names of ours
            put = f"INSERT OR IGNORE INTO {table} VALUES ({', '.join('?' * len(columns))})"  # noqa: S608
            places: list[Any] = []
            _fetch(source if len(keys) == 1 else target, bounds, (), places)
            for *parent, bound in places or [(0,)] * (len(keys) == 1):
                rows, unreadable = _read(source, query, keys, parent, bound, columns.index(keys[-1]))
                refused = len(rows) - target.executemany(put, rows).rowcount if rows else 0
                if table == "runs":
                    runs_lost = unreadable + refused
                elif table == "epochs":
                    epochs_lost[parent[0]] = unreadable + refused
        target.execute("DELETE FROM sweep_points WHERE run_id NOT IN (SELECT id FROM runs)")
        target.commit()
    return runs_lost, epochs_lost


def _read(
    source: sqlite3.Connection, query: str, keys: Sequence[str], parent: Sequence[int], bound: int, place: int
) -> tuple[list[tuple[Any, ...]], int]:
    """Give the rows whose key begins with that of a parent, and how many keys below `bound` could not be read."""
    *above, key = keys
    query += "".join(f"{name} = ? AND " for name in above)
    rows: list[tuple[Any, ...]] = []
    if _fetch(source, f"{query} {key} >= 0 ORDER BY {key}", parent, rows):
        return rows, 0
    low = rows[-1][place] + 1 if rows else 0
    from_end: list[tuple[Any, ...]] = []
    _fetch(source, f"{query} {key} >= {low} ORDER BY {key} DESC", parent, from_end)
    high = from_end[-1][place] if from_end else bound
    unreadable = sum(not _fetch(source, f"{query} {key} = {value}", parent, rows) for value in range(low, high))
    return rows + from_end[::-1], unreadable


def _fetch(source: sqlite3.Connection, query: str, values: Sequence[int], rows: list[tuple[Any, ...]]) -> bool:
    """Add the rows of a query, and tell whether it came to its end."""
    try:
        for row in source.execute(query, values):
            rows.append(row)  # one by one: those before the damage count
    except sqlite3.Error:
        return False
    return True


def _settle(path: Path, runs_lost: int, unreadable: dict[int, int], blanked: int) -> Saved:
    """Let the runs say of themselves what is there, and give the account."""
    incomplete: dict[str, int] = {}
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT id, name, origin, status, epochs_done, config FROM runs").fetchall()
        for run_id, name, origin, status, done, config in rows:
            found = {epoch for (epoch,) in connection.execute("SELECT epoch FROM epochs WHERE run_id = ?", (run_id,))}
            due = _due(config, done) if origin == "trained" else None
            missing = unreadable[run_id] if due is None else len(due - found)
            if missing:
                incomplete[name] = missing
            if missing or status == "running":
                stays = origin == "imported" and status != "running"
                reason = _REASON + (f", without {missing} of its epochs" if missing else "")
                connection.execute(
                    "UPDATE runs SET status = ?, reason = ?, epochs_done = ?, owner = NULL, heartbeat_at = NULL"
                    " WHERE id = ?",
                    (status if stays else "interrupted", reason, max(found, default=0), run_id),
                )
        connection.commit()
        epochs = connection.execute("SELECT count(*) FROM epochs").fetchone()[0]
    return Saved(
        runs=len(rows),
        epochs=epochs,
        runs_lost=runs_lost,
        epochs_lost=sum(incomplete.values()),
        incomplete=tuple(incomplete),
        blanked=blanked,
    )


def _drop_epochs(connection: Connection) -> dict[int, int]:
    """Remove the epochs that hold something else than numbers, which nobody could read; gives how many of each run."""
    epochs = schema.epochs
    strange = or_(*(is_no_number(column) for column in epochs.c if isinstance(column.type, Double)))
    found = connection.execute(select(epochs.c.run_id, func.count()).where(strange).group_by(epochs.c.run_id))
    counts = {row[0]: row[1] for row in found}
    connection.execute(delete(epochs).where(strange))
    return counts


def _blank(connection: Connection) -> int:
    """Empty what is no number or time of a run or a sweep, and should be; what must be there becomes 0, or now."""
    count = 0
    for column in (*schema.runs.c, *schema.sweeps.c):
        least: Any
        if isinstance(column.type, (Double, Integer)):
            strange, least = is_no_number(column), 0
        elif isinstance(column.type, schema.UtcDateTime):
            strange, least = is_no_time(column), schema.UtcNow()
        else:
            continue
        value = None if column.nullable else least
        count += connection.execute(update(column.table).where(strange).values({column.name: value})).rowcount
    return count


def _due(config: str, done: int) -> set[int] | None:
    """Give the epochs of which a run of so many has rows, or None where its configuration cannot be read."""
    try:
        return set(due_epochs(RunSpec.from_json(config), done))
    except SpecError:
        return None
