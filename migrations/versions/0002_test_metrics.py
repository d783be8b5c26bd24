"""What is measured on the test set: the loss, the feature norm and NC1.

Why: whether the features of new images collapse as well is a question of its own, and the pass over the test set is
made anyway.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

COLUMNS = ("test_loss", "test_feature_norm", "test_nc1")

PUBLIC_EPOCHS = """
CREATE VIEW public_epochs AS SELECT
    r.name AS run, e.epoch, e.phase, e.loss, e.lr, e.seconds, e.train_loss, e.train_accuracy, e.test_accuracy,
    e.feature_norm, e.nc1, e.nc1_pinv, e.nc2_equinorm, e.nc2_equiangular, e.nc3, e.nc4, e.weight_norm,
    e.feature_norm_centred, e.nc1_rank, e.cdnv, e.nc2_etf, e.nc3_duality, {more}e.nonfinite, e.run_id
FROM epochs AS e JOIN runs AS r ON r.id = e.run_id
"""


def upgrade() -> None:
    op.execute("DROP VIEW public_epochs")
    for name in COLUMNS:
        op.add_column("epochs", sa.Column(name, sa.Double))
    op.execute(PUBLIC_EPOCHS.format(more="".join(f"e.{name}, " for name in COLUMNS)))


def downgrade() -> None:
    op.execute("DROP VIEW public_epochs")
    with op.batch_alter_table("epochs", table_kwargs={"sqlite_with_rowid": False}) as batch:
        for name in COLUMNS:
            batch.drop_column(name)
    op.execute(PUBLIC_EPOCHS.format(more=""))
