"""${message}

Why: say here what could not be done or kept before.

A batch operation on SQLite makes a table anew from what alembic reads of it, which leaves two things out. Give back to
runs and sweeps `table_kwargs={"sqlite_autoincrement": True}`, else the id of a removed run is given again, with its name
and folder; and to the others `table_kwargs={"sqlite_with_rowid": False}`. tests/store/test_released.py compares the
outcome to a new store.

A batch operation on runs or epochs first drops the views public_epochs and public_runs, and makes them again after
it, spelled out here: a migration never imports what may change later. Set schema.REVISION to this revision.

Revision ID: ${up_revision}
Revises: ${down_revision | comma,n}
"""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
