"""Domain values to columns and back; no row of a table leaves the store."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, RowMapping, select

from ncdiag.domain.records import (
    EPOCH_COLUMNS,
    IMPORT_FIELDS,
    EpochRecord,
    InterventionRecord,
    Run,
    RunStatus,
    nonfinite_fields,
)
from ncdiag.domain.spec import RunSpec
from ncdiag.domain.words import as_unicode
from ncdiag.store import schema
from ncdiag.store.handle import Store
from ncdiag.store.leases import is_lost

T = TypeVar("T")

# SQLite takes a limited number of values in one statement: 999 in old versions.
_CHUNK = 500
# `dataclasses.fields` looks them up anew for every record.
_FIELDS: dict[type, tuple[str, ...]] = {
    kind: tuple(field.name for field in fields(kind)) for kind in (EpochRecord, InterventionRecord)
}


def chunked(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut a sequence into pieces that fit into one statement."""
    return (items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK))


def measured_columns(record: EpochRecord | InterventionRecord) -> dict[str, Any]:
    """Give the columns of a record: NULL where a value is NaN or infinite, and its name and kind in `nonfinite`."""
    values = {name: getattr(record, name) for name in _FIELDS[type(record)]}
    strange = nonfinite_fields(values)
    return {**values, **dict.fromkeys(strange), "nonfinite": strange or None}


def measured_values(row: Mapping[str, Any] | RowMapping) -> dict[str, Any]:
    """Give the values of a record from its columns, as they were measured."""
    restored = {name: float(word) for name, word in (row["nonfinite"] or {}).items()}
    return {name: value for name, value in row.items() if name not in ("run_id", "nonfinite")} | restored


def to_epoch(row: RowMapping) -> EpochRecord:
    """Give the record of an epoch from a row that holds all of `EPOCH_COLUMNS`, `nonfinite` and perhaps `run_id`."""
    return EpochRecord(**measured_values(row))


def spec_columns(spec: RunSpec, *, name: str | None, data: Mapping[str, Any] | None) -> dict[str, Any]:
    """Give the columns of a new run that is to be trained; without a name its key stands in until it has an id."""
    return {
        **_new_columns(spec.key, name),
        "origin": "trained",
        **{column: value for column, value in spec.settings().items() if column in IMPORT_FIELDS},
        "epochs_planned": spec.epochs,
        "data_sha256": spec.data.sha256,
        "config": spec.to_dict(),
        "data": dict(data or {}),
    }


def described_columns(key: str, *, name: str | None, source: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Give the columns of a new run that ncdiag does not train, from what was said of it; it is not at its end yet."""
    return {
        **_new_columns(key, name),
        "origin": "imported",
        "source": printable(source),
        **{field: config.get(field) for field in IMPORT_FIELDS},
        "config": dict(config),
    }


def _new_columns(key: str, name: str | None) -> dict[str, Any]:
    return {
        "name": name or key,
        "key": key,
        "status": RunStatus.PENDING,
        "epochs_done": 0,
        "seconds": 0.0,
        "data": {},
        "environment": {},
        "fingerprint": {},
        "inexact": False,
    }


def status_of(store: Store, row: Mapping[str, Any] | RowMapping) -> RunStatus:
    """Give the status that is true now: a row that says `running` is lost once nobody trains the run any more.

    The row holds `id`, `status`, `owner`, `host`, `heartbeat_at`, and as `clock` the time of the database.
    """
    status = RunStatus(row["status"])
    if status is RunStatus.RUNNING and is_lost(
        store, row["id"], owner=row["owner"], host=row["host"], heartbeat_at=row["heartbeat_at"], clock=row["clock"]
    ):
        return RunStatus.LOST
    return status


_RUN_FIELDS = tuple(field.name for field in fields(Run))


def select_runs(store: Store, connection: Connection, *where: ColumnElement[bool]) -> list[Run]:
    """Read the runs that fulfil every condition, in the order of their ids."""
    query = select(schema.runs, schema.UtcNow().label("clock")).where(*where).order_by(schema.runs.c.id)
    rows = connection.execute(query).mappings().all()
    return [Run(**{name: row[name] for name in _RUN_FIELDS} | {"status": status_of(store, row)}) for row in rows]


def runs_by_key(store: Store, connection: Connection, keys: Sequence[str]) -> dict[str, Run]:
    """Read the runs that have one of the keys; keys without a run are left out."""
    return {
        run.key: run
        for some in chunked(list(dict.fromkeys(keys)))
        for run in select_runs(store, connection, schema.runs.c.key.in_(some))
    }


def printable(text: str) -> str:
    """Spell out what no database can store as text: the bytes of a file name that are not UTF-8, and NUL."""
    return as_unicode(text).replace("\0", "\\x00")


EPOCH_SELECTION = [schema.epochs.c[name] for name in (*EPOCH_COLUMNS, "nonfinite")]
