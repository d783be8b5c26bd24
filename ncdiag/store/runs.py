"""Runs: making, finding, renaming and removing them, and the changes of their status.

A change of status is a guarded update that says whether it was this caller who made it; losing is normal, since
several processes work on one sweep.
"""

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, String, Table, cast, delete, func, insert, select, update

from ncdiag.domain.records import Run, RunStatus
from ncdiag.domain.run_names import RULE, is_numbered, is_run_name, numbered
from ncdiag.domain.spec import RunSpec
from ncdiag.domain.words import nearest
from ncdiag.errors import SpecError, UnknownRunError, UnsafeError
from ncdiag.store import schema
from ncdiag.store.epochs import discard_epochs
from ncdiag.store.handle import Store
from ncdiag.store.leases import beat, fence, this_host
from ncdiag.store.location import store_option
from ncdiag.store.rows import chunked, printable, runs_by_key, select_runs, spec_columns, status_of
from ncdiag.store.shielding import shielded
from ncdiag.store.waiting import retried

# What failed may have had its cause outside: a full disk, data that was not there.
_CLAIMABLE = (RunStatus.PENDING, RunStatus.INTERRUPTED, RunStatus.LOST, RunStatus.FAILED)


def check_name(name: str, *, kind: str = "run", own: str | None = None) -> None:
    """Raise `SpecError` unless a user may give the name to a run or sweep; `own` is the one it has by default.

    Names such as run-7 stay with the run of that id, which may be stored only later.
    """
    if not is_run_name(name):
        raise SpecError(f"the {kind} name {name[:40]!r} cannot be used; expected {RULE},\nsuch as mlp-wd1e-4")
    if is_numbered(name, kind) and name != own:
        raise SpecError(f"the name {name} is kept for the {kind} that gets this number by itself; choose another name")


@retried
def add_run(
    store: Store, spec: RunSpec, *, name: str | None = None, data: Mapping[str, Any] | None = None
) -> tuple[Run, bool]:
    """Store a run that is to be trained, and tell whether it is new: a known `spec.key` gives the run that has it.

    Without a name it is called `run-<id>`. `data` says where the data is, in plain values, and is also taken for a
    known run: its folder may have moved. Raises `SpecError` for a name that cannot be used or belongs to another run.
    """
    if name is not None:
        check_name(name)
    with store.write() as connection:
        known = runs_by_key(store, connection, [spec.key])
        if known:
            remember_data(connection, known[spec.key], data)
        else:
            insert_runs(store, connection, [spec_columns(spec, name=name, data=data)])
        return runs_by_key(store, connection, [spec.key])[spec.key], not known


def insert_runs(store: Store, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert new runs inside a write, all columns given except the times; one named by its key becomes `run-<id>`.

    Raises `SpecError` when a name belongs to another run, or to two of these.
    """
    runs = schema.runs
    names = [row["name"] for row in rows]
    if twice := next((name for name, count in Counter(names).items() if count > 1), None):
        raise SpecError(f"the name {twice} is given to two runs; give each a name of its own")
    for some in chunked(names):
        if taken := connection.scalar(select(runs.c.name).where(runs.c.name.in_(some)).limit(1)):
            raise SpecError(
                f"the name {taken} belongs to another run; choose another, or rename that one first,\n"
                f"or remove it with `ncdiag runs rm {taken}{store_option(store)}`"
            )
    if rows:
        connection.execute(insert(runs).values(created_at=schema.UtcNow()), [dict(row) for row in rows])
    name_by_number(connection, runs, runs.c.name == runs.c.key)


def name_by_number(connection: Connection, table: Table, which: ColumnElement[bool]) -> None:
    """Give some runs, or sweeps, of a table the name that a store gives by itself, inside a write."""
    name = numbered("", table.name.removesuffix("s")) + cast(table.c.id, String)
    connection.execute(update(table).where(which).values(name=name))


def remember_data(connection: Connection, run: Run, data: Mapping[str, Any] | None) -> None:
    """Add to what a stored run knows of its data, inside a write; what is said anew replaces what was."""
    known = run.data | dict(data or {})
    if known != run.data:
        connection.execute(update(schema.runs).where(schema.runs.c.id == run.id).values(data=known))


@retried
def move_data(store: Store, run: Run, data: Mapping[str, Any]) -> Run:
    """Store where the data of a run lies now, in plain values, and give the run with that."""
    with store.write() as connection:
        remember_data(connection, run, data)
    return replace(run, data=run.data | dict(data))


def find_runs(store: Store, keys: Sequence[str]) -> dict[str, Run]:
    """Give the runs that have one of the keys (`RunSpec.key`), by their key; keys without a run are left out."""
    with store.read() as connection:
        return runs_by_key(store, connection, keys)


def get_run(store: Store, name: str) -> Run:
    """Give the run of that name; raises `UnknownRunError`, which mentions the nearest name there is."""
    with store.read() as connection:
        return _named(store, connection, [name])[0]


def get_run_by_id(store: Store, run_id: int) -> Run:
    """Give the run of that id, whatever it is called by now; raises `UnknownRunError` if it was removed."""
    found = list_runs(store, [run_id])
    if not found:
        raise UnknownRunError(f"run {run_id} is no longer in the store {store.label}; it was removed meanwhile")
    return found[0]


def _is_text(name: str) -> bool:
    """Tell whether a store could hold it: what a command line gives that is not UTF-8 cannot even be looked for."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _named(store: Store, connection: Connection, names: Sequence[str]) -> list[Run]:
    possible = [name for name in names if _is_text(name)]
    found = {
        run.name: run
        for some in chunked(possible)
        for run in select_runs(store, connection, schema.runs.c.name.in_(some))
    }
    for name in names:
        if name not in found:
            # The newest are enough to catch a slip of the finger, and keep the search short in a large store.
            newest = select(schema.runs.c.name).order_by(schema.runs.c.id.desc()).limit(2000)
            meant = numbered(name) if name.isdecimal() else name
            raise UnknownRunError(
                f"no run {name[:128]!r} in the store {store.label}{nearest(meant, connection.scalars(newest))}.\n"
                "`ncdiag runs ls` lists the runs; another store is given with --store PATH"
            )
    return [found[name] for name in names]


def list_runs(store: Store, run_ids: Sequence[int] | None = None) -> list[Run]:
    """Give all runs, or those of the ids that exist, in the order of their ids."""
    with store.read() as connection:
        if run_ids is None:
            return select_runs(store, connection)
        return [
            run
            for some in chunked(sorted(set(run_ids)))
            for run in select_runs(store, connection, schema.runs.c.id.in_(some))
        ]


def list_ids_like(store: Store, run: Run, columns: Sequence[str]) -> list[int]:
    """Give the ids of the runs that agree with a run in all of these columns, its own among them, rising."""
    runs = schema.runs
    alike = [runs.c[column].is_not_distinct_from(getattr(run, column)) for column in columns]
    with store.read() as connection:
        return list(connection.scalars(select(runs.c.id).where(*alike).order_by(runs.c.id)))


def list_newest_runs(store: Store, *, number: int, before: int | None = None) -> list[Run]:
    """Give the newest runs, those with the largest ids below `before`, in the order of their ids; reads no others."""
    ids = schema.runs.c.id
    query = select(ids).order_by(ids.desc()).limit(number)
    with store.read() as connection:
        chosen = connection.scalars(query if before is None else query.where(ids < before)).all()
        return select_runs(store, connection, ids.between(chosen[-1], chosen[0])) if chosen else []


@retried
def claim_run(
    store: Store,
    run_id: int,
    *,
    owner: str,
    device: str | None,
    environment: Mapping[str, Any],
    fingerprint: Mapping[str, Any] | None = None,
    inexact: bool = False,
    discard_after: int | None = None,
    extend: bool = False,
) -> bool:
    """Make `owner` the one who trains a run, and tell whether it won: False when another has it, or it is final.

    Takes a run that is pending, interrupted, lost or failed, and one that is done to `extend` it, unless epochs of it
    would be deleted. Call it while holding `leases.hold_lease` for the same owner, else the run is lost from the start.
    `environment`, and `fingerprint` if given, replace what is stored of them. In the same transaction `inexact` marks
    the run for good, and the epochs after `discard_after` are deleted: rows of one environment never stand under the
    fingerprint of another.
    """
    runs = schema.runs
    changes: dict[str, Any] = {"environment": dict(environment)}
    if fingerprint is not None:
        changes["fingerprint"] = dict(fingerprint)
    if inexact:
        changes["inexact"] = True
    with store.write() as connection:
        seen = connection.execute(select(runs, schema.UtcNow().label("clock")).where(runs.c.id == run_id)).mappings()
        row = seen.one_or_none()
        if row is None:
            return False
        longer = extend and (discard_after is None or discard_after >= row["epochs_done"])
        claimable = (*_CLAIMABLE, RunStatus.DONE) if longer else _CLAIMABLE
        if status_of(store, row) not in claimable:
            return False
        unchanged = (runs.c.id == run_id) & (runs.c.status == row["status"])
        unchanged &= runs.c.owner.is_not_distinct_from(row["owner"])
        claimed = connection.execute(
            update(runs)
            .where(unchanged)
            .values(
                status=RunStatus.RUNNING,
                reason=None,
                owner=owner,
                host=this_host(),
                pid=os.getpid(),
                device=device,
                heartbeat_at=schema.UtcNow(),
                started_at=func.coalesce(runs.c.started_at, schema.UtcNow()),
                finished_at=None,
                **changes,
            )
        )
        if claimed.rowcount == 1 and discard_after is not None:
            discard_epochs(connection, run_id, discard_after)
        return claimed.rowcount == 1


@retried
def heartbeat(store: Store, run_ids: Sequence[int], owner: str) -> int:
    """Say that `owner` still trains these runs, and give how many are still its own. Every 30 s is often enough."""
    with store.write() as connection:
        return sum(beat(connection, some, owner) for some in chunked(run_ids))


@retried
def describe_data(store: Store, run_id: int, *, owner: str, sha256: str, sizes: Mapping[str, Any]) -> None:
    """Store what a run is trained on: the SHA-256 of the data, its sizes and other plain values.

    Raises `TakenOverError`, a `StoreError`, when the run is no longer trained by `owner`.
    """
    runs = schema.runs
    with store.write() as connection:
        fence(connection, run_id, owner)
        known = connection.execute(select(runs.c.data).where(runs.c.id == run_id)).scalar_one()
        changed = update(runs).where(runs.c.id == run_id).values(data_sha256=sha256, data=known | dict(sizes))
        connection.execute(changed)


@retried
def finish_run(store: Store, run_id: int, *, owner: str, status: RunStatus, reason: str | None = None) -> bool:
    """Give up a run that `owner` trains, for good or until later; tells whether it was still its own.

    `status` is any that is stored except running; `pending` puts the run back for others to take. A run that has ended
    so already counts as its own: the answer to a first try may have been lost with the server.
    """
    runs = schema.runs
    reason = None if reason is None else printable(reason)
    with store.write() as connection:
        finished = connection.execute(
            update(runs)
            .where((runs.c.id == run_id) & (runs.c.owner == owner) & (runs.c.status == RunStatus.RUNNING))
            .values(
                status=status,
                reason=reason,
                owner=None,
                heartbeat_at=None,
                finished_at=schema.UtcNow(),
            )
        )
        if finished.rowcount == 1:
            return True
        so_already = (runs.c.id == run_id) & (runs.c.status == status) & runs.c.owner.is_(None)
        so_already &= runs.c.reason.is_not_distinct_from(reason)
        return connection.scalar(select(runs.c.id).where(so_already)) is not None


@retried
def rename_run(store: Store, name: str, new: str) -> Run:
    """Give a run another name. Raises `UnknownRunError`, or `SpecError` when the new name cannot be used."""
    runs = schema.runs
    with store.write() as connection:
        run = _named(store, connection, [name])[0]
        check_name(new, own=numbered(run.id))
        if connection.scalar(select(runs.c.id).where(runs.c.name == new, runs.c.id != run.id)):
            raise SpecError(f"the name {new} belongs to another run; choose another, or rename that one first")
        connection.execute(update(runs).where(runs.c.id == run.id).values(name=new))
        return replace(run, name=new)


@retried
def remove_runs(store: Store, names: Iterable[str]) -> list[Run]:
    """Delete runs with all that belongs to them, their folders included; gives what they were.

    All or none: raises `UnknownRunError` for a name without a run, `UnsafeError` when one is being trained.
    """
    with shielded():  # no command would find the folder of a run that is gone
        with store.write() as connection:
            removed = _named(store, connection, list(dict.fromkeys(names)))
            for run in removed:
                if run.status is RunStatus.RUNNING:
                    raise UnsafeError(f"{run.name} is being trained; stop the process that trains it, then remove it")
            for some in chunked([run.id for run in removed]):
                connection.execute(delete(schema.runs).where(schema.runs.c.id.in_(some)))
        for run in removed:
            shutil.rmtree(store.run_folder(run.id), ignore_errors=True)
    return removed
