"""Interventions that were carried out on a network in training, with the feature norm on both sides."""

from sqlalchemy import Connection, exists, insert, select

from ncdiag.domain.records import InterventionRecord
from ncdiag.store import schema
from ncdiag.store.handle import Store
from ncdiag.store.rows import measured_columns, measured_values


def insert_intervention(connection: Connection, run_id: int, record: InterventionRecord) -> None:
    """Store an intervention inside a write that `leases.fence` has begun; one of that epoch stays as it is."""
    table = schema.interventions
    there = exists().where(table.c.run_id == run_id, table.c.epoch == record.epoch)
    if not connection.scalar(select(there)):
        connection.execute(insert(table).values(run_id=run_id, **measured_columns(record)))


def list_interventions(store: Store, run_id: int) -> list[InterventionRecord]:
    """Give the interventions of a run in the order of their epochs."""
    table = schema.interventions
    query = select(table).where(table.c.run_id == run_id).order_by(table.c.epoch)
    with store.read() as connection:
        return [InterventionRecord(**measured_values(row)) for row in connection.execute(query).mappings().all()]
