"""The runs that a command is about: the option that names them, and what is said of those that are left out."""

from typing import Annotated

import typer

from ncdiag.cli.complete import complete_run
from ncdiag.cli.output import note

RunOption = Annotated[
    list[str] | None,
    typer.Option("--run", metavar="NAME", autocompletion=complete_run, help="Only this run; may be repeated."),
]


def note_rescaled(count: int) -> None:
    """Say how many runs are left out because their features were rescaled."""
    from ncdiag.analysis.branches import say_left_out

    if count:
        note(f"{say_left_out(count, '`attractor`')}.")


def note_repeats(count: int) -> None:
    """Say how many runs are not counted because they repeat the trajectory of another."""
    from ncdiag.analysis.repeats import say_repeats

    if count:
        note(f"{say_repeats(count)}: not counted.")
