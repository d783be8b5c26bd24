"""The measurements of a run: one row per evaluated epoch.

A row and the run's totals are committed together, and only for the owner of the run. Appending a row that is there
already changes nothing, so a process that does not know whether its last commit arrived simply repeats it.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, case, delete, exists, func, insert, literal, select, update

from ncdiag.domain.records import EpochRecord, InterventionRecord
from ncdiag.store import schema
from ncdiag.store.handle import Store
from ncdiag.store.rows import EPOCH_SELECTION, chunked, measured_columns, to_epoch


def insert_epoch(connection: Connection, run_id: int, record: EpochRecord) -> None:
    """Store a record inside a write that `leases.fence` has begun; one that is there already stays as it is."""
    epochs, runs = schema.epochs, schema.runs
    # Nobody can add the row in between: the fence has locked the run until the commit.
    there = exists().where(epochs.c.run_id == run_id, epochs.c.epoch == record.epoch)
    if connection.scalar(select(there)):
        return
    columns = measured_columns(record)
    connection.execute(insert(epochs).values(run_id=run_id, **columns))
    connection.execute(
        update(runs)
        .where(runs.c.id == run_id)
        .values(
            epochs_done=case((runs.c.epochs_done < record.epoch, record.epoch), else_=runs.c.epochs_done),
            seconds=runs.c.seconds + (columns["seconds"] or 0.0),
        )
    )


def list_epochs(store: Store, run_id: int) -> list[EpochRecord]:
    """Give the stored records of a run in the order of their epochs; none for an unknown id."""
    epochs = schema.epochs
    query = select(*EPOCH_SELECTION).where(epochs.c.run_id == run_id).order_by(epochs.c.epoch)
    with store.read() as connection:
        return [to_epoch(row) for row in connection.execute(query).mappings().all()]


def first_undone(after: int) -> dict[type, int]:
    """Give, by kind of record, the first epoch whose records go when a run goes back to the state after an epoch.

    An intervention after epoch e is carried out before epoch e + 1, and so again.
    """
    return {EpochRecord: after + 1, InterventionRecord: after}


def discard_epochs(connection: Connection, run_id: int, after: int) -> None:
    """Delete, inside a write, the records and interventions of a run that came after an epoch."""
    epochs, runs = schema.epochs, schema.runs
    tables = {EpochRecord: epochs, InterventionRecord: schema.interventions}
    for kind, first in first_undone(after).items():
        table = tables[kind]
        connection.execute(delete(table).where(table.c.run_id == run_id, table.c.epoch >= first))
    kept = epochs.c.run_id == run_id
    seconds = select(func.coalesce(func.sum(epochs.c.seconds), literal(0.0))).where(kept).scalar_subquery()
    last = select(func.coalesce(func.max(epochs.c.epoch), 0)).where(kept).scalar_subquery()
    connection.execute(update(runs).where(runs.c.id == run_id).values(seconds=seconds, epochs_done=last))


def count_measured(store: Store, column: str, run_ids: Sequence[int]) -> dict[int, int]:
    """Give, by run id, in how many epochs of some runs a column holds a finite number; those without are missing."""
    epochs = schema.epochs
    query = select(epochs.c.run_id, func.count()).where(epochs.c[column].is_not(None)).group_by(epochs.c.run_id)
    with store.read() as connection:
        return {
            row_id: number
            for some in chunked(run_ids)
            for row_id, number in connection.execute(query.where(epochs.c.run_id.in_(some)))
        }
