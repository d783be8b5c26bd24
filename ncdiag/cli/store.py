"""`ncdiag store`: the file that holds the runs."""

from pathlib import Path
from typing import Annotated

import typer

from ncdiag.cli.options import StoreOption, show_examples
from ncdiag.cli.output import emit_text, note
from ncdiag.errors import StoreError

HELP = "Find, check, upgrade and back up the store that holds the runs."

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
            f"the store has {len(problems)} problem{'s' * (len(problems) > 1)}, listed above. Nothing was changed.\n"
            "Keep the file, and restore a backup; `ncdiag export` saves what can still be read"
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
