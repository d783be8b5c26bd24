"""The schema of a store: which revision it has, and bringing it up to the newest.

There is one way to make a schema, which is to run the migrations, for a new store too. All of them run in one
transaction that begins by taking the write lock: of several processes that meet a new or an old store at once, one
upgrades and the others find it done; a migration that fails, or is killed, leaves the store as it was.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, func, inspect, select, text

from ncdiag.errors import StoreError
from ncdiag.store import schema
from ncdiag.store.copying import copy_sqlite
from ncdiag.store.faults import translated
from ncdiag.store.handle import Store, make_file, make_store
from ncdiag.store.location import default_location, store_option

if TYPE_CHECKING:
    from alembic.config import Config

# Any number will do, as long as no other program on the same server locks by it: "ncdiag" in ASCII.
_UPGRADE_LOCK = 0x6E6364696167


def get_migrations_folder(anchor: Path | None = None) -> Path:
    """Give the folder of the migrations: inside the package when installed, beside it in a checkout."""
    anchor = anchor or Path(str(files("ncdiag")))
    for folder in (anchor / "migrations", anchor.parent / "migrations"):
        if (folder / "env.py").is_file():
            return folder
    raise StoreError(
        f"the migrations of the store were found neither in {anchor} nor beside it.\n"
        "This installation of ncdiag is incomplete; install it again"
    )


def find_revision(connection: Connection, label: str) -> str | None:
    """Give the revision of a store's schema, or None for a database without any table.

    Raises `StoreError` for the database of another program.
    """
    tables = inspect(connection).get_table_names()
    revision: str | None = None
    if "alembic_version" in tables:
        revision = connection.scalar(text("SELECT version_num FROM alembic_version"))
    # Alembic's table is common; that of the epochs, together with it, is ours in every revision.
    if (revision is None and set(tables) - {"alembic_version"}) or (revision and "epochs" not in tables):
        raise StoreError(
            f"{label} is a database of another program (it holds {', '.join(sorted(tables)[:3])}, ...).\n"
            "Nothing was changed. Give ncdiag a place of its own with --store PATH"
        )
    return revision


def stale_error(store: Store, revision: str | None) -> StoreError:
    """Give the error for a store that has to be read, and whose `revision` is not the newest."""
    label = store.label
    if revision is None:
        return StoreError(
            f"{label} is empty: no run was ever stored in it.\n"
            "`ncdiag train` and `ncdiag sweep` fill it; another store is given with --store PATH"
        )
    if not _is_known(revision):
        return StoreError(
            f"the store {label} was made by a newer ncdiag (schema {revision}; this one knows {schema.REVISION}).\n"
            "Nothing was changed. Update ncdiag: pip install --upgrade ncdiag"
        )
    return StoreError(
        f"the store {label} has the older schema {revision}; this ncdiag reads {schema.REVISION}.\n"
        f"Run `ncdiag store upgrade{store_option(store)}`, which keeps a copy of the store as it is"
    )


def upgrade(store: Store) -> tuple[str, ...]:
    """Bring a store that is open for writing to the newest schema; give what the user should know of it.

    An SQLite store that holds data is first copied to `<file>.bak-<revision>`. Raises `StoreError` for a store made
    by a newer ncdiag.
    """
    copy: Path | None = None
    try:
        with migrating(store) as connection:
            revision = find_revision(connection, store.label)
            if revision == schema.REVISION:
                return ()  # another process was first
            if revision is not None and not _is_known(revision):
                raise stale_error(store, revision)
            if revision is not None:
                copy = _copy_aside(store, revision)
            _migrate(connection, "head")
    except BaseException:
        # Of a store that is as it was, a copy more would stay behind each time that this is tried.
        if copy is not None and _has_revision(store, revision):
            copy.unlink(missing_ok=True)
        raise
    if revision is None:
        return ()
    note = f"the store {store.label} was upgraded from schema {revision} to {schema.REVISION}"
    return (note if copy is None else f"{note}; {copy} is a copy of it as it was",)


def run_migrations(store: Store, revision: str) -> None:
    """Bring a store, which may be empty, up to a revision, without a copy. Raises `StoreError` for an unknown one."""
    if not _is_known(revision):
        raise stale_error(store, revision)
    with migrating(store) as connection:
        _migrate(connection, revision)


def _migrate(connection: Connection, revision: str) -> None:
    from alembic import command

    config = _alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


@contextmanager
def migrating(store: Store) -> Iterator[Connection]:
    """Give a connection on which the schema may change, alone, in one transaction.

    Foreign keys are off meanwhile: rebuilding a table would otherwise delete the rows of its children by cascade,
    unnoticed. They are all checked before the commit. The switch works only outside a transaction.
    """
    with translated(store.label), store.engine.execution_options(ncdiag_write=True).connect() as connection:
        sqlite = connection.dialect.name == "sqlite"
        if sqlite:
            cursor = connection.connection.cursor()
            cursor.execute("PRAGMA foreign_keys = OFF")
            cursor.close()
        with connection.begin():
            if connection.dialect.name == "postgresql":
                connection.execute(select(func.pg_advisory_xact_lock(_UPGRADE_LOCK)))
            given = _find_numbers_given(connection) if sqlite else {}
            yield connection
            _keep_numbers_given(connection, given)
            if sqlite and (orphans := connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()):
                raise StoreError(
                    f"the store {store.label} was not upgraded: {len(orphans)} rows, the first in {orphans[0][0]}, "
                    "would belong to nothing.\nNothing was changed; please report this"
                )


def _find_numbers_given(connection: Connection) -> dict[str, int]:
    """Give the highest id that each table has ever had, that of a removed run included."""
    if not connection.exec_driver_sql("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'").first():
        return {}
    rows = connection.exec_driver_sql("SELECT name, seq FROM sqlite_sequence")
    return {row.name: row.seq for row in rows}


def _keep_numbers_given(connection: Connection, given: dict[str, int]) -> None:
    """Put back what a table that was rebuilt has forgotten, so that no id is given again."""
    for name, number in given.items():
        connection.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), {"name": name})
        counted = text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :number)")
        connection.execute(counted, {"name": name, "number": number})


@contextmanager
def developer_connection() -> Iterator[Connection]:
    """Give the connection for the `alembic` command of a developer: the store named by NCDIAG_STORE, or ncdiag.db."""
    store = make_store(default_location(), write=True)
    make_file(store)
    with migrating(store) as connection:
        yield connection


def _alembic_config() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(get_migrations_folder()).replace("%", "%%"))
    return config


def _is_known(revision: str) -> bool:
    from alembic.script import ScriptDirectory

    return any(
        script.revision == revision for script in ScriptDirectory.from_config(_alembic_config()).walk_revisions()
    )


def _copy_aside(store: Store, revision: str) -> Path | None:
    """Copy a store that is a file to a name that is free, and give that."""
    if store.path is None:
        return None
    number = 1
    copy = store.path.with_name(f"{store.path.name}.bak-{revision}")
    while os.path.lexists(copy):  # of a store that was put back and upgraded once more
        number += 1
        copy = store.path.with_name(f"{store.path.name}.bak-{revision}.{number}")
    copy_sqlite(store.path, copy)
    return copy


def _has_revision(store: Store, revision: str | None) -> bool:
    """Tell whether a store has a revision, as far as it can be read."""
    try:
        with store.read() as connection:
            return find_revision(connection, store.label) == revision
    except StoreError:
        return False
