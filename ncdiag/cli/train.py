"""`ncdiag train`: train one run and store every epoch of it."""

from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ncdiag.cli.complete import complete_choices, complete_run
from ncdiag.cli.numbers import number_option
from ncdiag.cli.opening import open_to_change
from ncdiag.cli.options import StoreOption
from ncdiag.cli.output import Format, emit, emit_text, note, warn
from ncdiag.cli.presets import LIST, PRESETS
from ncdiag.cli.training_options import read_values, takes_training_options
from ncdiag.domain.records import FINAL, Run, RunStatus
from ncdiag.domain.words import first_of
from ncdiag.errors import DivergedError, SpecError, UnsafeError
from ncdiag.store.location import store_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ncdiag.execution.planning import Plan
    from ncdiag.execution.worker import TrainingOptions
    from ncdiag.store.handle import Store

EXAMPLES = (
    "ncdiag train --depth 3 --width 64 --phase ce:20 --phase mse:60",
    "ncdiag train --arch resnet20 --dataset mnist --train-size 2000",
)


def list_presets(form: Format) -> None:
    """Print what presets there are."""
    if form is Format.TABLE:
        for known, preset in PRESETS.items():
            emit_text(fill(f"{known:26}{preset.purpose}", width=80, subsequent_indent=" " * 26))
        return
    rows = [{"preset": known, "purpose": preset.purpose} for known, preset in PRESETS.items()]
    emit(rows, form, name="presets", columns=[])


PresetOption = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="NAME",
        autocompletion=complete_choices(*PRESETS),
        help="Start from named options, such as quickstart or paper-depth; others on the line win. "
        "--preset list lists them.",
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE.toml", help="Read options from a TOML file; those on the line win."),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="NAME",
        autocompletion=complete_choices("auto", "cpu", "cuda"),
        help="auto, cpu, cuda or cuda:N.",
    ),
]
DataDirOption = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIR", help="Where data sets lie or are downloaded to. [default: a cache]"),
]
CheckpointOption = Annotated[
    int,
    number_option("--checkpoint-every", kind=int, metavar="N", least=1, text="Save the state of a run every N epochs."),
]
AllowInexactOption = Annotated[
    bool,
    typer.Option("--allow-inexact", help="Continue a run on other hardware or versions, and mark it as inexact."),
]


@takes_training_options
def train(
    *,
    preset: PresetOption = None,
    config: ConfigOption = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Name of the run. [default: run-N]")
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option("--resume", metavar="RUN", autocompletion=complete_run, help="Continue this run, as it was."),
    ] = None,
    device: DeviceOption = "auto",
    data_dir: DataDirOption = None,
    checkpoint_every: CheckpointOption = 50,
    allow_inexact: AllowInexactOption = False,
    store: StoreOption = "",
    **given: Any,
) -> None:
    """Train one run and store every epoch.

    Prints the name of the run. A configuration is trained once: typed again, the same command continues it, or says
    that it is done.
    """
    from ncdiag.execution.signals import stops_stored
    from ncdiag.execution.worker import TrainingOptions

    if preset == LIST:
        list_presets(Format.TABLE)
        return
    values = read_values(given, preset=preset, config=config)
    if resume is not None and (values.keys() - {"dataset"} or name is not None):
        raise SpecError(
            "--resume continues a run as it was; leave the options that describe a run out\n"
            "(--dataset may say where its data lies now)"
        )
    options = TrainingOptions(
        device=device, data_dir=data_dir, checkpoint_every=checkpoint_every, allow_inexact=allow_inexact
    )
    plan = _plan(values, name, options) if resume is None else None
    with stops_stored(), open_to_change(store, create=plan is not None) as opened:
        run = _added(opened, plan, name) if plan else _resumed(opened, str(resume), values.get("dataset"))
        emit_text(run.name)
        if run.status is RunStatus.DIVERGED:
            raise _diverged(run)
        if run.status in FINAL:
            note(f"{run.name} already holds this configuration ({run.status}, {run.epochs_done} epochs).")
            removal = f"ncdiag runs rm {run.name}{store_option(opened)}"
            note(f"for a replicate give another --seed; to train it afresh, `{removal}` first.")
            return
        _train(opened, run, options)


def _plan(values: dict[str, Any], name: str | None, options: "TrainingOptions") -> "Plan":
    """Give the plan of one run, checked as far as it can be before there is a store."""
    from ncdiag.execution.planning import check_plan, make_plan
    from ncdiag.store.runs import check_name

    if name is not None:
        check_name(name)
    plan = make_plan({key: [value] for key, value in values.items()}, data_dir=options.data_dir)
    check_plan(plan, options)
    return plan


def _added(store: "Store", plan: "Plan", name: str | None) -> Run:
    from ncdiag.store.runs import add_run

    run, created = add_run(store, plan.specs[0], name=name, data=plan.data[0])
    if name and run.name != name:
        note(f"this configuration is already stored as {run.name}; --name {name} was not used.")
    if not created and run.status not in FINAL:
        note(f"continuing {run.name} ({run.status}, {run.epochs_done} of {run.epochs_planned} epochs).")
    return run


def _resumed(store: "Store", name: str, dataset: str | None) -> Run:
    """Give the run of a name; `dataset` is where its data lies now, if that was said."""
    from ncdiag.execution.planning import find_moved_data
    from ncdiag.store.runs import get_run, move_data
    from ncdiag.store.tracked import SOURCE

    run = get_run(store, name)
    if run.source == SOURCE:
        raise SpecError(
            f"{name} is trained by a script, which told ncdiag.track of it; there is no network to continue here.\n"
            f"Run the script again, with ncdiag.track({name!r}, resume=True, ...)"
        )
    if run.origin == "imported":
        raise SpecError(f"{name} was imported; there is no network to continue. Train it with `ncdiag train`")
    return run if dataset is None else move_data(store, run, find_moved_data(run, dataset))


def _train(store: "Store", run: Run, options: "TrainingOptions") -> None:
    from ncdiag.cli.progress import show_progress
    from ncdiag.execution.worker import train_run

    try:
        with show_progress(points=1) as listen:
            status = train_run(store, run, options, listen)
    except (KeyboardInterrupt, SystemExit):
        again = f"ncdiag train --resume {run.name}{store_option(store)}"
        note(f"stopped; {say_stored(store, [run])}. Continue with `{again}`")
        raise
    if status is RunStatus.RUNNING:
        shown = f"ncdiag runs show {run.name}{store_option(store)}"
        raise UnsafeError(f"{run.name} is being trained by another process. `{shown}` shows it")
    if status is RunStatus.DIVERGED:
        raise _diverged(run)
    if status is RunStatus.DEAD:
        warn(f"the features of {run.name} died: their norm is near 0 and nothing is learned. This is no collapse.")


def say_stored(store: "Store", runs: "Sequence[Run]") -> str:
    """Say where the epochs of runs are that were stopped: what could not be stored waits in a file."""
    from ncdiag.store.recorder import pending_path

    waiting = [str(path) for run in runs if (path := pending_path(store, run.id)).exists()]
    if not waiting:
        return "every finished epoch is stored"
    return f"the store could not be had, and epochs wait in {first_of(waiting)}; they are stored as training goes on"


def _diverged(run: Run) -> DivergedError:
    return DivergedError(
        f"{run.name} diverged: the loss or the weights became NaN or infinite.\n"
        "Its epochs so far are stored. Try a smaller --lr"
    )
