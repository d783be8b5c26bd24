import shutil
import sqlite3
from pathlib import Path

import pytest
from recorded import append

from ncdiag.errors import StoreError
from ncdiag.store import migrate, schema
from ncdiag.store.engine import open_store
from ncdiag.store.epochs import list_epochs
from ncdiag.store.maintenance import upgrade_store
from ncdiag.store.migrate import get_migrations_folder
from ncdiag.store.runs import add_run, remove_runs

OLD, NEW = schema.REVISION, f"{int(schema.REVISION) + 1:04}"
# A next revision as it might be: it rebuilds the table that the others hang on.
NEXT = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "{new}", "{old}"
VIEWS = ["public_epochs", "public_runs"]


def upgrade():
    bind = op.get_bind()
    made = [bind.scalar(sa.text("SELECT sql FROM sqlite_master WHERE name = :n"), {{"n": name}}) for name in VIEWS]
    for name in VIEWS:
        op.execute(f"DROP VIEW {{name}}")
    with op.batch_alter_table("runs", recreate="always", table_kwargs={{"sqlite_autoincrement": True}}) as batch:
        batch.add_column(sa.Column("colour", sa.Text, nullable=False, server_default="red"))
    {fault}
    for sql in reversed(made):
        op.execute(sql)


def downgrade():
    raise NotImplementedError
"""


@pytest.fixture
def later(folder, monkeypatch):
    """Make this ncdiag one that knows a second revision; `fault` is a statement in the middle of its upgrade."""

    def install(fault: str = "pass") -> None:
        migrations = folder / "migrations"
        if not migrations.exists():
            shutil.copytree(get_migrations_folder(), migrations, ignore=shutil.ignore_patterns("__pycache__"))
        (migrations / "versions" / f"{NEW}_colour.py").write_text(NEXT.format(new=NEW, old=OLD, fault=fault))
        shutil.rmtree(migrations / "versions" / "__pycache__", ignore_errors=True)
        monkeypatch.setattr(migrate, "get_migrations_folder", lambda: migrations)
        monkeypatch.setattr(schema, "REVISION", NEW)

    return install


def contents(path):
    connection = sqlite3.connect(path)
    lines = list(connection.iterdump())
    connection.close()
    return lines


def revision_of(path):
    connection = sqlite3.connect(path)
    revision = connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]
    connection.close()
    return revision


def test_the_migrations_are_found_in_a_checkout_and_in_a_wheel(tmp_path):
    assert get_migrations_folder() == Path(__file__).parents[2] / "migrations"

    package = tmp_path / "ncdiag"
    with pytest.raises(StoreError, match="installation of ncdiag is incomplete"):
        get_migrations_folder(package)
    for folder in (tmp_path / "migrations", package / "migrations"):
        folder.mkdir(parents=True)
        (folder / "env.py").touch()
        assert get_migrations_folder(package) == folder


def test_an_older_store_is_not_read_and_not_changed(store, url, later):
    before = Path(url).read_bytes()
    later()
    message = rf"older schema {OLD}; this ncdiag reads {NEW}\.\nRun `ncdiag store upgrade --store .*`"
    with pytest.raises(StoreError, match=message), open_store(url):
        pass
    assert Path(url).read_bytes() == before


def test_a_writer_upgrades_an_older_store_and_keeps_a_copy(store, url, running, owner, record, later):
    append(store, running, record(1), owner=owner)
    before = contents(url)
    later()

    with open_store(url, write=True) as upgraded:
        (note,) = upgraded.notes
        assert list_epochs(upgraded, running.id) == [record(1)]  # rebuilding its parent has not emptied the table

    assert note == f"the store {url} was upgraded from schema {OLD} to {NEW}; {url}.bak-{OLD} is a copy of it as it was"
    assert contents(f"{url}.bak-{OLD}") == before
    assert revision_of(url) == NEW
    assert any("'red'" in line for line in contents(url))
    with open_store(url, write=True) as again:
        assert again.notes == ()


def test_no_id_is_given_again_after_a_table_was_rebuilt(store, url, make_spec, later):
    for seed in range(3):
        add_run(store, make_spec(seed=seed))
    remove_runs(store, ["run-2", "run-3"])
    later()
    upgrade_store(url)
    with sqlite3.connect(url) as connection:
        (sql,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'runs'").fetchone()
        assert "AUTOINCREMENT" in sql
        assert connection.execute("SELECT name, seq FROM sqlite_sequence").fetchall() == [("runs", 3)]
        connection.execute("DELETE FROM runs")
        connection.execute(INSERT)
        assert connection.execute("SELECT id FROM runs").fetchall() == [(4,)]
    connection.close()


INSERT = """INSERT INTO runs (name, key, origin, status, epochs_done, seconds, config, data, environment, fingerprint,
inexact, created_at) VALUES ('a', 'b', 'trained', 'pending', 0, 0, '{}', '{}', '{}', '{}', 0, '2026-01-01')"""


def test_an_upgrade_keeps_every_copy(store, url, later):
    later()
    for copies in (1, 2, 3):
        assert len(upgrade_store(url)) == 1
        assert len(list(Path(url).parent.glob(f"*.bak-{OLD}*"))) == copies
        shutil.copy(f"{url}.bak-{OLD}", url)
    assert list(Path(url).parent.glob("*.partial")) == []


def test_a_link_that_leads_nowhere_is_not_in_the_way_of_the_copy(store, url, later):
    later()
    Path(f"{url}.bak-{OLD}").symlink_to("nowhere")
    (note,) = upgrade_store(url)
    assert note.endswith(f"{url}.bak-{OLD}.2 is a copy of it as it was")
    assert Path(f"{url}.bak-{OLD}").is_symlink()


def test_a_store_that_is_up_to_date_is_left_alone(store, url):
    before = Path(url).read_bytes()
    assert upgrade_store(url) == ()
    assert Path(url).read_bytes() == before
    assert list(Path(url).parent.iterdir()) == [Path(url)]


@pytest.mark.parametrize("write", [False, True])
def test_a_newer_store_is_left_alone(store, url, write):
    connection = sqlite3.connect(url)
    connection.execute("UPDATE alembic_version SET version_num = 'zz99'")
    connection.commit()
    connection.close()
    before = Path(url).read_bytes()
    message = r"made by a newer ncdiag \(schema zz99; .*\n.*Update ncdiag"
    with pytest.raises(StoreError, match=message) as caught, open_store(url, write=write):
        pass
    assert caught.value.exit_code == 3
    assert Path(url).read_bytes() == before
    assert [path.name for path in Path(url).parent.iterdir()] == ["ncdiag.db"]


def test_a_failing_migration_leaves_nothing_and_can_be_repeated(store, url, running, owner, record, later):
    append(store, running, record(1), owner=owner)
    before = contents(url)
    later(fault="raise RuntimeError('half-way')")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="half-way"), open_store(url, write=True):
            pass
    assert contents(url) == before
    assert list(Path(url).parent.glob("*.bak*")) == []

    later()
    with open_store(url, write=True) as upgraded:
        assert list_epochs(upgraded, running.id) == [record(1)]


def test_a_failing_first_migration_leaves_no_tables(folder, later):
    url = str(folder / "new.db")
    later(fault="raise RuntimeError('half-way')")
    with pytest.raises(RuntimeError, match="half-way"), open_store(url, write=True):
        pass
    assert contents(url) == ["BEGIN TRANSACTION;", "COMMIT;"]
    later()
    with open_store(url, write=True):
        assert revision_of(url) == NEW


def test_a_migration_that_makes_orphans_is_undone(store, url, running, owner, record, later):
    append(store, running, record(1), owner=owner)
    before = contents(url)
    later(fault="op.execute('DELETE FROM runs')")
    with pytest.raises(StoreError, match="1 rows, the first in epochs, would belong to nothing"):
        upgrade_store(url)
    assert contents(url) == before


KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from ncdiag.store import migrate, schema
from ncdiag.store.engine import open_store
migrate.get_migrations_folder = lambda: Path(sys.argv[2])
schema.REVISION = sys.argv[3]
with open_store(sys.argv[1], write=True):
    pass
"""


def test_an_upgrade_that_is_killed_leaves_the_old_schema(store, url, folder, running, later, start_python):
    before = contents(url)
    later(fault="op.execute('PRAGMA cache_size = 1'); import os; os.kill(os.getpid(), 9)")
    process = start_python(KILLED, url, folder / "migrations", NEW)
    assert process.wait() == -9, process.stderr.read()

    assert contents(url) == before
    later()
    assert len(upgrade_store(url)) == 1


FIRST_CONTACT = """
with open_store(sys.argv[1], write=True) as store:
    assert store.notes == ()
"""


def test_eight_processes_may_make_a_store_at_once(url, at_once):
    assert at_once(8, FIRST_CONTACT, url) == [0] * 8
    assert revision_of(url) == schema.REVISION


def test_a_store_that_another_process_makes_meanwhile_is_a_store(url, monkeypatch):
    """The file appears behind whatever is asked of its place first."""

    def asked(ask):
        def answer(path, *args, **options):
            found = ask(path, *args, **options)
            if str(path) == url:
                path.touch()
            return found

        return answer

    for name in ("exists", "is_file"):
        monkeypatch.setattr(Path, name, asked(getattr(Path, name)))
    with open_store(url, write=True):
        assert revision_of(url) == schema.REVISION


def test_one_of_many_upgrades_an_old_store(store, url, folder, later, at_once):
    later()
    code = f"""
from pathlib import Path
migrate.get_migrations_folder = lambda: Path({str(folder / "migrations")!r})
schema.REVISION = {NEW!r}
with open_store(sys.argv[1], write=True) as store:
    pass
"""
    assert at_once(6, code, url) == [0] * 6
    assert len(list(folder.glob("*.bak*"))) == 1
    assert revision_of(url) == NEW


def test_reading_a_current_store_does_not_import_alembic(store, url, start_python):
    code = (
        "import sys\n"
        "from ncdiag.store.engine import open_store\n"
        "for write in (False, True):\n"
        "    with open_store(sys.argv[1], write=write):\n"
        "        pass\n"
        "print('alembic' in sys.modules, 'sqlalchemy' in sys.modules)"
    )
    assert start_python(code, url).communicate() == ("False True\n", "")
