"""What was measured, without the time it took: that is what must be the same however a run came about."""

from dataclasses import replace
from pathlib import Path

from ncdiag.domain.records import EpochRecord, Run
from ncdiag.errors import StoreError
from ncdiag.store.engine import open_store
from ncdiag.store.epochs import list_epochs
from ncdiag.store.handle import Store
from ncdiag.store.runs import list_runs


def rows(store: Store, run: Run) -> list[EpochRecord]:
    """Give the measurements of a run."""
    return [replace(record, seconds=None) for record in list_epochs(store, run.id)]


def rows_by_key(path: Path) -> dict[str, list[EpochRecord]]:
    """Give the measurements of all runs of a store, by their keys; a store that is not there yet has none."""
    try:
        with open_store(str(path)) as store:
            return {run.key: rows(store, run) for run in list_runs(store)}
    except StoreError:
        return {}
