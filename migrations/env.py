"""Run the migrations of a store: for ncdiag on the connection it hands over, for the `alembic` command on NCDIAG_STORE.

Nothing here asks for a main option, so `alembic` works with the settings in pyproject.toml and no alembic.ini.
"""

from alembic import context
from sqlalchemy import Connection

from ncdiag.store import migrate, schema


def run(connection: Connection) -> None:
    """Run the migrations inside the transaction that the connection is in."""
    context.configure(connection=connection, target_metadata=schema.metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


shared = context.config.attributes.get("connection")
if shared is not None:
    run(shared)
else:
    with migrate.developer_connection() as own:
        run(own)
