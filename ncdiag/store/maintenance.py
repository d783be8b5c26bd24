"""What `ncdiag store` does for a store as a whole: check it, copy it, bring it up to date."""

import os
from pathlib import Path

from sqlalchemy import Connection

from ncdiag.errors import StoreError
from ncdiag.store.consistency import list_inconsistencies
from ncdiag.store.copying import copy_sqlite
from ncdiag.store.engine import open_store
from ncdiag.store.faults import translated
from ncdiag.store.handle import Store


def check_store(url: str) -> list[str]:
    """Look for damage in a store, and give a line for each place where it was found: none for a sound store.

    Reads the whole file, and changes nothing. Raises `StoreError` when it cannot be opened at all.
    """
    with open_store(url) as store, store.read() as connection:
        if store.path is None:  # its server looks after keys and pages
            return list_inconsistencies(connection)
        return _damage(store, connection) or [*_orphans(connection), *list_inconsistencies(connection)]


def _damage(store: Store, connection: Connection) -> list[str]:
    lines: list[str] = []
    try:
        with translated(store.label):
            lines.extend(map(str, connection.exec_driver_sql("PRAGMA integrity_check(20)").scalars()))
    except StoreError as error:  # some damage keeps even the check from going on
        lines.append(str(error).splitlines()[0])
    return [line for line in lines if line != "ok"]


def _orphans(connection: Connection) -> list[str]:
    rows = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
    return sorted({f"rows of {table} belong to no row of {parent}" for table, _, parent, _ in rows})


def backup_store(url: str, target: Path) -> Path:
    """Copy a store as it is at this moment, also while runs are being trained into it, and give the copy's path.

    The folders with the checkpoints of runs are not copied. Raises `StoreError` when `target` exists, and for a
    store that is not a file.
    """
    with open_store(url) as store:
        if store.path is None:
            raise StoreError(f"{store.label} is not a file; copy it with the tools of its database, such as pg_dump")
        if not target.parent.is_dir():
            raise StoreError(f"the copy {target} cannot be made: its folder does not exist. Make the folder first")
        if not os.access(target.parent, os.W_OK):
            raise StoreError(f"the copy {target} cannot be made: its folder is read-only here. Give one in another")
        with translated(str(target)):
            copy_sqlite(store.path, target)
    return target


def upgrade_store(url: str) -> tuple[str, ...]:
    """Bring an existing store to the newest schema, keeping a copy of it, and give what was done: nothing if it was.

    Raises `StoreError` when there is no store, or a newer ncdiag made it.
    """
    with open_store(url, write=True, create=False) as store:
        return store.notes
