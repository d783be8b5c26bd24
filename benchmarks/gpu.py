"""The rows of the table that a GPU fills, all in one call: `python -m benchmarks --gpu`."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.engine import Training, made_up, mlp
from benchmarks.timing import Row, compare, in_turn
from ncdiag.cli.presets import PRESETS
from ncdiag.cli.training_options import read_axes
from ncdiag.domain.defaults import complete_spec
from ncdiag.domain.records import Run, RunStatus
from ncdiag.domain.spec import RunSpec
from ncdiag.execution.held import Note
from ncdiag.execution.local import default_jobs, train_all
from ncdiag.execution.planning import make_plan
from ncdiag.execution.worker import TrainingOptions
from ncdiag.store.engine import open_store
from ncdiag.store.runs import list_runs
from ncdiag.store.sweeps import plan_sweep
from ncdiag.training.calibration import SIDE_BY_SIDE
from ncdiag.training.events import EpochDone, Event
from ncdiag.training.reproducibility import device_name, full_precision

BANDWIDTH = {"H200": 4.3e12, "H100": 3.0e12, "A100": 1.8e12}  # bytes a second that a copy reaches
MLP_PRESETS = ("paper-depth", "paper-width", "paper-weight-decay", "paper-activation", "paper-intervention")
SEEDS = "0:8"  # the presets have three, which makes 45 runs; these make 120
# Forward, backward and update touch each weight 10 times: read twice, its gradient written and read, then Adam reads
# and writes the weight and two moments.
TOUCHES = 10
ENDS = RunStatus.DONE, RunStatus.DEAD, RunStatus.DIVERGED


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is measured, how often, and until when (`time.perf_counter`)."""

    data_dir: Path | None
    rounds: int
    deadline: float
    device: str = "cuda"
    samples: int = 60_000
    precision: str = "float32"  # of the presets
    together: int = 32

    @property
    def of_samples(self) -> str:
        return f"{self.samples:,} images"


class TimeUp(KeyboardInterrupt):
    """The time for the benchmark is over; what trains is stopped as by Ctrl-C."""


def rows(setting: Setting) -> Iterator[Row]:
    with full_precision():
        yield from _rows_of_steps(setting)
        yield from _rows_of_resnet(setting)
        yield _row_of_presets(setting)


def _timed(do: Callable[[], None]) -> Callable[[], float]:
    """Time something to its end on the device, not to where it has been issued."""

    def timed() -> float:
        started = time.perf_counter()
        do()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - started

    return timed


def _rows_of_steps(setting: Setting) -> Iterator[Row]:
    data, number = made_up(samples=setting.samples).to(setting.device), setting.together
    eager, graph = (Training([mlp(512)], data, eager=eager) for eager in (True, False))
    many = Training([mlp(512, seed=seed) for seed in range(number)], data)

    ways = {
        "eager": eager.train_epoch,
        "graph": graph.train_epoch,
        "many": many.train_epoch,
        "measure": many.evaluate,
    }
    times = in_turn({name: _timed(way) for name, way in ways.items()}, setting.rounds)
    each, measured = ([seconds / number for seconds in times[name]] for name in ("many", "measure"))
    yield compare("MLP 512x3, one run, CUDA graph", "eager", times["graph"], times["eager"], at_least=3)
    yield compare(f"MLP 512x3, {number} runs together, per run", "one run", each, times["graph"], at_least=5)
    name = device_name(torch.device(setting.device))
    if bandwidth := next((value for part, value in BANDWIDTH.items() if part in name), None):
        parameters = sum(parameter.numel() for parameter in many.members[0].network.parameters())
        limit = TOUCHES * 4 * parameters * many.steps.lanes[0].whole / bandwidth
        share = limit / statistics.median(each)
        yield Row(work="its share of the memory-bandwidth limit", against=name, goal="-", seconds=limit, ratio=share)
    share = statistics.median(b / a for a, b in zip(each, measured, strict=True))
    work = f"metrics of training and test set, as a share of training {number} together"
    yield Row(work=work, against="-", goal="-", seconds=statistics.median(measured), ratio=share)


def _rows_of_resnet(setting: Setting) -> Iterator[Row]:
    data = made_up((3, 32, 32), samples=setting.samples).to(setting.device)
    precisions = ("float32", "tf32", "bf16") if setting.device != "cpu" else ("float32",)
    for precision in precisions:
        specs = [
            complete_spec({"arch": "resnet20", "dataset": "cifar10", "precision": precision, "seed": seed})
            for seed in range(SIDE_BY_SIDE)
        ]
        one, several = Training(specs[:1], data), Training(specs, data)
        ways = {"one": _timed(one.train_epoch), "several": _timed(several.train_epoch)}
        times = in_turn(ways, setting.rounds)
        seconds = statistics.median(times["one"])
        work = f"ResNet-20, {setting.of_samples}, {precision}, an epoch"
        yield Row(work=work, against="-", goal="<= 0.7 s", seconds=seconds, met=seconds <= 0.7)
        each = [taken / len(specs) for taken in times["several"]]
        yield compare(f"the same, {len(specs)} side by side, per run", "one run", each, times["one"], at_least=1)


def _row_of_presets(setting: Setting) -> Row:
    """Train every MLP preset of the paper to its end, which for most runs is the onset, or until the time is over."""
    started, epochs = time.perf_counter(), 0

    def listen(run: Run, event: Event | Note) -> None:
        nonlocal epochs
        epochs += isinstance(event, EpochDone)
        if time.perf_counter() > setting.deadline:
            raise TimeUp

    options = TrainingOptions(device=setting.device, data_dir=setting.data_dir)
    with tempfile.TemporaryDirectory() as folder:
        url = f"{folder}/presets.db"
        with open_store(url, write=True) as store:
            runs = plan_sweep(store, specs=_specs_of_presets(setting))
        over = False
        try:
            outcomes = train_all(url, runs, options, jobs=default_jobs(setting.device), listen=listen, say=print)
            for error in {outcome.error for outcome in outcomes if outcome.error}:
                print(f"a run failed: {error}")
        except TimeUp:
            over = True
        with open_store(url) as store:
            ended = sum(run.status in ENDS for run in list_runs(store))
    seconds = time.perf_counter() - started
    far = f"{ended} of {len(runs)} runs to their end, {epochs:,} measurements"
    work = f"the MLP presets of the paper, {setting.precision}: {far}"
    return Row(
        work=work,
        against="-",
        goal="<= 600 s",
        seconds=seconds,
        met=seconds <= 600 and ended == len(runs) if not over else None,
    )


def _specs_of_presets(setting: Setting) -> list[RunSpec]:
    """Give the runs of all presets, each once: a group then holds what they have in common."""
    specs: dict[str, RunSpec] = {}
    for name in MLP_PRESETS:
        plan = make_plan(
            read_axes({**PRESETS[name].options, "seed": SEEDS, "precision": setting.precision}),
            data_dir=setting.data_dir,
        )
        specs |= {spec.key: spec for spec in plan.specs}
    return list(specs.values())
