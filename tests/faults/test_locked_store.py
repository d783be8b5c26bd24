"""Training with a store that another program does not let go of."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from clihelp import Cli
from measured import rows
from small import SMALL_OPTIONS, ignore, small_spec

from ncdiag.cli.app import run as run_ncdiag
from ncdiag.cli.train import say_stored
from ncdiag.domain.records import EpochRecord, Run, RunStatus
from ncdiag.errors import StoreError
from ncdiag.execution import held, patience
from ncdiag.execution.held import Note
from ncdiag.execution.worker import TrainingOptions, train_run, train_runs
from ncdiag.store import faults, recorder
from ncdiag.store.engine import Store, open_store
from ncdiag.store.runs import add_run, get_run
from ncdiag.training.events import Event


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store that nobody waits for."""
    monkeypatch.setattr(faults.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(recorder, "HURRY_SECONDS", 0)
    monkeypatch.setattr(recorder, "SECONDS_BETWEEN_TRIES", 0)
    monkeypatch.setattr(patience, "OUTAGE_SECONDS", 0)
    with open_store(str(tmp_path / "runs.db"), write=True) as opened:
        yield opened.hurried(0)


@pytest.fixture
def undisturbed(tmp_path: Path) -> list[EpochRecord]:
    with open_store(str(tmp_path / "whole.db"), write=True) as other:
        run, _ = add_run(other, small_spec())
        train_run(other, run, TrainingOptions(), ignore)
        return rows(other, run)


class Blocker:
    """A listener that locks the store after one epoch, and lets go after another."""

    def __init__(self, store: Store, first: int, last: int | None) -> None:
        self.connection = sqlite3.connect(str(store.path), isolation_level=None)
        weakref.finalize(self, self.connection.close)  # Python 3.13 warns of one that is left open
        self.first = first
        self.last = last
        self.notes: list[str] = []

    def __call__(self, run: Run, event: Event | Note) -> None:
        epoch = getattr(getattr(event, "record", None), "epoch", None)
        if epoch == self.first:
            self.connection.execute("BEGIN EXCLUSIVE")
        elif epoch is not None and epoch == self.last:
            self.connection.rollback()
        if isinstance(event, Note):
            self.notes.append(event.text)


def test_training_goes_on_and_stores_every_epoch_later(store: Store, undisturbed: list[EpochRecord]) -> None:
    run, _ = add_run(store, small_spec())
    blocker = Blocker(store, 2, 4)
    assert train_run(store, run, TrainingOptions(), blocker) is RunStatus.DONE
    assert rows(store, run) == undisturbed
    assert [note.rpartition(" ")[2] for note in blocker.notes] == [
        str(store.run_folder(run.id) / "pending.jsonl"),
        "waiting",
    ]


def test_a_lock_beyond_the_end_costs_nothing_but_the_same_command_again(
    store: Store, undisturbed: list[EpochRecord], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = add_run(store, small_spec())
    blocker = Blocker(store, 2, None)
    with pytest.raises(StoreError, match=r"4 epochs of run-1 not stored yet: .*pending.jsonl"):
        train_run(store, run, TrainingOptions(), blocker)
    blocker.connection.close()

    assert get_run(store, run.name).status is RunStatus.LOST
    shown = cli("runs", "show", "run-1", "--store", str(store.path))
    assert "4 records of run-1 not stored yet: " in shown.err
    assert json.loads(cli("runs", "show", "run-1", "--format", "json", "--store", str(store.path)).out)["pending"] == 4

    trained: list[int] = []

    def listen(run: Run, event: Event | Note) -> None:
        trained.extend([event.record.epoch] if hasattr(event, "record") else [])

    assert train_run(store, run, TrainingOptions(), listen) is RunStatus.DONE
    assert rows(store, run) == undisturbed
    assert trained == []  # its last checkpoint is that of its end
    assert "not stored" not in cli("runs", "show", "run-1", "--store", str(store.path)).err


def test_ctrl_c_in_a_locked_store_loses_no_epoch(store: Store, undisturbed: list[EpochRecord]) -> None:
    run, _ = add_run(store, small_spec())
    blocker = Blocker(store, 2, None)

    def stop_at_5(run: Run, event: Event | Note) -> None:
        blocker(run, event)
        if getattr(getattr(event, "record", None), "epoch", None) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_run(store, run, TrainingOptions(), stop_at_5)
    blocker.connection.close()
    waits = store.run_folder(run.id) / recorder.PENDING
    assert say_stored(store, [run]).startswith(f"the store could not be had, and epochs wait in {waits}; ")
    assert train_run(store, run, TrainingOptions(), ignore) is RunStatus.DONE
    assert rows(store, run) == undisturbed
    assert say_stored(store, [run]) == "every finished epoch is stored"


def lock_at_2_and_stop(store: Store, connection: sqlite3.Connection) -> Callable[[Run, Event | Note], None]:
    def listen(run: Run, event: Event | Note) -> None:
        if getattr(getattr(event, "record", None), "epoch", None) == 2:
            connection.execute("BEGIN EXCLUSIVE")
            raise KeyboardInterrupt

    return listen


def test_ctrl_c_before_anything_waits_is_no_error_of_the_store(store: Store, undisturbed: list[EpochRecord]) -> None:
    run, _ = add_run(store, small_spec())
    with (
        closing(sqlite3.connect(str(store.path), isolation_level=None)) as connection,
        pytest.raises(KeyboardInterrupt),
    ):
        train_run(store, run, TrainingOptions(), lock_at_2_and_stop(store, connection))
    assert get_run(store, run.name).status is RunStatus.LOST
    assert train_run(store, run, TrainingOptions(), ignore) is RunStatus.DONE
    assert rows(store, run) == undisturbed


def test_ctrl_c_asks_a_locked_store_once_for_all_runs_of_a_group(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    group = [add_run(store, small_spec(seed=seed))[0] for seed in range(4)]
    asked: list[int] = []
    finish = held.runs.finish_run

    def finish_run(store: Store, run_id: int, **how: Any) -> bool:
        asked.append(run_id)
        return finish(store, run_id, **how)

    monkeypatch.setattr("ncdiag.store.runs.finish_run", finish_run)
    with (
        closing(sqlite3.connect(str(store.path), isolation_level=None)) as connection,
        pytest.raises(KeyboardInterrupt),
    ):
        train_runs(store, group, TrainingOptions(), lock_at_2_and_stop(store, connection))
    assert asked == [group[0].id]
    assert {get_run(store, run.name).status for run in group} == {RunStatus.LOST}
    assert {outcome.status for outcome in train_runs(store, group, TrainingOptions(), ignore)} == {RunStatus.DONE}


def test_a_run_that_cannot_be_given_up_does_not_keep_the_others(store: Store) -> None:
    first, second = (add_run(store, small_spec(seed=seed))[0] for seed in range(2))
    blocker = Blocker(store, 2, None)

    def stop_at_5(run: Run, event: Event | Note) -> None:
        if run.id == second.id:
            blocker(run, event)
        if run.id == second.id and getattr(getattr(event, "record", None), "epoch", None) == 5:
            waits = store.run_folder(first.id) / recorder.PENDING
            waits.unlink()
            waits.mkdir()  # which nobody can read
            blocker.connection.close()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_runs(store, [first, second], TrainingOptions(), stop_at_5)
    assert [get_run(store, run.name).status for run in (first, second)] == [RunStatus.LOST, RunStatus.INTERRUPTED]
    assert get_run(store, second.name).epochs_done == 5


def start_training(store: Path, options: list[str]) -> "subprocess.Popen[str]":
    """Start a command that trains a run, and give it once it has trained an epoch."""
    command = [sys.executable, "-m", "ncdiag", "train", *options, "--store", str(store)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    assert any("epoch " in line for line in iter(process.stderr.readline, "")), "it ended before it trained"
    return process


@pytest.mark.slow
def test_one_ctrl_c_does_not_wait_long_for_a_store_that_is_locked(tmp_path: Path) -> None:
    options = [*SMALL_OPTIONS[:6], "--phase", "ce:100000", "--device", "cpu"]
    process = start_training(tmp_path / "runs.db", options)
    with closing(sqlite3.connect(tmp_path / "runs.db", isolation_level=None, timeout=30)) as blocker:
        blocker.execute("BEGIN EXCLUSIVE")
        time.sleep(3)
        process.send_signal(signal.SIGINT)
        before = time.monotonic()
        _, said = process.communicate(timeout=300)
        waited = time.monotonic() - before
    assert process.returncode == 130, said
    assert waited < 45  # SQLite lets the signal through after its own wait of half a minute
    assert f"Continue with `ncdiag train --resume run-1 --store {tmp_path / 'runs.db'}`" in said
    with open_store(str(tmp_path / "runs.db")) as store:
        assert get_run(store, "run-1").status is RunStatus.LOST


@pytest.mark.slow
def test_a_store_that_is_locked_for_a_minute_by_another_program(tmp_path: Path) -> None:
    """The real thing, with the real patience: no part of ncdiag knows that this is a test."""
    options = [*SMALL_OPTIONS[:6], "--phase", "ce:1500", "--device", "cpu"]
    process = start_training(tmp_path / "runs.db", options)
    with closing(sqlite3.connect(tmp_path / "runs.db", isolation_level=None, timeout=30)) as blocker:
        blocker.execute("BEGIN EXCLUSIVE")
        time.sleep(60)
        blocker.rollback()
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    assert "training goes on" in said
    assert "stored that had been waiting" in said

    assert run_ncdiag(["train", *options, "--store", str(tmp_path / "whole.db")]) == 0
    with open_store(str(tmp_path / "runs.db")) as store, open_store(str(tmp_path / "whole.db")) as whole:
        assert rows(store, get_run(store, "run-1")) == rows(whole, get_run(whole, "run-1"))
