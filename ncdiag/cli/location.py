"""Which store a command uses."""

import os

import typer

DEFAULT_STORE = "ncdiag.db"


def find_location(context: typer.Context, given: str | None) -> str:
    """Give the store that was named after the command, else before it, else by NCDIAG_STORE, else ncdiag.db here."""
    while not given and context.parent is not None:
        context = context.parent
        given = context.params.get("store")
    return given or os.environ.get("NCDIAG_STORE") or DEFAULT_STORE
