import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from ncdiag.store import schema
from ncdiag.store.migrate import get_migrations_folder

ROOT = Path(__file__).parents[2]


def test_the_revision_is_the_newest_migration():
    config = Config()
    config.set_main_option("script_location", str(get_migrations_folder()))
    assert ScriptDirectory.from_config(config).get_heads() == [schema.REVISION]


def test_the_tables_are_those_that_the_migrations_make(store):
    with store.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, schema.metadata) == []


def test_so_are_the_constraints_that_alembic_does_not_compare(store, url, folder):
    """Compare the statements themselves: checks, names, cascades, WITHOUT ROWID, AUTOINCREMENT."""
    made = create_engine(f"sqlite:///{folder / 'made.db'}")
    schema.metadata.create_all(made)
    made.dispose()
    assert statements(url) == statements(folder / "made.db")


def statements(path):
    connection = sqlite3.connect(path)
    rows = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'index') AND sql IS NOT NULL"
    )
    found = {
        name: sorted(part.strip(" ,") for part in re.sub(r"\s*\n\s*", "\n", sql).splitlines())
        for name, sql in rows
        if not name.startswith(("sqlite_", "alembic_"))
    }
    connection.close()
    return found


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["heads"], "0001 (head)"),
        (["current"], "0001 (head)"),
        (["check"], "No new upgrade operations detected."),
    ],
)
def test_the_command_of_developers_works_without_an_ini_file(store, url, arguments, expected):
    done = subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "NCDIAG_STORE": url},
    )
    assert expected in done.stdout


def test_down_and_up_again(url):
    environment = {**os.environ, "NCDIAG_STORE": url}
    for arguments in (["upgrade", "head"], ["downgrade", "base"], ["upgrade", "head"]):
        command = [sys.executable, "-m", "alembic", *arguments]
        subprocess.run(command, check=True, capture_output=True, cwd=ROOT, env=environment)
        tables = statements(url)
        assert ("runs" in tables) is (arguments[0] == "upgrade")
