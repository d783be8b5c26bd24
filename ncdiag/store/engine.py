"""Opening a store, at the one schema that this version of ncdiag understands."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from ncdiag.errors import StoreError
from ncdiag.store import migrate, schema
from ncdiag.store.faults import MissingStoreError
from ncdiag.store.handle import Store, make_file, make_store
from ncdiag.store.mounts import find_network_type


@contextmanager
def open_store(url: str, *, write: bool = False, create: bool = True) -> Iterator[Store]:
    """Open the store at a path or an SQLAlchemy URL; with `write`, make it or bring it up to date first.

    A store that is only read is never created or changed: a missing, older or newer one raises `StoreError`. What
    opening for writing has changed in a store that was there is told in `Store.notes`; without `create` it has to be
    there.
    """
    store = make_store(url, write=write)
    try:
        _check_place(store, create=write and create)
        with store.read() as connection:
            revision = migrate.find_revision(connection, store.label)
        if revision != schema.REVISION:
            if not write:
                raise migrate.stale_error(store, revision)
            store = replace(store, notes=migrate.upgrade(store) + _cautions(store, new=revision is None))
        yield store
    finally:
        store.engine.dispose()


def _cautions(store: Store, *, new: bool) -> tuple[str, ...]:
    kind = find_network_type(store.path) if new and store.path else None
    if kind is None:
        return ()
    return (
        f"the store {store.label} is on a network file system ({kind}), whose locks may fail. Use it from one machine "
        "at a time, or give a PostgreSQL server with --store postgresql+psycopg://user@host/name",
    )


def _check_place(store: Store, *, create: bool) -> None:
    path = store.path
    if path is None:
        return
    if path.exists():  # asked first: another process may make the file at this moment
        if path.is_file():
            return
        # To open a pipe would wait for ever.
        kind = "a folder" if path.is_dir() else "a pipe or a device"
        raise StoreError(f"the store {store.label} is {kind}; expected a file. Give one with --store PATH")
    if not create:
        raise MissingStoreError(
            f"no store at {store.label}.\n"
            "`ncdiag train` and `ncdiag sweep` make one; an existing one elsewhere is given with --store PATH"
        )
    _check_folder(store)
    make_file(store)


def check_room(url: str) -> None:
    """Raise `StoreError` if a store cannot be made at a path because its folder is missing; makes nothing."""
    store = make_store(url, write=True)
    _check_folder(store)
    store.engine.dispose()


def _check_folder(store: Store) -> None:
    if store.path is not None and not store.path.parent.is_dir():
        raise StoreError(
            f"the store {store.label} cannot be made: the folder {store.path.parent} does not exist.\n"
            "Make the folder first, or choose another store with --store PATH"
        )
