"""One process trains runs: claim them, load the data, continue or begin, store every epoch, say how each ended.

A run belongs to the owner that claimed it. Every write names the owner, so a process that lost its claim, because it
was stopped for long and another took over, cannot write a thing.
"""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ncdiag.domain.records import Run, RunStatus
from ncdiag.domain.spec import RunSpec
from ncdiag.errors import NCDiagError, SpecError, StoreError, UnsafeError
from ncdiag.execution.keeper import Keeper, find_state
from ncdiag.store import runs
from ncdiag.store.engine import Store
from ncdiag.store.faults import StoreBusyError
from ncdiag.store.leases import hold_lease, new_owner
from ncdiag.store.recorder import Recorder
from ncdiag.training.datasets import load_dataset
from ncdiag.training.loop import Checkpoint, Ended, EpochDone, Event, Intervened, train
from ncdiag.training.reproducibility import environment, flushed_denormals, numeric_fingerprint

HEARTBEAT_SECONDS = 30.0  # a quarter of the silence after which another host takes a run for lost


@dataclass(frozen=True, kw_only=True)
class Note:
    """Something that happened around a run, which its user may want to know."""

    text: str


Listener = Callable[[Run, Event | Note], None]


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How to train, as opposed to what: on one device, nothing here changes the numbers of a run."""

    device: str = "auto"
    data_dir: Path | None = None
    checkpoint_every: int = 50
    allow_inexact: bool = False


def pick_device(name: str) -> torch.device:
    """Give the device of a name; `auto` is the first CUDA device, or the CPU where there is none."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:[0-9]{1,3})?", name):
        raise SpecError(f"device {name!r} is not known; expected auto, cpu, cuda or cuda:N")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = f"{torch.cuda.device_count()} CUDA devices" if torch.cuda.is_available() else "no CUDA device"
        raise SpecError(f"device {name!r} is not here; torch {torch.__version__} sees {found}. Use --device auto")
    return device


def train_run(store: Store, run: Run, options: TrainingOptions, listen: Listener) -> RunStatus:
    """Train one stored run to its end, from its last checkpoint if it has one, and give how it ended.

    A run that another process holds is left alone; its status is `running`. An error of the run is stored as
    `failed` with its reason, and raised; Ctrl-C and SIGTERM leave it `interrupted`.
    """
    device = pick_device(options.device)
    owner = new_owner()
    with ExitStack() as stack:
        stack.enter_context(flushed_denormals())
        if not stack.enter_context(hold_lease(store, run.id, owner)):
            return RunStatus.RUNNING
        run = runs.get_run_by_id(store, run.id)  # it may have been trained or renamed since it was listed
        stack.enter_context(_threads(run.fingerprint.get("threads")))

        def tell(text: str) -> None:
            listen(run, Note(text=text))

        start = _find_start(run, store.run_folder(run.id), device, tell, allow_inexact=options.allow_inexact)
        claimed = runs.claim_run(
            store,
            run.id,
            owner=owner,
            device=str(device),
            environment=environment(device),
            fingerprint=numeric_fingerprint(device),
            inexact=start.inexact,
            discard_after=start.epoch if start.discard else None,
        )
        if not claimed:
            return RunStatus.RUNNING
        stack.enter_context(_beating(store, run.id, owner))
        finish = partial(runs.finish_run, store, run.id, owner=owner)
        keeper = Keeper(store.run_folder(run.id), run, every=options.checkpoint_every)
        recorder = Recorder(store, run, owner=owner, tell=tell)
        try:
            recorder.recover(until=start.epoch if start.discard else None)
            for event in _train(store, run, start, options, owner, device, keeper, recorder):
                listen(run, event)
                if isinstance(event, Ended):
                    recorder.settle()
                    finish(status=event.status, reason=event.reason)
                    return event.status
            raise AssertionError("the loop ends every run with an Ended event")
        except (KeyboardInterrupt, SystemExit):
            with suppress(StoreError):  # a full disk: the earlier checkpoint is still there
                keeper.save_latest()
            if recorder.settle(hurry=True):
                finish(status=RunStatus.INTERRUPTED, reason="stopped by a signal")
            raise
        except StoreBusyError:
            raise  # how it ended cannot be stored either; the run is lost, and continues from what it left here
        except Exception as error:
            text = str(error) if isinstance(error, NCDiagError) else f"{type(error).__name__}: {error}"
            finish(status=RunStatus.FAILED, reason=text)
            raise


def _train(
    store: Store,
    run: Run,
    start: "_Start",
    options: TrainingOptions,
    owner: str,
    device: torch.device,
    keeper: Keeper,
    recorder: Recorder,
) -> Iterator[Event]:
    """Train a run that is ours, store what happens, and pass it on."""
    spec = RunSpec.from_dict(run.config)
    path, data_dir = run.data.get("path"), run.data.get("data_dir")
    data = load_dataset(
        spec.data,
        arch=spec.network.arch,
        data_dir=options.data_dir or (Path(data_dir) if data_dir else None),
        path=Path(path) if path else None,
    )
    if run.data_sha256 not in (None, data.sha256):
        raise UnsafeError(
            f"{run.name} was begun on data with SHA-256 {run.data_sha256}, and finds {data.sha256} now.\n"
            "Put the old data back, or remove the run and train it afresh"
        )
    runs.describe_data(store, run.id, owner=owner, sha256=data.sha256, sizes=data.sizes)
    states = {0: start.state} if start.state else None
    for event in train([spec], data.to(device), states=states):
        if isinstance(event, EpochDone | Intervened):
            recorder.add(event.record)
        elif isinstance(event, Checkpoint):
            keeper.keep(event)
        yield event


@dataclass(frozen=True, kw_only=True)
class _Start:
    """Where a run begins: from `state`, with the stored rows that came after it thrown away if `discard`."""

    state: dict[str, Any] | None = None
    discard: bool = False
    inexact: bool = False

    @property
    def epoch(self) -> int:
        return self.state["epoch"] if self.state else 0


def _find_start(
    run: Run, folder: Path, device: torch.device, tell: Callable[[str], None], *, allow_inexact: bool
) -> _Start:
    """Find the checkpoint to continue from, and refuse to continue where the bits would not be the same.

    In an unchanged environment the epochs after the checkpoint come out as they are stored, so they stay.
    """
    state = find_state(folder, run, tell)
    now = numeric_fingerprint(device)
    changed = [name for name, value in now.items() if run.fingerprint.get(name) != value]
    if not changed or not (state or run.epochs_done):
        return _Start(state=state)
    if state is None:
        return _Start(discard=True)
    if allow_inexact:
        return _Start(state=state, discard=True, inexact=True)
    differences = ", ".join(f"{name} {run.fingerprint.get(name)!r} -> {now[name]!r}" for name in changed)
    raise UnsafeError(
        f"{run.name} was trained in another numeric environment: {differences}\n"
        "Continued here, it would not be the run it was. Restore that environment, or pass --allow-inexact,\n"
        "which continues from the last checkpoint and marks the run as inexact"
    )


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """Compute with as many threads as a run began with, since their number decides the bits; None leaves it open."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _beating(store: Store, run_id: int, owner: str) -> Iterator[None]:
    """Say every now and then that the run is alive, for those who watch from other machines."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(HEARTBEAT_SECONDS):
            # a missed beat is no reason to stop training, and a lost run fails at its next epoch
            with suppress(StoreError):
                runs.heartbeat(store, run_id, owner)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(1.0)  # where the store is locked it waits on, and harms nobody: the run is no longer its own
