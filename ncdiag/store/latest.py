"""The newest measurement of every run, for a list of runs."""

from collections.abc import Sequence

from sqlalchemy import select

from ncdiag.domain.records import EpochRecord
from ncdiag.store import schema
from ncdiag.store.handle import Store
from ncdiag.store.rows import EPOCH_SELECTION, chunked, to_epoch


def list_latest(store: Store, run_ids: Sequence[int]) -> dict[int, EpochRecord]:
    """Give the last stored record of each of these runs, by the run's id; a run without one is missing."""
    epochs, runs = schema.epochs, schema.runs
    # The primary key finds each row, however long the runs are.
    newest = (epochs.c.run_id == runs.c.id) & (epochs.c.epoch == runs.c.epochs_done)
    query = select(epochs.c.run_id, *EPOCH_SELECTION).join(runs, newest)
    with store.read() as connection:
        return {
            row["run_id"]: to_epoch(row)
            for some in chunked(run_ids)
            for row in connection.execute(query.where(runs.c.id.in_(some))).mappings().all()
        }
