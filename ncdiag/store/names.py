"""Completing the names of runs while a shell waits: no SQLAlchemy, nothing but the standard library."""

import os.path
import sqlite3
from contextlib import closing
from pathlib import Path

_LIMIT = 200


def complete_run_names(store: str, prefix: str) -> list[str]:
    """Give the names of runs that begin with `prefix`, in order, at most 200; none when anything is in the way.

    `store` is a path or an SQLAlchemy URL of an SQLite file. Other stores, missing and busy ones give no names.
    """
    scheme, separator, rest = store.partition("://")
    if separator and scheme.partition("+")[0] != "sqlite":
        return []
    path = Path(os.path.expanduser(rest.partition("?")[0].removeprefix("/") if separator else store))
    # A range of names finds its place in the index, and has no characters to escape as LIKE has.
    query = "SELECT name FROM runs WHERE name >= ? AND name < ? ORDER BY name LIMIT ?"
    try:
        uri = f"{Path(os.path.realpath(path)).as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=0.2)) as connection:
            rows = connection.execute(query, (prefix, f"{prefix}\U0010ffff", _LIMIT)).fetchall()
    except (sqlite3.Error, OSError, ValueError):
        return []
    return [name for (name,) in rows]
