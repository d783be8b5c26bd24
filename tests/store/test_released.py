"""Stores of every released schema can be opened, and hold what they held."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from recorded import sweeps_of
from sqlalchemy import text
from store.make_released import FOLDER, make, record, specs

from ncdiag.domain.records import EpochRecord, RunStatus
from ncdiag.store.engine import open_store
from ncdiag.store.epochs import list_epochs
from ncdiag.store.interventions import list_interventions
from ncdiag.store.maintenance import check_store, upgrade_store
from ncdiag.store.migrate import get_migrations_folder
from ncdiag.store.runs import add_run, list_runs

FILES = sorted(FOLDER.glob("*.db"))


def test_there_is_a_store_of_every_schema():
    schemas = {path.name.partition("_")[0] for path in (get_migrations_folder() / "versions").glob("0*.py")}
    assert {path.stem for path in FILES} == schemas, "run python tests/store/make_released.py and commit the file"


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def released(request):
    return request.param


@pytest.fixture
def old(released, folder):
    return Path(shutil.copy(released, folder / "ncdiag.db"))


def words(url):
    """Give what decides the layout, without the order in which alembic writes the constraints of a table."""
    with open_store(url) as store, store.read() as connection:
        rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")).all()
    return [(name, sorted(sql.replace('"', "").replace(",", " ").split())) for name, sql in rows]


def test_it_is_upgraded_to_the_layout_of_a_new_store_and_keeps_its_rows(released, old, folder):
    upgrade_store(str(old))
    assert check_store(str(old)) == []
    make(folder / "new.db")
    assert words(str(old)) == words(str(folder / "new.db"))
    with open_store(str(old)) as store:
        first, second, third, foreign = list_runs(store)
        assert [run.status for run in (first, second, third, foreign)] == ["done", "interrupted", "pending", "done"]
        assert (first.data_sha256, first.environment, foreign.width) == ("cd" * 32, {"torch": "2"}, 512.0)
        expected = [record(epoch, released.stem) for epoch in range(1, 7)]
        assert list(map(repr, list_epochs(store, first.id))) == list(map(repr, expected))
        assert list_epochs(store, foreign.id) == [EpochRecord(epoch=10 * n, nc1=1 / n) for n in (1, 2, 3)]
        (change,) = list_interventions(store, second.id)
        assert (change.epoch, change.alpha, change.compensate_head) == (4, 0.3, True)
        assert sweeps_of(store) == {"three": (1, 2, 3)}


def test_a_command_of_that_time_finds_its_runs(old):
    """The key of a configuration is the SHA-256 of its canonical form; changing that form takes a migration."""
    with open_store(str(old), write=True) as store:
        for number, spec in enumerate(specs(), start=1):
            run, new = add_run(store, spec)
            assert (run.id, new) == (number, False)
        other, new = add_run(store, replace(specs()[0], seed=9))
        assert (other.status, new) == (RunStatus.PENDING, True)
