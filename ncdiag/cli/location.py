"""Which store a command uses."""

import os

import typer

DEFAULT_STORE = "ncdiag.db"


def find_location(context: typer.Context, given: str | None) -> str:
    """Give the store that was named after the command, else before it, else by NCDIAG_STORE, else ncdiag.db here."""
    above = context.parent
    while not given and above is not None:
        given, above = above.params.get("store"), above.parent
    return given or default_location()


def default_location() -> str:
    """Give the store of a command that names none."""
    return os.environ.get("NCDIAG_STORE") or DEFAULT_STORE
