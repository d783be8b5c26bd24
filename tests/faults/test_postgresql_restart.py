"""A PostgreSQL server that goes away in the middle of training, and comes back."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from measured import rows
from postgresql import Server, running_server
from recorded import append
from small import SMALL_OPTIONS, small_spec

from ncdiag.domain.records import EpochRecord, RunStatus
from ncdiag.store.engine import open_store
from ncdiag.store.epochs import list_epochs
from ncdiag.store.faults import TakenOverError
from ncdiag.store.leases import SILENCE
from ncdiag.store.runs import add_run, claim_run, list_runs

pytestmark = pytest.mark.slow


@pytest.fixture
def server() -> Iterator[Server]:
    with running_server() as server:
        yield server


@pytest.mark.parametrize("until", ["training goes on", "waiting up to 150 seconds"])
def test_a_sweep_outlives_an_outage_of_its_server(server: Server, tmp_path: Path, until: str) -> None:
    """One that is over while the runs train, and one that lasts until they have come to their ends."""
    options = [*SMALL_OPTIONS[:6], "--phase", "ce:150", "--phase", "mse:150", "--seed", "0:2", "--jobs", "2"]
    command = [sys.executable, "-m", "ncdiag", "sweep", *options, "--device", "cpu", "--store"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        [*command, server.url], cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    assert any("epoch " in line for line in iter(process.stderr.readline, "")), "it ended before it trained"
    time.sleep(1)
    server.stop()
    try:
        assert any(until in line for line in iter(process.stderr.readline, "")), "it did not wait for its server"
    finally:
        server.start()
    out, said = process.communicate(timeout=500)
    assert process.returncode == 0, out + said
    assert "stored that had been waiting" in said

    whole = str(tmp_path / "whole.db")
    subprocess.run([*command, whole], cwd=tmp_path, env=environment, capture_output=True, check=True)
    with open_store(server.url) as store, open_store(whole) as other:
        runs = list_runs(store)
        assert [run.status for run in runs] == [RunStatus.DONE] * 2
        for ours, theirs in zip(runs, list_runs(other), strict=True):
            assert rows(store, ours) == rows(other, theirs)


ZOMBIE = """
import os, sys, time
from ncdiag.domain.records import EpochRecord
from ncdiag.store.engine import open_store
from ncdiag.store.recorder import Recorder
from ncdiag.store.runs import claim_run, get_run_by_id
with open_store(sys.argv[1], write=True) as store:
    run = get_run_by_id(store, int(sys.argv[2]))
    assert claim_run(store, run.id, owner="zombie", device="cpu", environment={})
    recorder = Recorder(store, run, owner="zombie", tell=sys.exit)
    for epoch in range(1, 10_000):
        recorder.add(EpochRecord(epoch=epoch, nc1=1.0))
        print(epoch, flush=True)
"""


def test_a_zombie_that_wakes_up_cannot_write(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was paused for longer than the silence after which others take its run, and goes on."""
    monkeypatch.chdir(tmp_path)
    with open_store(server.url, write=True) as store:
        run, _ = add_run(store, small_spec(seed=77))
        process = subprocess.Popen(
            [sys.executable, "-c", ZOMBIE, server.url, str(run.id)],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        while process.stdout.readline() != "20\n":
            pass
        process.send_signal(signal.SIGSTOP)
        with store.write() as connection:  # as if the silence had passed
            past = f"UPDATE runs SET heartbeat_at = heartbeat_at - interval '{SILENCE.total_seconds() + 1} s'"
            connection.exec_driver_sql(f"{past} WHERE id = {run.id}")
        assert claim_run(store, run.id, owner="heir", device="cpu", environment={})
        before = list_epochs(store, run.id)
        process.send_signal(signal.SIGCONT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 1
        assert TakenOverError.__name__ in said
        assert list_epochs(store, run.id) == before
        append(store, run, EpochRecord(epoch=before[-1].epoch + 1, nc1=2.0), owner="heir")
