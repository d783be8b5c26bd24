"""`ncdiag import`: trajectories that somebody else logged, all of them or none."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ncdiag.cli.opening import open_to_change
from ncdiag.cli.options import StoreOption
from ncdiag.cli.output import emit_text, note
from ncdiag.domain.shares import counted
from ncdiag.errors import DataError, SpecError

if TYPE_CHECKING:
    from ncdiag.domain.records import ImportedRun, Run
    from ncdiag.files.trajectories import Settings

_NAMED = 3  # runs in a note

EXAMPLES = (
    "ncdiag import log.csv --map nc1=NC1 --set arch=mlp",
    "ncdiag import --manifest runs.csv --map feature_norm=feat_norm",
)


def import_(
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE",
            show_default=False,
            help="CSV, JSON or JSON lines, a row per epoch, or such a file packed as .gz; - is stdin.",
        ),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(
            "--manifest",
            metavar="CSV",
            help="Import the files that its column `file` names; its other columns describe the runs. With FILE: "
            "describe the runs of FILE, which it names in its column `run`.",
        ),
    ] = None,
    maps: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="FIELD=COLUMN,...",
            help="Read a field of `ncdiag export` from another column; FIELD= leaves it out.",
        ),
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Describe the runs: arch, depth, dataset, weight_decay, ..., phases=ce:200,mse:400; "
            "any other word is a setting too.",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Name the only run of FILE.", show_default=False)
    ] = None,
    prefix: Annotated[
        str, typer.Option("--prefix", metavar="TEXT", help="Put this before the name of every run.")
    ] = "",
    ignore_extra: Annotated[
        bool, typer.Option("--ignore-extra", help="Allow columns and keys that look like misspelt ones.")
    ] = False,
    store: StoreOption = "",
) -> None:
    """Import trajectories from CSV, JSON or JSON lines, all or none.

    Columns are those of `ncdiag export`; `epoch` and one metric are needed.
    An empty cell is missing; nan and inf were measured. A file with a column
    `run` may hold several runs, else the file gives the run its name.

    `FILE:` before an entry of --map or --set makes it hold for the files or
    runs of that name only (* stands for anything). It outweighs the manifest,
    which outweighs an entry for all:

    \b
      --set 'gelu_*:phases=ce:200,mse' --map 'resnet_*:nc2_equiangular='

    Without a column `phase`, epochs get their phase from `phases`. The columns
    phase1_loss, phase1_epochs, phase2_loss of a manifest do not prove that a
    run ever switched: there, only the first phase is filled in.
    """  # noqa: D301  # \b is Typer's mark for lines to keep as they are
    from ncdiag.domain.importing.settings import parse_maps, parse_sets
    from ncdiag.files.trajectories import Settings
    from ncdiag.store.imports import import_runs
    from ncdiag.store.runs import check_name

    settings = Settings(
        maps=parse_maps(maps or []), sets=parse_sets(sets or []), prefix=prefix, ignore_extra=ignore_extra
    )
    if name is not None:
        check_name(prefix + name)
    found, notes = _read(file, manifest, name, settings)
    for run in found:
        if run.name is not None:
            check_name(run.name)
    with open_to_change(store, create=True) as opened:
        imported = import_runs(opened, found)
    for said in notes:
        note(said)
    emit_text("\n".join(run.name for run in imported.runs))
    epochs = {run.key: len(run.epochs) for run in found}
    new = counted(sum(epochs[key] for key in imported.new), "epoch")
    note(f"{counted(len(imported.new), 'run')} and {new} imported to {opened.label}")
    if known := len(epochs) - len(imported.new):
        note(f"{counted(known, 'run')} with the same content had been imported before")
    _note_other_names(found, imported.runs)


def _read(
    file: str | None, manifest: Path | None, name: str | None, settings: "Settings"
) -> "tuple[list[ImportedRun], list[str]]":
    from ncdiag.files.trajectories import read_file, read_manifest

    if file is not None:
        return read_file(*_read_bytes(file), settings, name=name, manifest=manifest)
    if manifest is None:
        raise SpecError("nothing to import; expected FILE.csv, or --manifest runs.csv that lists files")
    if name is not None:
        raise SpecError("--name names one run; a manifest names its runs in a column `run`. Leave --name out")
    return read_manifest(manifest, settings)


def _read_bytes(file: str) -> tuple[str, bytes]:
    """Give the name of a file as messages have it, and its content."""
    from ncdiag.files.compressed import bare_name, read_whole

    if file == "-":
        return "stdin", sys.stdin.buffer.read()
    try:
        return bare_name(Path(file).name), read_whole(Path(file))
    except OSError as error:
        raise DataError(f"cannot read {file!r}: {error.strerror}") from None


def _note_other_names(found: "list[ImportedRun]", stored: "list[Run]") -> None:
    """Name the runs that are stored under another name, since an earlier run has the same content."""
    pairs = [(run.name, kept.name) for run, kept in zip(found, stored, strict=True)]
    others = [f"{name} is {kept}" for name, kept in pairs if name not in (None, kept)]
    if others:
        more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        note(f"of runs with the same content one is stored: {', '.join(others[:_NAMED])}{more}")
