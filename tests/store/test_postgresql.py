"""The same store on a PostgreSQL server, which these tests start for themselves (see `postgresql.database`)."""

import threading

import pytest
from postgresql import database
from recorded import append, sweeps_of
from sqlalchemy import create_engine, text

from ncdiag.domain.records import EpochRecord, ImportedRun, RunStatus
from ncdiag.errors import StoreError
from ncdiag.store import runs
from ncdiag.store.engine import open_store
from ncdiag.store.epochs import discard_epochs, list_epochs
from ncdiag.store.frames import epochs_frame, runs_frame
from ncdiag.store.imports import import_runs
from ncdiag.store.leases import hold_lease
from ncdiag.store.maintenance import check_store
from ncdiag.store.runs import add_run, claim_run, finish_run, get_run, list_runs, remove_runs
from ncdiag.store.sweeps import plan_sweep

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server():
    with database() as url:
        yield url


@pytest.fixture
def url(server, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # where ncdiag.runs is made
    engine = create_engine(server)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    return server


def test_a_run_from_its_plan_to_its_end(store, url, make_spec, record, owner):
    planned = plan_sweep(store, name="mine", specs=[make_spec(seed=seed) for seed in range(3)])
    assert [run.name for run in planned] == ["run-1", "run-2", "run-3"]
    assert sweeps_of(store) == {"mine": (1, 2, 3)}
    strange = record(3, nc1=float("inf"), seconds=None)
    with hold_lease(store, 1, owner) as held:
        assert held
        assert claim_run(store, 1, owner=owner, device="cpu", environment={"a": 1})
        assert not claim_run(store, 1, owner="other", device="cpu", environment={})
        records = record(1), record(2), strange, record(4), record(2)
        append(store, planned[0], *records, owner=owner)
        with store.write() as connection:
            discard_epochs(connection, 1, 3)
        assert get_run(store, "run-1").status is RunStatus.RUNNING
        assert finish_run(store, 1, owner=owner, status=RunStatus.DONE, reason="stopped at onset")
    assert list_epochs(store, 1) == [record(1), record(2), strange]
    assert (get_run(store, "run-1").epochs_done, get_run(store, "run-1").seconds) == (3, 1.0)
    assert epochs_frame(store)["nc1"].tolist()[-1] == float("inf")
    assert runs_frame(store)["status"].tolist() == ["done", "pending", "pending"]
    assert check_store(url) == []
    with store.read() as connection:
        assert connection.execute(text("SELECT run, nonfinite FROM public_epochs WHERE epoch = 3")).one() == (
            "run-1",
            '{"nc1":"inf"}',
        )
    remove_runs(store, ["run-1"])
    assert epochs_frame(store).empty


def test_imports(store):
    said = ImportedRun(config={"depth": 5}, epochs=(EpochRecord(epoch=1, nc1=0.5),), source="a.csv")
    assert import_runs(store, [said]).runs == import_runs(store, [said]).runs


def test_silence_makes_a_run_lost(store, url, make_spec, owner):
    add_run(store, make_spec())
    claim_run(store, 1, owner=owner, device="cpu", environment={})
    assert get_run(store, "run-1").status is RunStatus.RUNNING
    with store.write() as connection:
        connection.execute(text("UPDATE runs SET heartbeat_at = now() - interval '121 seconds'"))
    assert get_run(store, "run-1").status is RunStatus.LOST
    assert claim_run(store, 1, owner="heir", device="cpu", environment={})


def test_of_two_who_take_a_lost_run_over_one_wins_and_the_other_deletes_nothing(
    store, url, make_spec, record, owner, monkeypatch
):
    """Both see that it is lost before either claims it; on a file, the second one would not have seen that."""
    run, _ = add_run(store, make_spec())
    claim_run(store, run.id, owner=owner, device="cpu", environment={})
    append(store, run, record(1), owner=owner)
    with store.write() as connection:
        connection.execute(text("UPDATE runs SET heartbeat_at = now() - interval '121 seconds'"))
    seen, claimed = threading.Event(), threading.Event()
    status_of = runs.status_of

    def wait_after_reading(store, row):
        status = status_of(store, row)
        if threading.current_thread() is not threading.main_thread():
            seen.set()
            assert claimed.wait(20)
        return status

    monkeypatch.setattr(runs, "status_of", wait_after_reading)
    won = []
    second = threading.Thread(
        target=lambda: won.append(claim_run(store, run.id, owner="late", device="cpu", environment={}, discard_after=0))
    )
    second.start()
    assert seen.wait(20)
    assert claim_run(store, run.id, owner="heir", device="cpu", environment={})
    claimed.set()
    second.join(20)
    assert won == [False]
    assert list_epochs(store, run.id) == [record(1)]
    append(store, run, record(2), owner="heir")


def test_eight_processes_may_make_a_store_at_once(url, at_once):
    assert (
        at_once(8, "with open_store(sys.argv[1], write=True) as store:\n    assert store.notes == ()\n", url) == [0] * 8
    )


def test_eight_processes_add_one_run(store, url, make_spec, at_once):
    code = f"""
from ncdiag.domain.spec import RunSpec
from ncdiag.store.runs import add_run
with open_store(sys.argv[1], write=True) as store:
    for seed in range(20):
        add_run(store, RunSpec.from_dict({make_spec().to_dict()!r} | {{"seed": seed}}))
"""
    assert at_once(8, code, url) == [0] * 8
    assert sorted(run.seed for run in list_runs(store)) == list(range(20))


def test_the_driver_need_not_be_named(store, url):
    with open_store(url.replace("postgresql+psycopg:", "postgresql:")) as same:
        assert same.engine.driver == "psycopg"
        assert list_runs(same) == []


def test_an_empty_database_and_a_server_that_is_away(url):
    with pytest.raises(StoreError, match="is empty: no run was ever stored"), open_store(url):
        pass
    away = "postgresql+psycopg://me:secret@127.0.0.1:1/db"
    with pytest.raises(StoreError, match="is away: ") as caught, open_store(away):
        pass
    assert "secret" not in str(caught.value)
