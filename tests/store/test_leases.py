import fcntl
import signal
import sqlite3
from datetime import timedelta

import pytest

from ncdiag.domain.records import RunStatus
from ncdiag.errors import StoreError
from ncdiag.store import leases
from ncdiag.store.leases import hold_lease, new_owner
from ncdiag.store.runs import add_run, claim_run, get_run, heartbeat, list_runs

TRAINER = """
import sys, time
from ncdiag.store.engine import open_store
from ncdiag.store.leases import hold_lease, new_owner
from ncdiag.store.runs import claim_run
owner = new_owner()
with open_store(sys.argv[1], write=True) as store, hold_lease(store, 1, owner) as held:
    print(held and claim_run(store, 1, owner=owner, device="cpu", environment={}), flush=True)
    time.sleep(60)
"""


def test_a_lock_is_held_by_one(store):
    with hold_lease(store, 1, "a") as first, hold_lease(store, 1, "b") as second, hold_lease(store, 2, "b") as other:
        assert (first, second, other) == (True, False, True)
        assert (store.run_folder(1) / "lock").read_text() == "a"
    with hold_lease(store, 1, "b") as again:
        assert again
        assert (store.run_folder(1) / "lock").read_text() == "b"


def test_a_glance_at_the_lock_keeps_nobody_from_taking_it(store, monkeypatch):
    """Whoever lists the runs shares the lock for a moment, and a trainer that comes then tries again."""
    folder = store.run_folder(1)
    folder.mkdir(parents=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        monkeypatch.setattr(leases.time, "sleep", lambda seconds: fcntl.flock(file, fcntl.LOCK_UN))
        with hold_lease(store, 1, new_owner()) as held:
            assert held


def test_owners_differ():
    assert len({new_owner() for _ in range(100)}) == 100


def test_a_killed_trainer_is_seen_at_once_and_its_run_taken_over(store, url, make_spec, start_python):
    run, _ = add_run(store, make_spec())
    trainer = start_python(TRAINER, url)
    assert trainer.stdout.readline() == "True\n"
    assert get_run(store, run.name).status is RunStatus.RUNNING
    assert not claim_run(store, run.id, owner="me", device="cpu", environment={})

    trainer.send_signal(signal.SIGSTOP)  # a process that sleeps for long is not a dead one
    assert get_run(store, run.name).status is RunStatus.RUNNING
    trainer.kill()
    trainer.wait()

    assert get_run(store, run.name).status is RunStatus.LOST
    with hold_lease(store, run.id, "me") as held:
        assert held
        assert claim_run(store, run.id, owner="me", device="cpu", environment={})
        assert get_run(store, run.name).status is RunStatus.RUNNING


def test_no_clock_makes_a_live_run_lost(store, url, running):
    execute(url, "UPDATE runs SET heartbeat_at = '2001-01-01 00:00:00'")
    assert get_run(store, running.name).status is RunStatus.RUNNING
    execute(url, "UPDATE runs SET heartbeat_at = '2101-01-01 00:00:00'")
    assert get_run(store, running.name).status is RunStatus.RUNNING


def test_a_copied_store_does_not_train(store, running, url, folder):
    from ncdiag.store.engine import open_store
    from ncdiag.store.maintenance import backup_store

    (folder / "elsewhere").mkdir()
    copy = backup_store(url, folder / "elsewhere" / "ncdiag.db")
    with open_store(str(copy)) as other:
        assert [run.status for run in list_runs(other)] == [RunStatus.LOST]
    assert [run.status for run in list_runs(store)] == [RunStatus.RUNNING]


@pytest.mark.parametrize(("silence", "status"), [(100, RunStatus.RUNNING), (140, RunStatus.LOST)])
def test_on_another_host_the_heartbeat_decides(store, url, running, owner, silence, status):
    execute(url, f"UPDATE runs SET host = 'far', heartbeat_at = datetime('now', '-{silence} seconds')")
    assert get_run(store, running.name).status is status
    assert heartbeat(store, [running.id], owner) == 1
    assert get_run(store, running.name).status is RunStatus.RUNNING


def test_where_files_cannot_be_locked_the_heartbeat_decides(store, running, monkeypatch):
    def no_locks(*args):
        raise OSError("No locks available")

    monkeypatch.setattr(leases.fcntl, "flock", no_locks)
    assert get_run(store, running.name).status is RunStatus.RUNNING
    monkeypatch.setattr(leases, "SILENCE", timedelta(seconds=-1))
    assert get_run(store, running.name).status is RunStatus.LOST


def test_a_lock_that_cannot_be_made_is_an_error_of_the_store(store):
    store.run_folder(1).parent.write_text("a file where the folder should be")
    with pytest.raises(StoreError, match="the lock of run 1 cannot be taken"), hold_lease(store, 1, "a"):
        pass


def execute(url, statement):
    connection = sqlite3.connect(url)
    connection.execute(statement)
    connection.commit()
    connection.close()
