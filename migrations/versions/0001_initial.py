"""The first schema: runs, their epochs and interventions, sweeps, and the public views.

Why: what a training process measured has to outlive it, and to be readable by others.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

METRICS = (
    "feature_norm",
    "feature_norm_centred",
    "nc1",
    "nc1_pinv",
    "nc1_rank",
    "cdnv",
    "nc2_equinorm",
    "nc2_equiangular",
    "nc2_etf",
    "nc3",
    "nc3_duality",
    "nc4",
    "weight_norm",
)

# A stored time is in UTC.
TIME = sa.DateTime(timezone=True)

PUBLIC_RUNS = """
CREATE VIEW public_runs AS SELECT
    name AS run, status, arch, depth, width, activation, dataset, train_size, optimizer, lr, weight_decay, batch_size,
    seed, phases, epochs_done, device, started_at, seconds,
    id AS run_id, key, origin, reason, source, momentum, schedule, intervention, epochs_planned, data_sha256, inexact,
    created_at, finished_at, config, data, environment, fingerprint
FROM runs
"""

PUBLIC_EPOCHS = """
CREATE VIEW public_epochs AS SELECT
    r.name AS run, e.epoch, e.phase, e.loss, e.lr, e.seconds, e.train_loss, e.train_accuracy, e.test_accuracy,
    e.feature_norm, e.nc1, e.nc1_pinv, e.nc2_equinorm, e.nc2_equiangular, e.nc3, e.nc4, e.weight_norm,
    e.feature_norm_centred, e.nc1_rank, e.cdnv, e.nc2_etf, e.nc3_duality, e.nonfinite, e.run_id
FROM epochs AS e JOIN runs AS r ON r.id = e.run_id
"""


def upgrade() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("origin", sa.String(16), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("source", sa.Text),
        sa.Column("arch", sa.Text),
        sa.Column("depth", sa.Integer),
        sa.Column("width", sa.Double),
        sa.Column("activation", sa.Text),
        sa.Column("dataset", sa.Text),
        sa.Column("train_size", sa.Integer),
        sa.Column("optimizer", sa.Text),
        sa.Column("lr", sa.Double),
        sa.Column("momentum", sa.Double),
        sa.Column("weight_decay", sa.Double),
        sa.Column("schedule", sa.Text),
        sa.Column("batch_size", sa.Integer),
        sa.Column("seed", sa.Integer),
        sa.Column("phases", sa.Text),
        sa.Column("intervention", sa.Text),
        sa.Column("epochs_planned", sa.Integer),
        sa.Column("epochs_done", sa.Integer, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("device", sa.Text),
        sa.Column("data_sha256", sa.String(64)),
        sa.Column("config", sa.Text, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("environment", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("inexact", sa.Boolean, nullable=False),
        sa.Column("owner", sa.Text),
        sa.Column("host", sa.Text),
        sa.Column("pid", sa.Integer),
        sa.Column("heartbeat_at", TIME),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("started_at", TIME),
        sa.Column("finished_at", TIME),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
        sa.UniqueConstraint("name", name=op.f("uq_runs_name")),
        sa.UniqueConstraint("key", name=op.f("uq_runs_key")),
        sa.CheckConstraint("origin IN ('trained', 'imported')", name=op.f("ck_runs_origin")),
        sa.CheckConstraint(
            "status IN ('pending', 'running', 'interrupted', 'done', 'diverged', 'dead', 'failed')",
            name=op.f("ck_runs_status"),
        ),
        sa.CheckConstraint("(status = 'running') = (owner IS NOT NULL)", name=op.f("ck_runs_owner")),
        sa.CheckConstraint("epochs_done >= 0", name=op.f("ck_runs_epochs_done")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_runs_status"), "runs", ["status"])
    op.create_index(op.f("ix_runs_arch_dataset"), "runs", ["arch", "dataset"])
    op.create_table(
        "epochs",
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("phase", sa.Integer),
        sa.Column("loss", sa.Text),
        sa.Column("lr", sa.Double),
        sa.Column("seconds", sa.Double),
        sa.Column("train_loss", sa.Double),
        sa.Column("train_accuracy", sa.Double),
        sa.Column("test_accuracy", sa.Double),
        *(sa.Column(metric, sa.Double) for metric in METRICS),
        sa.Column("nonfinite", sa.Text),
        sa.PrimaryKeyConstraint("run_id", "epoch", name=op.f("pk_epochs")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_epochs_run_id_runs"), ondelete="CASCADE"),
        sa.CheckConstraint("epoch >= 0", name=op.f("ck_epochs_epoch")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "interventions",
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("alpha", sa.Double, nullable=False),
        sa.Column("compensate_head", sa.Boolean, nullable=False),
        sa.Column("feature_norm_before", sa.Double),
        sa.Column("feature_norm_after", sa.Double),
        sa.Column("nonfinite", sa.Text),
        sa.PrimaryKeyConstraint("run_id", "epoch", name=op.f("pk_interventions")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_interventions_run_id_runs"), ondelete="CASCADE"),
        sa.CheckConstraint("epoch >= 0", name=op.f("ck_interventions_epoch")),
        sa.CheckConstraint("alpha > 0", name=op.f("ck_interventions_alpha")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "sweeps",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("config", sa.Text, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sweeps")),
        sa.UniqueConstraint("name", name=op.f("uq_sweeps_name")),
        sa.UniqueConstraint("key", name=op.f("uq_sweeps_key")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "sweep_points",
        sa.Column("sweep_id", sa.Integer, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("sweep_id", "position", name=op.f("pk_sweep_points")),
        sa.ForeignKeyConstraint(
            ["sweep_id"], ["sweeps.id"], name=op.f("fk_sweep_points_sweep_id_sweeps"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_sweep_points_run_id_runs"), ondelete="CASCADE"),
        sa.CheckConstraint("position >= 0", name=op.f("ck_sweep_points_position")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_sweep_points_run_id"), "sweep_points", ["run_id"])
    op.execute(PUBLIC_RUNS)
    op.execute(PUBLIC_EPOCHS)


def downgrade() -> None:
    op.execute("DROP VIEW public_epochs")
    op.execute("DROP VIEW public_runs")
    for table in ("sweep_points", "sweeps", "interventions", "epochs", "runs"):
        op.drop_table(table)
