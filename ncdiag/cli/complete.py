"""What the Tab key offers: names of runs from the store, and the words that an option knows.

Each Tab starts Python anew, so nothing here may load SQLAlchemy or anything else that is slow to import.
"""

from collections.abc import Callable

import typer

from ncdiag.cli.location import find_location


def complete_run(context: typer.Context, incomplete: str) -> list[str]:
    """Offer the names of the runs in the store that the line so far would use."""
    from ncdiag.store.names import complete_run_names

    return complete_run_names(find_location(context, context.params.get("store")), incomplete)


def complete_choices(*choices: str) -> Callable[[str], list[str]]:
    """Offer fixed words; after a comma, those that a comma-separated list may go on with."""

    def complete(incomplete: str) -> list[str]:
        given, comma, word = incomplete.rpartition(",")
        return [given + comma + choice for choice in choices if choice.startswith(word)]

    return complete
