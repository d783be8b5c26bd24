"""Trajectories that somebody else logged, as runs among the others."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert

from ncdiag.domain.records import FINAL, ImportedRun, Run
from ncdiag.errors import SpecError
from ncdiag.store import schema
from ncdiag.store.handle import Store
from ncdiag.store.location import store_option
from ncdiag.store.rows import described_columns, measured_columns, printable, runs_by_key
from ncdiag.store.runs import check_name, insert_runs
from ncdiag.store.shielding import hear
from ncdiag.store.waiting import retried


@dataclass(frozen=True, kw_only=True)
class Imported:
    """The runs that an import ends with, in the order in which they came, and the keys of those that it made."""

    runs: list[Run]
    new: frozenset[str]


@retried
def import_runs(store: Store, runs: Sequence[ImportedRun]) -> Imported:
    """Store runs with their epochs, all of them or none; content that is known has its run already.

    Of runs with the same content the first is stored, under its name.

    Raises `SpecError` for a name that cannot be used or belongs to another run, and for a run that this store has
    begun to train.
    """
    keys = [run.key for run in runs]
    for run in runs:
        if run.name is not None:
            check_name(run.name)
    with store.write() as connection:
        known = runs_by_key(store, connection, keys)
        trained = (run for run in known.values() if run.origin == "trained")
        if begun := next((run.name for run in trained if run.status not in FINAL), None):
            raise SpecError(
                f"{begun} is one of these runs, and is not at its end here; nothing was imported.\n"
                f"Train it, or remove it with `ncdiag runs rm {begun}{store_option(store)}`, and import again"
            )
        new: dict[str, ImportedRun] = {}
        for key, run in zip(keys, runs, strict=True):
            if key not in known:
                new.setdefault(key, run)
        insert_runs(store, connection, [_run_columns(key, run) for key, run in new.items()])
        made = runs_by_key(store, connection, list(new))
        for key, run in new.items():  # one at a time: the rows of a million epochs at once would take gigabytes
            hear()
            rows = [{"run_id": made[key].id, **measured_columns(record)} for record in run.epochs]
            connection.execute(insert(schema.epochs), rows)
    stored = known | made
    return Imported(runs=[stored[key] for key in keys], new=frozenset(new))


def _total(seconds: Sequence[float]) -> float:
    try:
        return math.fsum(seconds)
    except OverflowError:
        return sys.float_info.max


def _run_columns(key: str, run: ImportedRun) -> dict[str, Any]:
    seconds = [record.seconds for record in run.epochs if record.seconds is not None and math.isfinite(record.seconds)]
    columns = described_columns(key, name=run.name, source=run.source, config=run.config) | {
        "status": run.status,
        "reason": run.reason and printable(run.reason),
        "epochs_done": run.epochs[-1].epoch,
        "seconds": _total(seconds),
    }
    return columns | {"config": run.spec.to_dict()} if run.spec else columns
