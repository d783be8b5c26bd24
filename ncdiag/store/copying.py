"""A consistent copy of an SQLite store, also while it is being written, and how a new file is made by one process."""

import os.path
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ncdiag.errors import StoreError
from ncdiag.store.handle import begin_sqlite, connect_sqlite
from ncdiag.store.waiting import patiently

_PAGES = 4096  # copied before a signal is heard: usually 16 MB


def copy_sqlite(source: Path, target: Path) -> None:
    """Copy an SQLite file as it is at one moment; `target` appears complete or not at all.

    Writers wait while it runs. Copying the file by other means would not do: one may catch a commit half-way, and
    closing any other handle on the file would drop this process's SQLite locks.
    """
    with unfinished(target) as partial:
        opened = patiently(str(source), lambda: connect_sqlite(source, "ro"))
        with closing(opened) as reader, closing(sqlite3.connect(partial)) as writer:
            writer.execute("PRAGMA journal_mode = OFF")  # a copy that fails is removed, and its journal would stay
            begin_sqlite(reader, str(source), write=False)
            # Python hears signals between its own instructions only, and a copy in one go would be deaf to them.
            reader.backup(writer, pages=_PAGES, progress=lambda status, remaining, total: None)
        partial.rename(target)


@contextmanager
def unfinished(target: Path) -> Iterator[Path]:
    """Give an empty file beside the target that is this process's alone until the block ends; then it is removed.

    Raises `StoreError` where the target is there, or another process makes it.
    """
    import fcntl  # which Windows lacks, where whoever opens a store is told so

    if not target.name:
        raise StoreError(f"{target} is a folder; expected the path of a file")
    partial = target.with_name(f"{target.name}.partial")
    with partial.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(f"{target} is being made by another process. Wait for it, or give another name") from None
        except OSError:
            pass  # a file system without locks
        try:
            if os.path.lexists(target):  # a link that leads nowhere, too
                raise StoreError(f"{target} exists already and is not overwritten. Give another name for the copy")
            file.truncate(0)  # what a killed process left
            yield partial
        finally:
            partial.unlink(missing_ok=True)
