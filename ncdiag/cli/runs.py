"""`ncdiag runs`: what is in the store, and tidying up in it."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ncdiag.cli.numbers import number_option
from ncdiag.cli.opening import open_to_change
from ncdiag.cli.options import FormatOption, RunArgument, RunsArgument, StoreOption, WhereOption, show_examples
from ncdiag.cli.output import Column, Format, emit, emit_csv, emit_json, emit_text, layout, note, printable, table_cell
from ncdiag.cli.sparkline import can_draw, draw_curves
from ncdiag.domain.filters import OWN
from ncdiag.domain.other_settings import other_settings
from ncdiag.domain.shares import counted, none_of
from ncdiag.errors import UnsafeError

if TYPE_CHECKING:
    from ncdiag.domain.records import EpochRecord, Run
    from ncdiag.store.handle import Store

Facts = list[tuple[str, Any]]  # what is known of a run: the name of each thing, and the thing

HELP = "List, show, remove and rename the runs of a store."

app = typer.Typer(no_args_is_help=True, epilog=show_examples("ncdiag runs ls", "ncdiag runs show run-1"))

COLUMNS = (
    Column(key="run", heading="run"),
    Column(key="status", heading="status"),
    Column(key="network", heading="network"),
    Column(key="dataset", heading="dataset", drop=1),
    Column(key="weight_decay", heading="wd", drop=2),
    Column(key="seed", heading="seed"),
    Column(key="epochs", heading="epochs"),
    Column(key="feature_norm", heading="fn"),
    Column(key="nc1", heading="nc1"),
)
# The columns of a run, as `ncdiag export runs` has them, then what else tells runs apart.
_RUN_KEYS = (
    *("status", "arch", "depth", "width", "activation", "dataset", "train_size", "optimizer", "lr", "weight_decay"),
    *("batch_size", "seed", "phases", "epochs_done", "device", "started_at", "seconds"),
    *("epochs_planned", "momentum", "schedule", "intervention", "origin", "reason"),
)
_MOST_IN_A_TABLE = 100
_READ_AT_ONCE = 2000
_LATEST_KEYS = ("train_loss", "train_accuracy", "test_accuracy", "feature_norm", "nc1")


@app.callback(help=HELP)
def runs(store: StoreOption = "") -> None:
    """Take --store before the command as well."""


@app.command("ls", epilog=show_examples("ncdiag runs ls", "ncdiag runs ls --where 'status=done and depth>=5'"))
def list_(
    store: StoreOption = "",
    where: WhereOption = None,
    limit: Annotated[
        int | None,
        number_option(
            "--limit",
            kind=int,
            metavar="N",
            least=0,
            text="The newest N runs; 0 is all. [default: 100; all as csv or json]",
        ),
    ] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """List the runs, with their newest feature norm (fn) and NC1.

    A network is named by its architecture, depth and width, such as mlp 5x512. A terminal shows the course of NC1 as
    well, on one logarithmic scale for all rows.
    """
    from ncdiag.domain.filters import parse_where
    from ncdiag.store.engine import open_store

    fits = parse_where(where or "")
    if limit is None:
        limit = _MOST_IN_A_TABLE if form is Format.TABLE else 0
    columns: tuple[Column, ...] = COLUMNS
    with open_store(store) as opened:
        kept, seen, more = _newest_that_fit(opened, fits, limit)
        if form is Format.TABLE and can_draw():
            curves = draw_curves(opened, [row["run"] for row in kept], "nc1")
            kept = [row | {"curve": curves.get(row["run"])} for row in kept]
            columns = (*COLUMNS, Column(key="curve", heading="nc1 so far", drop=3))
    if form is Format.TABLE:
        kept = [row | {"network": _network(row), "epochs": _progress(row)} for row in kept]
    empty = f"{none_of(seen, 'run')} fits --where" if seen else "the store holds no runs yet"
    emit(kept, form, name="runs", columns=columns, empty=empty, keys=("run", *_RUN_KEYS, "other", *_LATEST_KEYS))
    if more:
        note(f"only the newest {len(kept)} are shown; --limit 0 lists all, and --where narrows")


def _newest_that_fit(
    store: "Store", fits: Callable[[Mapping[str, Any]], bool], limit: int
) -> tuple[list[dict[str, Any]], int, bool]:
    """Give the rows of the newest runs that fit, how many runs were looked at, and whether older ones fit too.

    Reads from the newest run backwards, and no further than it must: a store may hold a hundred thousand.
    """
    from ncdiag.store.latest import list_latest
    from ncdiag.store.runs import list_newest_runs

    kept: list[dict[str, Any]] = []
    seen, before = 0, None
    number = min(limit + 1, _READ_AT_ONCE) if limit else _READ_AT_ONCE
    while (not limit or len(kept) <= limit) and (some := list_newest_runs(store, number=number, before=before)):
        fitting = [run for run in some if fits(_as_filtered(run))]
        latest = list_latest(store, [run.id for run in fitting])
        kept = [*(_row(run, latest.get(run.id)) for run in fitting), *kept]
        seen, before, number = seen + len(some), some[0].id, _READ_AT_ONCE
    return kept[-limit:] if limit else kept, seen, bool(limit) and len(kept) > limit


@app.command("show", epilog=show_examples("ncdiag runs show run-1", "ncdiag runs show run-1 --format json"))
def show(run: RunArgument, store: StoreOption = "", form: FormatOption = Format.TABLE) -> None:
    """Show all that is known of a run.

    That is where it stands, its configuration, its newest metrics, and the environment it was trained in.
    """
    from ncdiag.store.engine import open_store
    from ncdiag.store.interventions import list_interventions
    from ncdiag.store.latest import list_latest
    from ncdiag.store.recorder import ForeignRunError, list_pending, pending_path
    from ncdiag.store.runs import get_run

    with open_store(store) as opened:
        found = get_run(opened, run)
        latest = list_latest(opened, [found.id]).get(found.id)
        changes = list_interventions(opened, found.id)
        where = pending_path(opened, found.id)
        try:
            waiting = len(list_pending(opened, found))
        except ForeignRunError:
            waiting = None
    if form is Format.JSON:
        document = {**asdict(found), "run": found.name, "latest": latest and asdict(latest)}
        emit_json({**document, "interventions": [asdict(change) for change in changes], "pending": waiting})
    elif form is Format.CSV:
        row = _row(found, latest)
        emit_csv([row], header=list(row))
    else:
        emit_text(_page(found, latest, [asdict(change) for change in changes]))
    if waiting is None:
        note(f"whether records of {run} wait to be stored cannot be seen: {where} is another user's")
    elif waiting:
        missing = counted(waiting, "record")
        note(f"{missing} of {run} not stored yet: {where}; they are when its training goes on or ends")


@app.command("rm", epilog=show_examples("ncdiag runs rm run-1", "ncdiag runs rm run-1 run-2 --yes"))
def remove(
    names: RunsArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove without asking.")] = False,
    store: StoreOption = "",
) -> None:
    """Remove runs for good, with all their epochs and checkpoints."""
    from ncdiag.store.runs import get_run, remove_runs

    with open_to_change(store) as opened:
        epochs = sum(get_run(opened, name).epochs_done for name in dict.fromkeys(names))
        if not yes:
            _ask(f"Remove {', '.join(dict.fromkeys(names))} ({epochs} epochs) for good?")
        for run in remove_runs(opened, names):
            note(f"removed {run.name}")
            if (folder := opened.run_folder(run.id)).exists():  # another user's, who shares the store
                note(f"its folder {printable(str(folder))} could not be removed; nothing needs it any more")


@app.command(
    "rename", epilog=show_examples("ncdiag runs rename run-1 baseline", "ncdiag runs rename baseline mlp-wd1e-4")
)
def rename(
    run: RunArgument,
    new: Annotated[str, typer.Argument(metavar="NEW", show_default=False, help="The name it gets.")],
    store: StoreOption = "",
) -> None:
    """Give a run another name, which every command then knows it by."""
    from ncdiag.store.runs import rename_run

    with open_to_change(store) as opened:
        renamed = rename_run(opened, run, new)
    note(f"{run} is now called {renamed.name}")


def _ask(question: str) -> None:
    """Ask on the terminal; anything but a yes raises `UnsafeError`, and so does the lack of a terminal."""
    if not sys.stdin.isatty():
        raise UnsafeError("runs rm deletes for good, and there is no terminal to ask on. Repeat it with --yes")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UnsafeError("nothing was removed")


def _as_filtered(run: "Run") -> dict[str, Any]:
    """Give a run as `--where` sees it."""
    own = {OWN + name: value for name, value in run.config.items()}
    return {**own, **vars(run), "run": run.name, "other": other_settings(run.config)}


def _row(run: "Run", latest: "EpochRecord | None") -> dict[str, Any]:
    row: dict[str, Any] = {"run": run.name, **{key: getattr(run, key) for key in _RUN_KEYS}, "status": str(run.status)}
    if row["width"] is not None and row["width"] == int(row["width"]):
        row["width"] = int(row["width"])
    row["other"] = other_settings(run.config)
    return row | {key: latest and getattr(latest, key) for key in _LATEST_KEYS}


def _network(row: Mapping[str, Any]) -> str:
    """Name a network as `mlp 5x512`: architecture, depth and width."""
    size = "x".join(table_cell(row[key]) for key in ("depth", "width") if row[key] is not None)
    return f"{row['arch'] or ''} {size}".strip() or "-"


def _progress(row: Mapping[str, Any]) -> str:
    planned = row["epochs_planned"]
    return str(row["epochs_done"]) + (f"/{planned}" if planned is not None else "")


def _page(run: "Run", latest: "EpochRecord | None", changes: Sequence[Mapping[str, Any]]) -> str:
    """Give all that is known of a run, for reading."""
    from ncdiag.store.tracked import SOURCE

    row = _row(run, latest)
    status: Facts = [("status", f"{run.status}" + (f": {run.reason}" if run.reason else ""))]
    status += [("epochs", _progress(row)), ("seconds", run.seconds), ("device", run.device)]
    status += [("created", run.created_at), ("started", run.started_at), ("finished", run.finished_at)]
    if run.source:
        status += [("tracked by" if run.source == SOURCE else "imported from", run.source)]
    if run.inexact:
        status += [("inexact", "continued in another numeric environment")]
    parts = [
        (run.name, status),
        ("configuration", list(_flat({**run.config, "phases": run.phases}))),
        ("data", list(_flat({"sha256": run.data_sha256, **run.data}))),
        *(("rescaled features", list(change.items())) for change in changes),
        (f"newest epoch, {latest.epoch}" if latest else "newest epoch", list(asdict(latest).items()) if latest else []),
        ("environment", list(_flat(run.environment))),
        ("numeric fingerprint", list(_flat(run.fingerprint))),
    ]
    return "\n\n".join("\n".join([title, *_facts(facts)]) for title, facts in parts if _facts(facts))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Facts:
    """Give nested values by their dotted names."""
    flat: Facts = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat += _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            flat.append((prefix + key, ", ".join(str(item) for item in value)))
        else:
            flat.append((prefix + key, value))
    return flat


def _facts(facts: Facts) -> list[str]:
    """Align what is known, and leave out what is not."""
    known = [[f"  {name}", table_cell(value)] for name, value in facts if value is not None]
    return layout(known, right=[False, False]) if known else []
