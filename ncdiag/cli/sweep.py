"""`ncdiag sweep`: train every point of a grid, and only those that are not trained yet."""

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ncdiag.cli.numbers import number_option
from ncdiag.cli.opening import open_to_change
from ncdiag.cli.options import FormatOption, StoreOption
from ncdiag.cli.output import Column, Format, emit, frame_rows, note, table_cell, warn
from ncdiag.cli.presets import LIST
from ncdiag.cli.train import (
    AllowInexactOption,
    CheckpointOption,
    ConfigOption,
    DataDirOption,
    DeviceOption,
    PresetOption,
    list_presets,
    say_stored,
)
from ncdiag.cli.training_options import merge_sources, read_axes, takes_training_options
from ncdiag.domain.kinds import run_kind
from ncdiag.domain.naming import differing
from ncdiag.domain.records import FINAL, Run, RunStatus
from ncdiag.domain.shares import counted, out_of
from ncdiag.domain.words import first_of
from ncdiag.errors import SpecError, StoreError, SweepFailedError
from ncdiag.store.location import store_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ncdiag.domain.onset_rule import OnsetRule
    from ncdiag.domain.spec import RunSpec
    from ncdiag.execution.worker import Outcome, TrainingOptions
    from ncdiag.store.handle import Store

EXAMPLES = (
    "ncdiag sweep --preset quickstart",
    "ncdiag sweep --dataset digits --weight-decay 1e-5,1e-4 --seed 0:5 --dry-run",
)


@takes_training_options
def sweep(
    *,
    preset: PresetOption = None,
    config: ConfigOption = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Name of the grid in the store; its runs are run-N.")
    ] = None,
    jobs: Annotated[
        int | None,
        number_option(
            "--jobs",
            kind=int,
            metavar="N",
            least=1,
            text="Processes that train. [default: the cores, or the GPUs]",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the points and train nothing.")] = False,
    device: DeviceOption = "auto",
    data_dir: DataDirOption = None,
    checkpoint_every: CheckpointOption = 50,
    allow_inexact: AllowInexactOption = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for points that another process trains; train those it gives up.")
    ] = False,
    form: FormatOption = Format.TABLE,
    store: StoreOption = "",
    **given: Any,
) -> None:
    """Train every point of a grid.

    Each option takes a list, 1e-5,1e-4 or 0:5 (0 to 4). The grid is stored before the first run. The same command
    again trains only what is missing.
    """
    if preset == LIST:
        list_presets(form)
        return
    from ncdiag.domain.onset_rule import OnsetRule
    from ncdiag.execution.planning import check_plan, find_refusal, make_plan
    from ncdiag.execution.signals import stops_stored
    from ncdiag.execution.worker import TrainingOptions
    from ncdiag.store.runs import check_name, list_runs
    from ncdiag.store.sweeps import plan_sweep

    if name is not None:
        check_name(name, kind="sweep")
    said = merge_sources(given, preset=preset, config=config)
    if not said:
        raise SpecError("a sweep needs something to vary, such as --seed 0:5, or --preset quickstart")
    plan = make_plan(read_axes(said), data_dir=data_dir)
    jobs = _bounded(jobs, device)
    options = TrainingOptions(
        device=device, data_dir=data_dir, checkpoint_every=checkpoint_every, allow_inexact=allow_inexact
    )
    if dry_run:
        missing = _list_points(plan.specs, store, form)
        if refusal := _find_no_room(store) or find_refusal(replace(plan, specs=missing), options):
            warn(f"this machine would refuse to begin. {refusal}")
        _say_how_long(missing, device, jobs)
        return
    check_plan(plan, options)
    with stops_stored(), open_to_change(store, create=True) as opened:
        runs = plan_sweep(opened, name=name, config=said, specs=plan.specs, data=plan.data)
        todo = [run for run in runs if run.status not in FINAL]
        if len(todo) < len(runs):
            note(f"{out_of(len(runs) - len(todo), len(runs), 'point', 'is/are')} trained already.")
        waiting = {run.key for run in todo}
        _say_how_long([spec for spec in plan.specs if spec.key in waiting], device, jobs)
        outcomes = _train(opened, todo, options, jobs, wait=wait)
        runs = list_runs(opened, [run.id for run in runs])
        rule = _shared_rule(plan.specs)
        _print_summary(opened, runs, rule, form)
    _check_failed(outcomes, len(runs))
    here = store_option(opened)
    if left := sum(run.status not in FINAL for run in runs):
        note(
            f"{out_of(left, len(runs), 'point')} left to another process, which has them; "
            f"`ncdiag runs ls{here}` shows them, and --wait waits for them."
        )
    options_of_rule = "" if rule == OnsetRule() else f" --eps {rule.eps:g} --patience {rule.patience}"
    note(f"`ncdiag analyze threshold{options_of_rule}{here}` reads fn* from these runs.")
    _check_diverged(runs)


def _check_failed(outcomes: "list[Outcome]", points: int) -> None:
    """Raise `SweepFailedError` if training failed at some of the points."""
    failed = {outcome.run.name: outcome.error for outcome in outcomes if outcome.error}
    if failed:
        listed = "\n".join(f"  {name}: {error.splitlines()[0]}" for name, error in list(failed.items())[:5])
        raise SweepFailedError(
            f"{out_of(len(failed), points, 'point')} failed:\n{listed}\n"
            "The same command again tries them once more; `ncdiag runs show RUN` has the reason"
        )


def _check_diverged(runs: list[Run]) -> None:
    """Raise `SweepFailedError` if some of the points diverged, now or when the sweep was typed before."""
    diverged = [run.name for run in runs if run.status is RunStatus.DIVERGED]
    if diverged:
        raise SweepFailedError(
            f"{out_of(len(diverged), len(runs), 'point')} diverged ({first_of(diverged)}): "
            "the loss or the weights became NaN or infinite.\n"
            "Their epochs so far are stored, and analysis counts them apart. Try a smaller --lr"
        )


def _bounded(jobs: int | None, device: str) -> int:
    """Give how many processes train: what the device takes if nothing was said, and what was said as far as it does."""
    from ncdiag.execution.local import default_jobs, most_jobs

    if jobs is None:
        return default_jobs(device)
    most = most_jobs(device)
    if jobs > most:
        note(f"--jobs {jobs} is more than there are cores or GPUs to be used here; there will be {most}.")
    return min(jobs, most)


def _say_how_long(specs: "list[RunSpec]", device: str, jobs: int) -> None:
    """Say what training will take where that can be tried; a GPU is not made to wait for a trial."""
    from ncdiag.cli.progress import roughly
    from ncdiag.execution.estimate import estimate
    from ncdiag.execution.worker import pick_device

    if not specs or pick_device(device).type != "cpu":
        return
    found = estimate(specs, jobs)
    if found.seconds:
        without = (
            f", {counted(found.unknown, 'point')} with data of your own or too large to try not counted"
            if found.unknown
            else ""
        )
        note(f"training takes {roughly(found.seconds)} here, roughly and at most ({found.jobs} at a time{without}).")


def _shared_rule(specs: "list[RunSpec]") -> "OnsetRule":
    """Give the onset rule at which all of these runs stop; the usual one if they differ or do not stop."""
    from ncdiag.domain.onset_rule import OnsetRule

    stops = {spec.stop for spec in specs}
    stop = stops.pop() if len(stops) == 1 else None
    return OnsetRule(eps=stop.eps, patience=stop.patience) if stop else OnsetRule()


def _train(store: "Store", todo: list[Run], options: "TrainingOptions", jobs: int, *, wait: bool) -> "list[Outcome]":
    from ncdiag.cli.progress import show_progress
    from ncdiag.execution.beside import train_until_done
    from ncdiag.execution.local import train_all

    if not todo:
        return []
    try:
        with show_progress(points=len(todo)) as listen:

            def train(some: "Sequence[Run]") -> "list[Outcome]":
                return train_all(store.url, some, options, jobs=jobs, listen=listen, say=note)

            return train_until_done(store, todo, train, note) if wait else train(todo)
    except (KeyboardInterrupt, SystemExit):
        note(f"stopped; {say_stored(store, todo)}. The same command again continues.")
        raise


def _list_points(specs: "list[RunSpec]", location: str, form: Format) -> "list[RunSpec]":
    """List the points of a grid, and give those that are not trained yet."""
    known = _find_statuses(location, [spec.key for spec in specs])
    rows = [
        {"point": number, "status": known.get(spec.key, "new"), **spec.settings()}
        for number, spec in enumerate(specs, start=1)
    ]
    settings = list(specs[0].settings())
    varying = differing(rows, settings)
    columns = [Column(key=name, heading=name.replace("_", " ")) for name in ("point", "status", *varying)]
    emit(rows, form, name="points", columns=columns)
    shared = {name.replace("_", " "): rows[0][name] for name in settings if name not in varying}
    said = ", ".join(f"{name} {table_cell(value)}" for name, value in shared.items() if value is not None)
    note(f"the same in all points: {said}.")
    shapes = Counter((run_kind(spec), spec.data) for spec in specs if not spec.network.convolves)
    if together := sum(number for number in shapes.values() if number > 1):
        note(f"{together} of them have networks of equal shape, which train together if that is faster here.")
    missing = [spec for spec, row in zip(specs, rows, strict=True) if row["status"] not in FINAL]
    note(f"{counted(len(rows), 'point')}, {len(missing)} to train. Nothing was trained.")
    return missing


def _find_statuses(location: str, keys: list[str]) -> dict[str, str]:
    """Give the status of those keys that the store has a run of; a store that is not there yet has none."""
    from ncdiag.store.engine import open_store
    from ncdiag.store.faults import MissingStoreError
    from ncdiag.store.runs import find_runs

    try:
        with open_store(location) as opened:
            return {key: str(run.status) for key, run in find_runs(opened, keys).items()}
    except MissingStoreError:
        return {}


def _find_no_room(location: str) -> str | None:
    from ncdiag.store.engine import check_room

    try:
        check_room(location)
    except StoreError as error:
        return str(error)
    return None


_SUMMARY_COLUMNS = (
    Column(key="run", heading="run"),
    Column(key="status", heading="status"),
    Column(key="weight_decay", heading="wd", drop=1),
    Column(key="seed", heading="seed", drop=2),
    Column(key="epochs_done", heading="epochs"),
    Column(key="train_accuracy", heading="train acc", drop=3),
    Column(key="feature_norm", heading="fn at end"),
    Column(key="nc1", heading="NC1 at end"),
    Column(key="onset", heading="onset"),
    Column(key="fn_star", heading="fn at onset"),
)


def _print_summary(store: "Store", runs: list[Run], rule: "OnsetRule", form: Format) -> None:
    """Print a row for each point: what tells it apart, how it ended, and when and at what feature norm it collapsed."""
    from ncdiag.analysis.conditions import varying
    from ncdiag.analysis.onsets import onset_table
    from ncdiag.store.frames import epochs_frame, runs_frame

    ids = [run.id for run in runs]
    epochs = epochs_frame(store, ids)
    onsets = onset_table(runs_frame(store, ids), epochs, rule)
    last = epochs.groupby("run").tail(1)[["run", "train_accuracy", "feature_norm", "nc1", "nonfinite"]]
    always = [column.key for column in _SUMMARY_COLUMNS]
    own = [name for name in varying(onsets) if name not in always]
    rows = frame_rows(onsets.merge(last, on="run", how="left")[[*always, *own, "nonfinite"]])
    told_apart = [Column(key=name, heading=name.replace("_", " ")) for name in own]
    emit(rows, form, name="runs", columns=[*_SUMMARY_COLUMNS[:2], *told_apart, *_SUMMARY_COLUMNS[2:]])
