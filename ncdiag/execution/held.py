"""A run in the hands of this process: claimed, stored event by event, and given back with the way it ended.

A run belongs to the owner that claimed it. Every write names the owner, so a process that lost its claim, because it
was stopped for long and another took over, cannot write a thing.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ncdiag.domain.records import Run, RunStatus
from ncdiag.errors import NCDiagError, UnsafeError
from ncdiag.execution.keeper import Keeper, find_state
from ncdiag.store import runs
from ncdiag.store.faults import StoreBusyError
from ncdiag.store.handle import Store
from ncdiag.store.leases import hold_lease, taken_over
from ncdiag.store.recorder import Recorder
from ncdiag.store.waiting import Patience, hurry
from ncdiag.training.datasets import Dataset
from ncdiag.training.events import Checkpoint, Ended, EpochDone, Event, Intervened
from ncdiag.training.out_of_memory import in_plain_words
from ncdiag.training.reproducibility import check_precision, environment, numeric_fingerprint


@dataclass(frozen=True, kw_only=True)
class Note:
    """Something that happened around a run, which its user may want to know."""

    text: str


Listener = Callable[[Run, Event | Note], None]


def tell_failed(listen: Listener, run: Run, member: int, error: Exception) -> None:
    """Tell that an error has ended a run, so that whoever shows the runs counts it; raises nothing."""
    with suppress(Exception):  # whoever listens has his own troubles; those of the run are said by its outcome
        listen(run, Ended(member=member, status=RunStatus.FAILED, reason=describe_error(error)))


class HeldRun:
    """A claimed run: `state` is the checkpoint that training starts from, None where it starts with the first epoch.

    `ended` is how it ended, an exception if it failed, or None while it is trained.
    """

    def __init__(
        self,
        store: Store,
        run: Run,
        owner: str,
        start: "_Start",
        *,
        every: int,
        listen: Listener,
        patience: Patience,
    ) -> None:
        self.store = store
        self.run = run
        self.owner = owner
        self.spec = run.spec
        self.state = start.state
        self.listen = listen
        self.patience = patience
        self.keeper = Keeper(store.run_folder(run.id), run, every=every)
        self.recorder = Recorder(store, run, owner=owner, tell=self.note)
        self.ended: RunStatus | Exception | None = None
        self._discard_after = start.discard_after
        self._recovered = False

    def prepare(self, data: Dataset) -> None:
        """Store what an earlier process left waiting, and what the run is trained on.

        Raises `UnsafeError` if that is not what it was begun on.
        """
        self.patience.outlast(lambda: self._prepare(data))

    def _prepare(self, data: Dataset) -> None:
        if not self._recovered:  # once: by the time a group is halved, what waits is of this process
            self.recorder.recover(until=self._discard_after)
            self._recovered = True
        if self.run.data_sha256 not in (None, data.sha256):
            raise UnsafeError(
                f"{self.run.name} was begun on data with SHA-256 {self.run.data_sha256}, and finds {data.sha256} now.\n"
                "Put the old data back, or remove the run and train it afresh"
            )
        runs.describe_data(self.store, self.run.id, owner=self.owner, sha256=data.sha256, sizes=data.sizes)

    def keep(self, event: Event) -> None:
        """Store what an event says, and tell it."""
        if isinstance(event, EpochDone | Intervened):
            self.recorder.add(event.record)
        elif isinstance(event, Checkpoint):
            self.keeper.keep(event)
        elif isinstance(event, Ended):
            self.patience.outlast(self.recorder.settle)
            self.patience.outlast(lambda: self._finish(event.status, event.reason))
            self.ended = event.status
        self.tell(event)

    def tell(self, event: Event | Note) -> None:
        """Tell whoever listens of something that happened to the run."""
        self.listen(self.run, event)

    def note(self, text: str) -> None:
        """Tell something that the user may want to know."""
        self.tell(Note(text=text))

    def fail(self, error: Exception, *, member: int) -> None:
        """Store, and tell, that an error ended the run, a member of its group; not stored if it is another's by now.

        If the error is that the store cannot be had, neither can this be stored: the run is lost, and continues from
        what it left here.
        """
        self.ended = in_plain_words(error)
        if not isinstance(error, StoreBusyError):
            with suppress(Exception):
                self._finish(RunStatus.FAILED, describe_error(self.ended))
        tell_failed(self.listen, self.run, member, self.ended)

    def save(self) -> None:
        """Save the latest state of a run that is being stopped from outside, if that is possible."""
        self.ended = RunStatus.INTERRUPTED
        with suppress(Exception):  # a full disk: the earlier checkpoint is still there
            self.keeper.save_latest()

    def give_up(self) -> bool:
        """Store, in a hurry, what waits and that the run was stopped from outside; tells whether the store was there.

        Where that is not possible the run is lost, and continues from what it left on the disk.
        """
        try:
            stored = self.recorder.settle_in_hurry()
            if stored:
                with hurry():
                    self._finish(RunStatus.INTERRUPTED, "stopped by a signal")
        except StoreBusyError:
            return False
        except Exception:
            return True  # of this run alone: its file of what waits cannot be read, or another process took it over
        return stored

    def rewind(self) -> None:
        """Go back to the latest finished epoch, to continue from there."""
        self.keeper.save_latest()
        self.state = find_state(self.store.run_folder(self.run.id), self.run, self.note)

    def _finish(self, status: RunStatus, reason: str | None) -> None:
        if not runs.finish_run(self.store, self.run.id, owner=self.owner, status=status, reason=reason):
            raise taken_over(self.run.id)


def interrupt(held: Sequence[HeldRun]) -> None:
    """Store that runs were stopped from outside, each with its latest state; takes seconds at most, raises nothing.

    Whoever pressed Ctrl-C does not wait for a store that another program holds, and for none of the runs after the
    first that met it.
    """
    for one in held:
        one.save()
    for one in held:
        if not one.give_up():
            break


def describe_error(error: Exception) -> str:
    """Give what a person should read of an error."""
    return str(error) if isinstance(error, NCDiagError) else f"{type(error).__name__}: {error}"


@contextmanager
def hold_run(
    store: Store,
    run: Run,
    listen: Listener,
    *,
    owner: str,
    device: torch.device,
    every: int,
    allow_inexact: bool,
    patience: Patience,
) -> Iterator[HeldRun | None]:
    """Claim a run while the block lasts; gives None if another process has it, or it came to its end meanwhile.

    Raises `UnsafeError`, and changes nothing, where continuing would not give the bits that the run would have had,
    and `SpecError` where the device lacks its precision.
    """

    def tell(text: str) -> None:
        listen(run, Note(text=text))

    look = partial(runs.get_run_by_id, store, run.id)
    patience.outlast(look)  # a lock would make the folder of a run that was removed anew
    with hold_lease(store, run.id, owner) as leased:
        if not leased:
            yield None
            return
        run = patience.outlast(look)  # it may have been trained or renamed since it was listed
        check_precision(run.spec.precision, device)
        start = _find_start(store, run, device, tell, allow_inexact=allow_inexact)
        # an error here is met before the claim
        held = HeldRun(store, run, owner, start, every=every, listen=listen, patience=patience)
        claim = partial(
            runs.claim_run,
            store,
            run.id,
            owner=owner,
            device=str(device),
            environment=environment(device),
            fingerprint=numeric_fingerprint(device),
            inexact=start.inexact,
            discard_after=start.discard_after,
        )
        try:
            claimed = patience.outlast(claim)
            yield held if claimed else None
        except (KeyboardInterrupt, SystemExit):
            if held.ended is None:  # asked after the claim, and before anybody had the run in hand
                held.give_up()
            raise


@dataclass(frozen=True, kw_only=True)
class _Start:
    """Where a run begins: from `state`, with the stored rows that came after it thrown away if `discard`."""

    state: dict[str, Any] | None = None
    discard: bool = False
    inexact: bool = False

    @property
    def discard_after(self) -> int | None:
        """The epoch after which nothing of what an earlier process measured counts; None where all does."""
        if not self.discard:
            return None
        return self.state["epoch"] if self.state else 0


def _find_start(
    store: Store, run: Run, device: torch.device, tell: Callable[[str], None], *, allow_inexact: bool
) -> _Start:
    """Find the checkpoint to continue from, and refuse to continue where the bits would not be the same.

    In an unchanged environment the epochs after the checkpoint come out as they are stored, so they stay.
    """
    folder = store.run_folder(run.id)
    state = find_state(folder, run, tell)
    if state is None and run.epochs_done:
        tell(f"{run.name}: no checkpoint in {folder}; training starts again with its first epoch")
    now = numeric_fingerprint(device)
    changed = [name for name, value in now.items() if run.fingerprint.get(name) != value]
    if not changed:
        return _Start(state=state)
    if state is None:  # of a run that has not begun there is nothing to throw away
        return _Start(discard=True)
    if allow_inexact:
        return _Start(state=state, discard=True, inexact=True)
    differences = ", ".join(f"{name} {run.fingerprint.get(name)!r} -> {now[name]!r}" for name in changed)
    raise UnsafeError(
        f"{run.name} was trained in another numeric environment: {differences}\n"
        "Continued here, it would not be the run it was. Restore that environment, or pass --allow-inexact,\n"
        "which continues from the last checkpoint and marks the run as inexact"
    )
