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
from contextlib import closing, contextmanager
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
from ncdiag.execution import worker
from ncdiag.execution.held import Note
from ncdiag.execution.worker import TrainingOptions, train_run, train_runs
from ncdiag.store import handle, recorder, runs, waiting
from ncdiag.store.engine import Store, open_store
from ncdiag.store.epochs import list_epochs
from ncdiag.store.recorder import list_pending
from ncdiag.store.runs import add_run, get_run, list_runs
from ncdiag.training.events import Event


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store that nobody waits for."""
    for name in ("TURN_SECONDS", "OUTAGE_SECONDS", "HURRY_SECONDS"):
        monkeypatch.setattr(waiting, name, 0)
    monkeypatch.setattr(worker, "OUTAGE_SECONDS", 0)
    monkeypatch.setattr(handle, "BUSY_SECONDS", 0)
    monkeypatch.setattr(recorder, "SECONDS_BETWEEN_TRIES", 0)
    with open_store(str(tmp_path / "runs.db"), write=True) as opened:
        yield opened


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
    finish = runs.finish_run

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


def start(*arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "ncdiag", *arguments]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def read_until(process: "subprocess.Popen[str]", text: str) -> None:
    """Read what a command says until it says this."""
    assert process.stderr is not None
    said: list[str] = []
    for line in iter(process.stderr.readline, ""):
        said.append(line)
        if text in line:
            return
    raise AssertionError(f"it ended without {text!r}: {said}")


def start_training(store: Path, options: list[str]) -> "subprocess.Popen[str]":
    """Start a command that trains a run, and give it once it has trained an epoch."""
    process = start("train", *options, "--store", str(store))
    read_until(process, "epoch ")
    return process


@contextmanager
def held(store: Path, begin: str) -> Iterator[None]:
    """Hold a store in another process, as a database browser does, for a minute or until the block ends."""
    program = "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)"
    program += "; c.execute(sys.argv[2]); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program, str(store), begin], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


def stop(process: "subprocess.Popen[str]", sent: signal.Signals) -> str:
    """Ask a command to end, long before the store is let go, and give what it says then."""
    process.send_signal(sent)
    before = time.monotonic()
    _, said = process.communicate(timeout=120)
    assert time.monotonic() - before < 15, "it has waited for the store"
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[sent], said
    assert "Traceback" not in said
    return said


CHANGE = "BEGIN IMMEDIATE"  # others read meanwhile
ALONE = "BEGIN EXCLUSIVE"
LOCKED = "is locked by another process; waiting up to"


@pytest.mark.parametrize(
    ("begin", "arguments", "sent"),
    [
        (CHANGE, ("train", *SMALL_OPTIONS, "--device", "cpu", "--seed", "7"), signal.SIGINT),
        (ALONE, ("train", *SMALL_OPTIONS, "--device", "cpu", "--seed", "7"), signal.SIGTERM),
        (CHANGE, ("runs", "rename", "run-1", "other"), signal.SIGINT),
        (ALONE, ("runs", "ls"), signal.SIGINT),
    ],
)
def test_a_command_says_that_it_waits_and_hears_a_request_to_stop(
    tmp_path: Path, begin: str, arguments: tuple[str, ...], sent: signal.Signals
) -> None:
    path = tmp_path / "runs.db"
    with open_store(str(path), write=True) as store:
        add_run(store, small_spec())
    with held(path, begin):
        waiting = start(*arguments, "--store", str(path))
        read_until(waiting, LOCKED)
        stop(waiting, sent)
    with open_store(str(path)) as store:
        assert [(run.name, run.status) for run in list_runs(store)] == [("run-1", RunStatus.PENDING)]


def test_a_command_goes_on_when_the_store_is_let_go(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with open_store(str(path), write=True) as store:
        add_run(store, small_spec())
    with held(path, CHANGE):
        waiting = start("runs", "rename", "run-1", "other", "--store", str(path))
        read_until(waiting, LOCKED)
    _, said = waiting.communicate(timeout=120)
    assert waiting.returncode == 0, said
    with open_store(str(path)) as store:
        assert get_run(store, "other").id == 1


@pytest.mark.parametrize(
    ("begin", "sent"),
    [(CHANGE, signal.SIGINT), pytest.param(ALONE, signal.SIGTERM, marks=pytest.mark.slow)],
)
def test_a_run_that_waits_for_the_store_is_stopped_at_once_and_keeps_the_epoch(
    tmp_path: Path, begin: str, sent: signal.Signals
) -> None:
    path = tmp_path / "runs.db"
    options = [*SMALL_OPTIONS[:6], "--phase", "ce:100000", "--device", "cpu"]
    training = start_training(path, options)
    with held(path, begin):
        read_until(training, LOCKED)
        said = stop(training, sent)
        assert f"epochs wait in {path}.runs/1/pending.jsonl" in said
        assert f"Continue with `ncdiag train --resume run-1 --store {path}`" in said
    with open_store(str(path)) as store:
        run = get_run(store, "run-1")
        (waits,) = list_pending(store, run)
        assert (run.status, waits.epoch) == (RunStatus.LOST, run.epochs_done + 1)

    training = start("train", "--resume", "run-1", "--store", str(path))
    read_until(training, "1 epoch stored that had been waiting")
    read_until(training, "epoch ")
    stop(training, sent)
    with open_store(str(path)) as store:
        again = get_run(store, "run-1")
        assert again.status is RunStatus.INTERRUPTED
        epochs = [record.epoch for record in list_epochs(store, run.id)]
        assert epochs == list(range(1, again.epochs_done + 1))
        assert len(epochs) >= waits.epoch


@pytest.mark.slow
def test_a_store_that_nobody_lets_go_is_an_error_in_the_end(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with open_store(str(path), write=True):
        pass
    with held(path, ALONE):
        before = time.monotonic()
        waiting = start("runs", "ls", "--store", str(path))
        read_until(waiting, f"{LOCKED} 30 seconds")
        _, said = waiting.communicate(timeout=60)
        assert 30 < time.monotonic() - before < 60
    assert waiting.returncode == 3
    assert "is locked by another process.\nClose the program that holds it open" in said


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
