"""Which store a command uses."""

import typer

from ncdiag.errors import SpecError
from ncdiag.store.location import default_location


def read_location(context: typer.Context, given: str | None) -> str:
    """Give the store that a command uses. Raises `SpecError` for a `--store` that is empty, as of an unset variable."""
    source = context.get_parameter_source("store")
    if given == "" and source is not None and source.name == "COMMANDLINE":
        raise SpecError("--store is empty; expected the path of a store or a URL. Without --store it is ncdiag.db here")
    return find_location(context, given)


def find_location(context: typer.Context, given: str | None) -> str:
    """Give the store that was named after the command, else before it, else by NCDIAG_STORE, else ncdiag.db here."""
    above = context.parent
    while not given and above is not None:
        given, above = above.params.get("store"), above.parent
    return given or default_location()
