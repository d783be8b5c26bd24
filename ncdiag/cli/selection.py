"""The runs that a command is about: those named with --run, and those of the store that fit --where."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ncdiag.cli.complete import complete_run
from ncdiag.cli.output import note
from ncdiag.errors import AnalysisError

if TYPE_CHECKING:
    from pandas import DataFrame

    from ncdiag.store.engine import Store

RunOption = Annotated[
    list[str] | None,
    typer.Option("--run", metavar="NAME", autocompletion=complete_run, help="Only this run; may be repeated."),
]


def selected_runs(store: "Store", names: Sequence[str] | None, where: str | None) -> "DataFrame":
    """Give the runs frame of the runs that are named, or of all, as far as they fit the filter.

    Raises `UnknownRunError` for a name without a run, `AnalysisError` when no run is left.
    """
    from ncdiag.analysis.selection import select_runs
    from ncdiag.store.frames import runs_frame
    from ncdiag.store.runs import get_run

    ids = [get_run(store, name).id for name in names] if names else None
    runs = runs_frame(store, ids)
    if runs.empty:
        raise AnalysisError(
            f"the store {store.label} holds no runs yet.\n"
            "`ncdiag sweep --preset quickstart` trains some; `ncdiag import` takes in trajectories from files"
        )
    selected = select_runs(runs, where or "").reset_index(drop=True)
    if selected.empty:
        raise AnalysisError(f"none of the {len(runs)} runs fits --where {where!r}. `ncdiag runs ls` lists them")
    return selected


def asks_for_rescaled(where: str | None) -> bool:
    """Tell whether a filter asks about the rescaling of features, so that rescaled runs are not left out."""
    from ncdiag.domain.filters import names_column

    return names_column(where or "", "intervention")


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
