"""Where the store is when nobody says."""

import os
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ncdiag.store.handle import Store

DEFAULT_STORE = "ncdiag.db"


def default_location() -> str:
    """Give the store of a command or a script that names none: $NCDIAG_STORE, else `ncdiag.db` here."""
    return os.environ.get("NCDIAG_STORE") or DEFAULT_STORE


def store_option(store: "Store") -> str:
    """Give what goes behind a command that is suggested, so that it is about the same store, never with a password.

    Nothing for the default store.
    """
    return "" if store.url == default_location() else f" --store {shlex.quote(store.label)}"
