"""One process trains runs: claim them, load the data, continue or begin, store every epoch, say how each ended.

Runs that are handed over together are trained together where their networks allow it, and otherwise have nothing to do
with each other: each has its lease, its rows, its checkpoints and its end.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from ncdiag.domain.records import Run, RunStatus
from ncdiag.domain.shares import counted
from ncdiag.errors import SpecError
from ncdiag.execution.group import train_held
from ncdiag.execution.heartbeat import beating
from ncdiag.execution.held import HeldRun, Listener, Note, describe_error, hold_run, interrupt, tell_failed
from ncdiag.execution.signals import raise_if_asked
from ncdiag.store.handle import Store
from ncdiag.store.leases import new_owner
from ncdiag.store.waiting import OUTAGE_SECONDS, Patience
from ncdiag.training.datasets import Dataset, load_dataset
from ncdiag.training.events import Ended, Event
from ncdiag.training.memory import keep_freed_memory
from ncdiag.training.out_of_memory import in_plain_words
from ncdiag.training.products import Products, pick_products, using_products
from ncdiag.training.reproducibility import flushed_denormals
from ncdiag.training.shared import SharedDataset
from ncdiag.training.threads import computing_threads

DataKey = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How to train, as opposed to what: on one device, nothing here changes the numbers of a run.

    `shared` holds data sets that another process has loaded already, and `products` is the library it picked: workers
    that each tried for themselves might not agree.
    """

    device: str = "auto"
    data_dir: Path | None = None
    checkpoint_every: int = 50
    allow_inexact: bool = False
    shared: Mapping[DataKey, SharedDataset] = field(default_factory=dict)
    products: Products | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How the training of a run ended."""

    run: Run
    status: RunStatus
    error: str | None = None


def pick_device(name: str) -> torch.device:
    """Give the device of a name; `auto` is the first CUDA device, or the CPU where there is none."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:[0-9]{1,3})?", name):
        raise SpecError(f"device {name!r} is not known; expected auto, cpu, cuda or cuda:N")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = counted(torch.cuda.device_count(), "CUDA device") if torch.cuda.is_available() else "no CUDA device"
        raise SpecError(f"device {name!r} is not here; torch {torch.__version__} sees {found}. Use --device auto")
    return device


def train_run(store: Store, run: Run, options: TrainingOptions, listen: Listener) -> RunStatus:
    """Train one stored run to its end, from its last checkpoint if it has one, and give how it ended.

    A run that another process holds is left alone; its status is `running`. An error of the run is stored as
    `failed` with its reason, and raised; Ctrl-C and SIGTERM leave it `interrupted`.
    """

    def listen_unless_raised(run: Run, event: Event | Note) -> None:
        if not (isinstance(event, Ended) and event.status is RunStatus.FAILED):
            listen(run, event)

    ((_, ended),) = _train(store, [run], options, listen_unless_raised)
    if isinstance(ended, Exception):
        raise ended
    return ended


def train_runs(store: Store, group: Sequence[Run], options: TrainingOptions, listen: Listener) -> list[Outcome]:
    """Train runs on one data set as one group, and give how each ended; one that fails does not stop the others.

    Those that have begun must have done so with one number of threads and one library of products. Where the device
    has too little memory for the group, it is halved.
    """
    return [
        Outcome(run=run, status=RunStatus.FAILED, error=describe_error(ended))
        if isinstance(ended, Exception)
        else Outcome(run=run, status=ended)
        for run, ended in _train(store, group, options, listen)
    ]


def data_key(run: Run, options: TrainingOptions) -> DataKey:
    """Give what two runs have in common that train on the same tensors."""
    place = run.data.get("path") or options.data_dir or run.data.get("data_dir")
    return str(run.spec.data), run.spec.network.arch, str(place)


def load_data(run: Run, options: TrainingOptions) -> Dataset:
    """Give the data set of a run on the CPU, from another process if one has loaded it."""
    if shared := options.shared.get(data_key(run, options)):
        return shared.open()
    path, data_dir = run.data.get("path"), run.data.get("data_dir")
    return load_dataset(
        run.spec.data,
        arch=run.spec.network.arch,
        data_dir=options.data_dir or (Path(data_dir) if data_dir else None),
        path=Path(path) if path else None,
    )


def _train(
    store: Store, group: Sequence[Run], options: TrainingOptions, listen: Listener
) -> list[tuple[Run, RunStatus | Exception]]:
    """Train runs and give how each ended, with the run as it was claimed: perhaps renamed since it was listed."""
    device = pick_device(options.device)
    owner = new_owner()
    ended: dict[int, RunStatus | Exception] = {}
    held: list[HeldRun] = []
    patience = Patience(OUTAGE_SECONDS, lambda text: listen(group[0], Note(text=text)))

    def refuse(member: int, run: Run, error: Exception) -> None:
        ended[run.id] = in_plain_words(error)
        tell_failed(listen, run, member, in_plain_words(error))

    keep_freed_memory()
    with ExitStack() as stack:
        stack.enter_context(flushed_denormals())
        began = next((run.fingerprint for run in group if run.fingerprint), {})
        try:
            stack.enter_context(computing_threads(began.get("threads")))
            stack.enter_context(using_products(began.get("products") or options.products or pick_products()))
        except Exception as error:  # too little memory even to try the libraries, say
            for member, run in enumerate(group):
                refuse(member, run, error)
            return [(run, ended[run.id]) for run in group]
        try:
            for member, run in enumerate(group):
                claim = hold_run(
                    store,
                    run,
                    listen,
                    owner=owner,
                    device=device,
                    every=options.checkpoint_every,
                    allow_inexact=options.allow_inexact,
                    patience=patience,
                )
                try:
                    found = stack.enter_context(claim)
                except Exception as error:
                    raise_if_asked()
                    refuse(member, run, error)
                else:
                    held += [found] if found else []
            if held:
                _train_claimed(store, held, owner, partial(load_data, held[0].run, options), listen, device)
        except (KeyboardInterrupt, SystemExit):
            interrupt([one for one in held if one.ended is None])
            raise
    ended |= {one.run.id: one.ended for one in held if one.ended is not None}
    claimed = {one.run.id: one.run for one in held}
    return [(claimed.get(run.id, run), ended.get(run.id, RunStatus.RUNNING)) for run in group]


def _train_claimed(
    store: Store,
    held: Sequence[HeldRun],
    owner: str,
    load: Callable[[], Dataset],
    listen: Listener,
    device: torch.device,
) -> None:
    try:
        with beating(store, owner, lambda: [one.run.id for one in held if one.ended is None]):
            train_held(held, load, device)
    except RuntimeError as error:  # there is no memory for the thread of the heartbeat
        for member, one in enumerate(held):
            if one.ended is None:
                one.fail(error, member=member)
