"""The tables, as SQLAlchemy sees them; migrations/ makes them, and a test compares the two.

Times are in UTC and come from the clock of the database. A float column holds finite numbers only: SQLite turns NaN
into NULL, so the name of a value that is NaN or infinite goes into `nonfinite` (see `ncdiag.store.rows`), and NULL
alone means that nothing was measured.
"""

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement

from ncdiag.domain.records import EPOCH_COLUMNS, RunStatus
from ncdiag.domain.spec import canonical_json

# The newest file in migrations/versions. Kept here so that opening a store that is up to date never imports alembic.
REVISION = "0002"


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time, always aware and in UTC; SQLite gives it back without its zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the zone back."""
        return value and (value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC))


class CanonicalJson(TypeDecorator[Any]):
    """JSON as text in its canonical form, which sqlite3 and pandas users read without further ado."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Write the canonical text; None stays NULL."""
        return None if value is None else canonical_json(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """Read the text."""
        return None if value is None else json.loads(value)


class UtcNow(FunctionElement[datetime]):
    """The clock of the database, which is the same for every process that shares the store."""

    type = UtcDateTime()
    inherit_cache = True


@compiles(UtcNow)
def _now(element: UtcNow, compiler: SQLCompiler, **kw: Any) -> str:
    return "CURRENT_TIMESTAMP"


@compiles(UtcNow, "sqlite")
def _sqlite_now(element: UtcNow, compiler: SQLCompiler, **kw: Any) -> str:
    return "strftime('%Y-%m-%d %H:%M:%f', 'now')"  # CURRENT_TIMESTAMP of SQLite has whole seconds only


_STORED_STATUSES = ", ".join(f"'{status}'" for status in RunStatus if status is not RunStatus.LOST)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

runs = Table(
    "runs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(128), nullable=False, unique=True),
    Column("key", String(64), nullable=False, unique=True),
    Column("origin", String(16), nullable=False),
    Column("status", String(16), nullable=False),
    Column("reason", Text),
    Column("source", Text),
    Column("arch", Text),
    Column("depth", Integer),
    Column("width", Double),
    Column("activation", Text),
    Column("dataset", Text),
    Column("train_size", Integer),
    Column("optimizer", Text),
    Column("lr", Double),
    Column("momentum", Double),
    Column("weight_decay", Double),
    Column("schedule", Text),
    Column("batch_size", Integer),
    Column("seed", Integer),
    Column("phases", Text),
    Column("intervention", Text),
    Column("epochs_planned", Integer),
    Column("epochs_done", Integer, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("device", Text),
    Column("data_sha256", String(64)),
    Column("config", CanonicalJson, nullable=False),
    Column("data", CanonicalJson, nullable=False),
    Column("environment", CanonicalJson, nullable=False),
    Column("fingerprint", CanonicalJson, nullable=False),
    Column("inexact", Boolean, nullable=False),
    Column("owner", Text),
    Column("host", Text),
    Column("pid", Integer),
    Column("heartbeat_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    CheckConstraint("origin IN ('trained', 'imported')", name="origin"),
    CheckConstraint(f"status IN ({_STORED_STATUSES})", name="status"),
    CheckConstraint("(status = 'running') = (owner IS NOT NULL)", name="owner"),
    CheckConstraint("epochs_done >= 0", name="epochs_done"),
    Index(None, "status"),
    Index(None, "arch", "dataset"),
    # The id of a removed run is never given again: its name and its folder would mean another experiment.
    sqlite_autoincrement=True,
)

_EPOCH_TYPES = {"epoch": Integer, "phase": Integer, "loss": Text}

epochs = Table(
    "epochs",
    metadata,
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    *(Column(name, _EPOCH_TYPES.get(name, Double), primary_key=name == "epoch") for name in EPOCH_COLUMNS),
    Column("nonfinite", CanonicalJson),
    CheckConstraint("epoch >= 0", name="epoch"),
    sqlite_with_rowid=False,  # the rows of a run then lie together, in order, without a second index
)

interventions = Table(
    "interventions",
    metadata,
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("alpha", Double, nullable=False),
    Column("compensate_head", Boolean, nullable=False),
    Column("feature_norm_before", Double),
    Column("feature_norm_after", Double),
    Column("nonfinite", CanonicalJson),
    CheckConstraint("epoch >= 0", name="epoch"),
    CheckConstraint("alpha > 0", name="alpha"),
    sqlite_with_rowid=False,
)

sweeps = Table(
    "sweeps",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(128), nullable=False, unique=True),
    Column("key", String(64), nullable=False, unique=True),
    Column("config", CanonicalJson, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    sqlite_autoincrement=True,
)

sweep_points = Table(
    "sweep_points",
    metadata,
    Column("sweep_id", ForeignKey("sweeps.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), nullable=False, index=True),
    CheckConstraint("position >= 0", name="position"),
    sqlite_with_rowid=False,
)
