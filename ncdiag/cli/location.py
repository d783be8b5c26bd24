"""Which store a command uses."""

import typer

from ncdiag.store.location import default_location


def find_location(context: typer.Context, given: str | None) -> str:
    """Give the store that was named after the command, else before it, else by NCDIAG_STORE, else ncdiag.db here."""
    above = context.parent
    while not given and above is not None:
        given, above = above.params.get("store"), above.parent
    return given or default_location()
