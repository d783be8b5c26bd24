"""What happens to a run in training, stored as it happens, or as soon as the store can be had.

Another program may hold the store for longer than a transaction waits: a database browser that is left open, a backup
of a large file, a server that restarts. Training does not stop for that. What was measured meanwhile goes into
`pending.jsonl` in the run's folder, a line each, on the disk before training goes on; and from there into the store at
the next chance, at the latest when the run ends or is continued. A row that is stored already stays as it is, so a
process that is killed between storing and deleting the lines repeats them without harm.
"""

import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from sqlalchemy import Connection

from ncdiag.domain.records import EpochRecord, InterventionRecord, Run
from ncdiag.domain.shares import counted
from ncdiag.domain.spec import canonical_json
from ncdiag.errors import StoreError
from ncdiag.store.epochs import first_undone, insert_epoch
from ncdiag.store.faults import StoreBusyError
from ncdiag.store.handle import Store
from ncdiag.store.interventions import insert_intervention
from ncdiag.store.leases import fence
from ncdiag.store.location import store_option
from ncdiag.store.rows import measured_columns, measured_values
from ncdiag.store.waiting import hurry, retried

Measured = EpochRecord | InterventionRecord

PENDING = "pending.jsonl"
SECONDS_BETWEEN_TRIES = 10.0
_KINDS: dict[str, type[Measured]] = {"epoch": EpochRecord, "intervention": InterventionRecord}


class ForeignRunError(StoreError):
    """The folder of a run is another user's, and what waits in it can be read by them alone."""


def pending_path(store: Store, run_id: int) -> Path:
    """Give the file of what was measured and could not be stored yet; there is none while nothing waits."""
    return store.run_folder(run_id) / PENDING


def list_pending(store: Store, run: Run) -> list[Measured]:
    """Give what was measured in a run and waits to be stored, in order; lines of a run of another store are left out.

    A last line that a killed process has not finished is none: nothing was said to rest on it. Raises `StoreError` for
    a file that cannot be read, `ForeignRunError` where it may not be, or that holds what no process of ncdiag writes.
    """
    try:
        lines = pending_path(store, run.id).read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    except PermissionError:
        raise ForeignRunError(
            f"the file {pending_path(store, run.id)} cannot be read: it is another user's.\n"
            f"Ask them to let you read the folder, or leave {run.name} to them"
        ) from None
    except OSError as error:
        raise _unwritable(pending_path(store, run.id), error) from error
    try:
        documents = [json.loads(line) for line in lines]
        return [
            _KINDS[document["kind"]](**measured_values(document["row"]))
            for document in documents
            if document["run"] == run.identity
        ]
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise StoreError(
            f"the file {pending_path(store, run.id)} is damaged; it holds what {run.name} measured and nobody stored.\n"
            "Remove it and the checkpoints (epoch-*.pt) beside it, and the run is trained again from its beginning"
        ) from error


class Recorder:
    """Stores the records of one run, for the process that owns it, now or later but in their order.

    `tell` is called with a sentence when records begin to wait, and when they are stored. Every method raises
    `TakenOverError`, a `StoreError`, when the run is no longer trained by `owner`.
    """

    def __init__(self, store: Store, run: Run, *, owner: str, tell: Callable[[str], None]) -> None:
        self.store = store
        self.run = run
        self.owner = owner
        self.tell = tell
        self.path = pending_path(store, run.id)
        self.waiting = 0
        self.tried_at = 0.0

    def recover(self, *, until: int | None = None) -> None:
        """Store what an earlier process of this run left waiting, as far as the epoch `until`; the rest is dropped.

        What stays of it is what stays of the stored records where a run goes back to that epoch.
        """
        left = list_pending(self.store, self.run)
        if until is not None:
            undone = first_undone(until)
            left = [record for record in left if record.epoch < undone[type(record)]]
        if left:
            self._store_patiently(left)
            self.tell(f"{self.run.name}: {_count(left)} stored that had been waiting in {self.path}")
        self._forget()

    def add(self, record: Measured) -> None:
        """Store a record, or let it wait: then it is on the disk all the same."""
        if not self.waiting:
            try:
                store_together([(self, record)])
            except StoreBusyError:
                self.postpone(record)
            return
        self.postpone(record)
        if time.monotonic() - self.tried_at > SECONDS_BETWEEN_TRIES:
            self.settle_in_hurry()

    def postpone(self, record: Measured) -> None:
        """Let a record wait on the disk until the store can be had."""
        if not self.waiting:
            self.tell(
                f"{self.run.name}: the store {self.store.label} cannot be had; training goes on, and what it "
                f"measures waits in {self.path}"
            )
        self._append(record)

    def settle_in_hurry(self) -> bool:
        """Store what waits if the store can be had at this moment; tells whether nothing waits any more."""
        with hurry(), suppress(StoreBusyError):
            self.settle()
        return not self.waiting

    def settle(self) -> None:
        """Store what waits; raises `StoreBusyError` when the store cannot be had."""
        if not self.waiting:
            return
        records = list_pending(self.store, self.run)
        self.tried_at = time.monotonic()
        try:
            self._store_patiently(records)
        except StoreBusyError as error:
            raise StoreBusyError(
                f"{str(error).splitlines()[0]}\n{_count(records)} of {self.run.name} not stored yet: {self.path}\n"
                f"{self._resuming()} stores them when the store can be had"
            ) from error
        self._forget()
        self.tell(f"{self.run.name}: {_count(records)} stored that had been waiting")

    def _resuming(self) -> str:
        name = self.run.name
        if self.run.origin == "trained":
            return f"`ncdiag train --resume {name}{store_option(self.store)}`"
        return f"`ncdiag.track({name!r}, resume=True)`, with all else that was said of the run,"

    def _insert(self, connection: Connection, record: Measured) -> None:
        if isinstance(record, EpochRecord):
            insert_epoch(connection, self.run.id, record)
        else:
            insert_intervention(connection, self.run.id, record)

    @retried
    def _store_patiently(self, records: Sequence[Measured]) -> None:
        with self.store.write() as connection:
            fence(connection, self.run.id, self.owner)
            for record in records:
                self._insert(connection, record)

    def _append(self, record: Measured) -> None:
        kind = "epoch" if isinstance(record, EpochRecord) else "intervention"
        line = canonical_json({"run": self.run.identity, "kind": kind, "row": measured_columns(record)})
        try:
            with self.path.open("ab" if self.waiting else "wb") as file:
                file.write(f"{line}\n".encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _unwritable(self.path, error) from error
        if not self.waiting:
            self.tried_at = time.monotonic()
        self.waiting += 1

    def _forget(self) -> None:
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        self.waiting = 0


def store_together(records: Sequence[tuple[Recorder, Measured]]) -> None:
    """Store records of runs of one store for which none waits, in one transaction; raises what prevents it.

    Where that is a request to stop, heard while the store was waited for, the records wait on the disk.
    """
    if not records:
        return
    try:
        with records[0][0].store.write() as connection:
            for recorder in dict.fromkeys(recorder for recorder, _ in records):
                fence(connection, recorder.run.id, recorder.owner)
            for recorder, record in records:
                recorder._insert(connection, record)
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop.__context__, StoreBusyError):
            for recorder, record in records:
                recorder._append(record)
        raise


def _unwritable(path: Path, error: OSError) -> StoreError:
    return StoreError(f"the file {path} cannot be used: {error.strerror}.\nCheck the disk and the permissions")


def _count(records: Sequence[Measured]) -> str:
    return counted(sum(isinstance(record, EpochRecord) for record in records), "epoch")
