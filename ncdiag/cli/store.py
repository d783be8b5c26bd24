"""`ncdiag store`: the file that holds the runs."""

from pathlib import Path
from typing import Annotated

import typer

from ncdiag.cli.opening import open_to_change
from ncdiag.cli.options import StoreOption, show_examples
from ncdiag.cli.output import emit_text, note, warn
from ncdiag.domain.shares import counted
from ncdiag.domain.words import first_of
from ncdiag.errors import SpecError, StoreError

HELP = "Find, check, upgrade, back up, repair and merge stores."

app = typer.Typer(no_args_is_help=True, epilog=show_examples("ncdiag store path", "ncdiag store backup copy.db"))


@app.callback(help=HELP)
def store_(store: StoreOption = "") -> None:
    """Take --store before the command as well."""


@app.command("path", epilog=show_examples("ncdiag store path", "ncdiag store path --store ~/runs.db"))
def path(store: StoreOption = "") -> None:
    """Print where the store is, or would be made. A password in a URL is not shown."""
    from ncdiag.store.handle import make_store

    found = make_store(store, write=False)
    emit_text(str(found.path or found.label))


@app.command("check", epilog=show_examples("ncdiag store check", "ncdiag store check --store ~/runs.db"))
def check(store: StoreOption = "") -> None:
    """Look for damage; the whole store is read, and nothing changed."""
    from ncdiag.store.maintenance import check_store

    problems = check_store(store)
    if problems:
        emit_text("\n".join(problems))
        raise StoreError(
            f"the store has {counted(len(problems), 'problem')}, listed above. Nothing was changed.\n"
            "Keep the file, and restore a backup; `ncdiag store repair` saves what can still be read"
        )
    note("the store is sound")


@app.command("upgrade", epilog=show_examples("ncdiag store upgrade", "ncdiag store upgrade --store ~/runs.db"))
def upgrade(store: StoreOption = "") -> None:
    """Bring the store of an older ncdiag up to date; a copy is kept."""
    from ncdiag.store.maintenance import upgrade_store

    for change in upgrade_store(store) or ("the store is up to date",):
        note(change)


@app.command("backup", epilog=show_examples("ncdiag store backup copy.db", "ncdiag store backup /mnt/backup/runs.db"))
def backup(
    target: Annotated[Path, typer.Argument(metavar="FILE", show_default=False, help="The copy; must not exist yet.")],
    store: StoreOption = "",
) -> None:
    """Copy the store, safely even while runs are trained.

    The copy shows one moment. It has all runs and epochs, but not the checkpoints.
    """
    from ncdiag.store.maintenance import backup_store

    emit_text(str(backup_store(store, target)))


@app.command(
    "merge", epilog=show_examples("ncdiag store merge slice.db", "ncdiag store merge seed-*.db --store all.db")
)
def merge(
    sources: Annotated[
        list[str], typer.Argument(metavar="OTHER...", show_default=False, help="The stores to take runs from.")
    ],
    store: StoreOption = "",
) -> None:
    """Take in the runs of other stores; these are not changed.

    The same run in both stays one run, and the one that got further is kept, so
    the same sweep can be trained in slices on several machines.
    """
    from ncdiag.store.engine import open_store

    for source in sources:  # all of them before any is taken in
        with open_store(source):
            pass
    for source in sources:
        _merge(source, store)


def _merge(source: str, store: str) -> None:
    from ncdiag.store.engine import open_store
    from ncdiag.store.merging import merge_store

    with open_store(source) as other, open_to_change(store, create=True) as opened:
        if other.path is not None and other.path == opened.path:
            raise SpecError(f"{source} is the store itself; give another one to take runs from")
        merged = merge_store(opened, other)
    for name in (*merged.new, *merged.replaced):
        emit_text(name)
    counts = f"{len(merged.new)} new, {len(merged.replaced)} replaced by one that got further, {len(merged.kept)} kept"
    note(f"{other.label}: {counts}")
    for name, got in merged.renamed.items():
        note(f"{name} is called {got} here, since another run has that name")
    for name in merged.busy:
        warn(f"{name} is being trained here and was left alone; merge again when it has ended")


@app.command(
    "repair",
    epilog=show_examples(
        "ncdiag store repair ncdiag.db -o saved.db", "ncdiag store repair /mnt/old/runs.db --output ~/runs.db"
    ),
)
def repair(
    damaged: Annotated[Path, typer.Argument(metavar="DAMAGED", show_default=False, help="The damaged file.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="NEW", show_default=False, help="The new store; must not exist yet."),
    ],
) -> None:
    """Make a new store of what a damaged one still holds.

    The damaged file is left as it is. Runs that lack epochs are said, and can be trained again.
    """
    from ncdiag.store.salvage import salvage

    saved = salvage(damaged, output)
    emit_text(str(output))
    note(f"{counted(saved.runs, 'run')} and {counted(saved.epochs, 'epoch')} saved from {damaged}, which is unchanged")
    if saved.blanked:
        values = counted(saved.blanked, "value")
        warn(f"emptied {values} of runs or sweeps where a number or a time belongs, and something else was")
    if saved.runs_lost:
        warn(f"up to {counted(saved.runs_lost, 'run')} could not be read at all")
    if saved.incomplete:
        warn(
            f"{counted(len(saved.incomplete), 'run')} lack{'s' * (len(saved.incomplete) == 1)} up to "
            f"{counted(saved.epochs_lost, 'epoch')}: {first_of(saved.incomplete)}; "
            "the command that trained them fills the gaps"
        )
