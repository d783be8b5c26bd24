"""Opening a store for a command that changes it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ncdiag.cli.output import note

if TYPE_CHECKING:
    from ncdiag.store.handle import Store


@contextmanager
def open_to_change(url: str, *, create: bool = False) -> "Iterator[Store]":
    """Open a store for writing, which has to be there unless `create`, and say what opening it has changed."""
    from ncdiag.store.engine import open_store

    with open_store(url, write=True, create=create) as store:
        for change in store.notes:
            note(change)
        yield store
