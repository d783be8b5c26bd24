import re
import sqlite3

import pytest
from alembic import __version__ as alembic_version
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from ncdiag.store import schema
from ncdiag.store.migrate import get_migrations_folder


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
        name: sorted(part.strip(" ,\n") for part in re.split(r"\s*\n\s*|(?<=DOUBLE), (?=\w)|(?<=TEXT), (?=\w)", sql))
        for name, sql in rows
        if not name.startswith(("sqlite_", "alembic_"))
    }
    connection.close()
    return found


needs_pyproject = pytest.mark.skipif(
    tuple(map(int, alembic_version.split(".")[:2])) < (1, 16), reason="this alembic does not read pyproject.toml"
)

ALEMBIC = """
import sys
from alembic.config import CommandLine
for command in sys.argv[1].split(","):
    CommandLine(prog="alembic").main(command.split())
"""


@pytest.fixture
def alembic(url, start_python, monkeypatch):
    """Run `alembic` commands, separated by commas, as a developer does in the checkout; gives what they print."""
    monkeypatch.setenv("NCDIAG_STORE", url)

    def run(commands):
        said, problems = start_python(ALEMBIC, commands).communicate()
        assert problems == ""
        return said

    return run


@needs_pyproject
def test_the_command_of_developers_works_without_an_ini_file(store, alembic):
    expected = f"{schema.REVISION} (head)\n{schema.REVISION} (head)\nNo new upgrade operations detected.\n"
    assert alembic("heads,current,check") == expected


@needs_pyproject
def test_down_and_up_again(url, alembic):
    alembic("upgrade head")
    first = statements(url)
    alembic("downgrade base")
    assert statements(url) == {}
    alembic("upgrade head")
    assert statements(url) == first
