"""Taking in the runs of another store: what was trained in slices, on several machines, becomes one store.

A run is known by its key, so the same run in two stores stays one run; of the two, the one that got further is kept,
with everything that was stored of it. Typing a sweep again then finds its points trained, wherever that was.
"""

import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from ncdiag.domain.records import FINAL, Run, RunStatus
from ncdiag.domain.run_names import numbered
from ncdiag.run_files import checkpoint_path, list_checkpoints, remove_unfinished, replacing
from ncdiag.store import schema
from ncdiag.store.handle import Store
from ncdiag.store.leases import hold_lease, new_owner
from ncdiag.store.recorder import PENDING
from ncdiag.store.rows import runs_by_key, select_runs
from ncdiag.store.runs import name_by_number
from ncdiag.store.shielding import hear
from ncdiag.store.waiting import retried


@dataclass(frozen=True, kw_only=True)
class Merged:
    """What became of the runs of another store, by the names that they have here.

    `new` were not known; `replaced` were known and less far; `kept` are at least as far here; `busy` are being
    trained here. `renamed` maps the name of a new run there to the one it got, because another run has the first.
    """

    new: tuple[str, ...]
    replaced: tuple[str, ...]
    kept: tuple[str, ...]
    busy: tuple[str, ...]
    renamed: Mapping[str, str]


@retried
def merge_store(store: Store, source: Store) -> Merged:
    """Take in the runs of `source`, all of them or none, and say what became of each; doing it again is safe.

    A run that was called by its number gets the next number here. One that was not ended keeps its checkpoints, and
    goes on from there. Sweeps are not taken in: the command that made one finds its runs.
    """
    with source.read() as theirs, store.write() as ours:
        found = select_runs(source, theirs)
        known = runs_by_key(store, ours, [run.key for run in found])
        better = {run.key for run in found if run.key not in known or _progress(run) > _progress(known[run.key])}
        busy = {key for key in better if key in known and known[key].status is RunStatus.RUNNING}
        taken = [run for run in found if run.key in better and run.key not in busy]
        for run in taken:
            hear()
            _take_row(ours, theirs, run, known.get(run.key))
        here = runs_by_key(store, ours, [run.key for run in taken])
        for run in taken:
            hear()
            _take_children(ours, theirs, run.id, here[run.key].id)
        name_by_number(ours, schema.runs, schema.runs.c.name == schema.runs.c.key)
        names = {key: run.name for key, run in runs_by_key(store, ours, list(here)).items()}
    for run in found:
        if run.status in FINAL:
            continue
        mine, there = here.get(run.key) or known[run.key], source.run_folder(run.id)
        if run.key in here or (_progress(run) == _progress(mine) and _lacks_newest(store.run_folder(mine.id), there)):
            _bring_files(store, there, mine)
    new = [run for run in taken if run.key not in known]
    return Merged(
        new=tuple(names[run.key] for run in new),
        replaced=tuple(names[run.key] for run in taken if run.key in known),
        kept=tuple(known[run.key].name for run in found if run.key not in better),
        busy=tuple(known[run.key].name for run in found if run.key in busy),
        renamed={run.name: names[run.key] for run in new if names[run.key] != run.name and not _is_numbered(run)},
    )


def _progress(run: Run) -> tuple[bool, int]:
    return run.status in FINAL, run.epochs_done


def _is_numbered(run: Run) -> bool:
    return run.name == numbered(run.id)


def _take_row(ours: Connection, theirs: Connection, run: Run, known: Run | None) -> None:
    """Insert the row of a run, or put it in the place of the one that is known; the key stands in for a new number."""
    runs = schema.runs
    row: dict[str, Any] = dict(theirs.execute(select(runs).where(runs.c.id == run.id)).mappings().one())
    del row["id"]
    if row["status"] == RunStatus.RUNNING:  # it is lost, or still being trained there; nobody trains it here
        row |= {"status": RunStatus.INTERRUPTED, "reason": "taken in from another store before it had ended"}
        row |= dict.fromkeys(("owner", "host", "pid", "heartbeat_at"))
    if known is not None:
        for table in (schema.epochs, schema.interventions):
            ours.execute(delete(table).where(table.c.run_id == known.id))
        ours.execute(update(runs).where(runs.c.id == known.id).values({**row, "name": known.name}))
        return
    taken = ours.scalar(select(runs.c.id).where(runs.c.name == run.name)) is not None
    ours.execute(insert(runs).values({**row, "name": run.key if taken or _is_numbered(run) else run.name}))


def _take_children(ours: Connection, theirs: Connection, there: int, here: int) -> None:
    """Copy the epochs and interventions of one run; a run at a time keeps memory small."""
    for table in (schema.epochs, schema.interventions):
        rows = theirs.execute(select(table).where(table.c.run_id == there)).mappings()
        if copied := [{**row, "run_id": here} for row in rows]:
            ours.execute(insert(table), copied)


def _bring_files(store: Store, there: Path, run: Run) -> None:
    """Put the checkpoints of a run in place of those that are here, and its epochs that wait to be stored.

    `run` is what it was when its row was taken in; one that went on here since then is left alone. The lock stays
    where it is. The newest checkpoint comes last, so that where it is, everything is.
    """
    here, brought = store.run_folder(run.id), _lasting_files(there)
    if not brought:
        return
    with hold_lease(store, run.id, new_owner()) as leased:
        if not leased or not _is_as_it_was(store, run):
            return
        remove_unfinished(here)
        for old in _lasting_files(here):
            old.unlink()
        for file in brought:
            # it may still be trained there, and have newer ones by now
            with suppress(FileNotFoundError), replacing(here / file.name) as unfinished:
                shutil.copyfile(file, unfinished)


def _lasting_files(folder: Path) -> list[Path]:
    return [*folder.glob(PENDING), *(checkpoint_path(folder, epoch) for epoch in list_checkpoints(folder))]


def _is_as_it_was(store: Store, run: Run) -> bool:
    with store.read() as connection:
        now = runs_by_key(store, connection, [run.key]).get(run.key)
    return now is not None and _progress(now) == _progress(run)


def _lacks_newest(here: Path, there: Path) -> bool:
    """Tell whether the newest checkpoint is there alone: whoever took the run in was killed before its files came."""
    ours, theirs = list_checkpoints(here), list_checkpoints(there)
    return bool(theirs) and (not ours or ours[-1] < theirs[-1])
