"""Real processes on one store: what they commit is there, and they do not get into each other's way."""

import random
import sqlite3
import threading
import time
from contextlib import closing

import pytest
from recorded import append
from sqlalchemy import text

from ncdiag.store.engine import open_store
from ncdiag.store.epochs import list_epochs
from ncdiag.store.faults import StoreBusyError
from ncdiag.store.runs import add_run, get_run
from ncdiag.store.waiting import hurry

COUNTER = """
with open_store(sys.argv[1], write=True) as store:
    for _ in range(100):
        with store.write() as connection:
            seen = connection.execute(text("SELECT epochs_done FROM runs")).scalar_one()
            connection.execute(text("UPDATE runs SET epochs_done = :next"), {"next": seen + 1})
"""


def test_four_writers_that_read_first_all_commit(store, url, make_spec, at_once):
    run, _ = add_run(store, make_spec())
    assert at_once(4, COUNTER, url) == [0] * 4
    assert get_run(store, run.name).epochs_done == 400


def test_writers_and_a_program_that_takes_the_store_now_and_then_all_commit(store, url, make_spec, at_once):
    run, _ = add_run(store, make_spec())
    over = threading.Event()

    def take() -> None:
        with closing(sqlite3.connect(url, isolation_level=None, timeout=30)) as other:
            for number in range(4):
                other.execute("BEGIN EXCLUSIVE" if number % 2 else "BEGIN IMMEDIATE")
                over.wait(0.7)
                other.execute("ROLLBACK")
                over.wait(0.1)

    taker = threading.Thread(target=take)
    taker.start()
    try:
        assert at_once(8, COUNTER, url) == [0] * 8
    finally:
        over.set()
        taker.join()
    assert get_run(store, run.name).epochs_done == 800


def test_a_writer_takes_its_turn_before_it_reads(store, url):
    with store.write(), open_store(url, write=True) as other:
        turn = other.write()
        with pytest.raises(StoreBusyError), hurry():
            turn.__enter__()


TRAINER = """
import sys
from ncdiag.domain.records import EpochRecord
from ncdiag.store.engine import open_store
from ncdiag.store.leases import hold_lease, new_owner
from ncdiag.store.recorder import Recorder
from ncdiag.store.runs import claim_run, list_runs
owner = new_owner()
with open_store(sys.argv[1], write=True) as store, hold_lease(store, 1, owner) as held:
    assert held and claim_run(store, 1, owner=owner, device="cpu", environment={})
    (run,) = list_runs(store)
    recorder = Recorder(store, run, owner=owner, tell=sys.exit)
    epoch = run.epochs_done
    while True:
        epoch += 1
        recorder.add(EpochRecord(epoch=epoch, seconds=1.0, nc1=float(epoch)))
        print(epoch, flush=True)
"""


def test_no_acknowledged_epoch_is_lost_to_kill_9(store, url, make_spec, start_python):
    run, _ = add_run(store, make_spec())
    before = 0
    for trial in range(4):
        trainer = start_python(TRAINER, url)
        first = trainer.stdout.readline()
        assert first == f"{before + 1}\n", trainer.stderr.read()
        time.sleep(random.Random(trial).uniform(0.0, 0.1))
        trainer.kill()
        acknowledged = int((first + trainer.stdout.read()).split("\n")[-2])

        stored = [(record.epoch, record.nc1) for record in list_epochs(store, run.id)]
        assert stored == [(epoch, float(epoch)) for epoch in range(1, len(stored) + 1)]
        assert acknowledged <= len(stored) <= acknowledged + 1
        now = get_run(store, run.name)
        assert (now.epochs_done, now.seconds) == (len(stored), float(len(stored)))
        before = len(stored)
    connection = sqlite3.connect(url)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


READER = """
import sys
from ncdiag.store.engine import open_store
from ncdiag.store.frames import epochs_frame
with open_store(sys.argv[1]) as store:
    frame = epochs_frame(store)
    for row in frame.itertuples():  # `ncdiag export | less`: the pipe is full, the reader waits
        print(row.epoch, flush=True)
        sys.stdin.readline()
"""


def test_a_paused_reader_does_not_keep_the_writer_waiting(store, url, running, owner, record, start_python):
    for epoch in (1, 2):
        append(store, running, record(epoch), owner=owner)
    reader = start_python(READER, url)
    assert reader.stdout.readline() == "1\n"

    with open_store(url, write=True) as other, hurry():
        append(other, running, record(3), owner=owner)

    assert reader.communicate("\n\n") == ("2\n", "")


def test_a_forked_child_has_a_connection_of_its_own(store, url, running, owner, record):
    import os

    append(store, running, record(1), owner=owner)
    child = os.fork()
    if child == 0:
        try:
            append(store, running, record(2), owner=owner)
        finally:
            os._exit(0)
    append(store, running, record(3), owner=owner)
    os.waitpid(child, 0)
    assert [row.epoch for row in list_epochs(store, running.id)] == [1, 2, 3]
    with store.read() as connection:
        assert connection.scalar(text("PRAGMA integrity_check")) == "ok"
