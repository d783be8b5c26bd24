"""Where the store is when nobody says."""

import os

DEFAULT_STORE = "ncdiag.db"


def default_location() -> str:
    """Give the store of a command or a script that names none: $NCDIAG_STORE, else `ncdiag.db` here."""
    return os.environ.get("NCDIAG_STORE") or DEFAULT_STORE
