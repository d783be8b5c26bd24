"""Processes that are stopped, paused and asked to end: by the terminal, by a scheduler, by a reader that left."""

import os
import pty
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from clihelp import Cli, Start
from small import SMALL_OPTIONS

from ncdiag.domain.records import Run, RunStatus
from ncdiag.run_files import list_checkpoints
from ncdiag.store.engine import open_store
from ncdiag.store.runs import list_runs

LONG = [*SMALL_OPTIONS[:6], "--phase", "ce:100000", "--device", "cpu"]
SHORT = [*SMALL_OPTIONS[:6], "--phase", "ce:300", "--device", "cpu"]


def stored(tmp_path: Path) -> list[Run]:
    with open_store(str(tmp_path / "ncdiag.db")) as store:
        return list_runs(store)


def group_of(process: "subprocess.Popen[str]") -> list[str]:
    """Give the live processes of a group."""
    listed = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if line.split()[0] == str(process.pid) and "Z" not in line.split()[1]]


def wait_until(true: Callable[[], bool], seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize(
    ("sent", "code"), [pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow), (signal.SIGTERM, 143)]
)
def test_a_signal_ends_a_run_in_good_order(start: Start, tmp_path: Path, sent: signal.Signals, code: int) -> None:
    process = start("train", *LONG)
    process.send_signal(sent)
    out, said = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, "run-1\n")
    assert "Continue with `ncdiag train --resume run-1`" in said
    assert "Traceback" not in said
    (run,) = stored(tmp_path)
    assert (run.status, run.reason) == (RunStatus.INTERRUPTED, "stopped by a signal")
    assert run.epochs_done > 0


ON_A_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "ncdiag", *sys.argv[1:]])
"""


def test_a_run_whose_terminal_is_closed_is_interrupted(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL, "train", *LONG],
        cwd=tmp_path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        start_new_session=True,
    )
    os.close(theirs)
    try:
        with open(ours, "rb", buffering=0) as terminal:
            shown = iter(lambda: terminal.read(1000), b"")
            assert any(b"NC1" in some for some in shown), "it ended before it trained"
        assert process.wait(timeout=60) == 129
    finally:
        process.kill()
        process.wait()
    (run,) = stored(tmp_path)
    assert (run.status, run.reason) == (RunStatus.INTERRUPTED, "stopped by a signal")
    kept = list_checkpoints(tmp_path / "ncdiag.db.runs" / str(run.id))
    assert max(kept) >= run.epochs_done - 1  # the signal may come when an epoch's row is stored, and its state not yet


@pytest.mark.slow
def test_another_ctrl_c_ends_it_without_waiting_for_the_store(start: Start, tmp_path: Path) -> None:
    process = start("train", *LONG)
    with closing(sqlite3.connect(tmp_path / "ncdiag.db", isolation_level=None, timeout=30)) as blocker:
        blocker.execute("BEGIN EXCLUSIVE")
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)  # as fingers do it
        before = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
        waited = time.monotonic() - before
    assert process.returncode in (-signal.SIGINT, 130)  # a shell shows both as 130
    assert waited < 15
    assert wait_until(lambda: stored(tmp_path)[0].status is RunStatus.LOST)


SLOW_WORKERS = """
import sys, time
from pathlib import Path
if "--multiprocessing-fork" in sys.orig_argv:
    Path("worker").touch()
    time.sleep(2)
"""


@pytest.mark.slow
def test_ctrl_c_while_workers_start_ends_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SLOW_WORKERS)
    process = subprocess.Popen(
        [sys.executable, "-m", "ncdiag", "sweep", *LONG, "--seed", "0:2", "--jobs", "2"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])},
        start_new_session=True,
    )
    assert wait_until((tmp_path / "worker").exists)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "The same command again continues" in said
    assert "Traceback" not in said
    assert group_of(process) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "code", "statuses"),
    [
        (signal.SIGINT, 130, {RunStatus.INTERRUPTED}),
        (signal.SIGTERM, 143, {RunStatus.INTERRUPTED}),
        (signal.SIGHUP, 129, {RunStatus.INTERRUPTED}),
        (signal.SIGKILL, -9, {RunStatus.LOST}),
    ],
)
def test_a_signal_to_the_group_of_a_sweep_leaves_no_process(
    start: Start, tmp_path: Path, sent: signal.Signals, code: int, statuses: set[RunStatus]
) -> None:
    process = start("sweep", *LONG, "--seed", "0:2", "--jobs", "2")
    assert wait_until(lambda: {run.status for run in stored(tmp_path)} == {RunStatus.RUNNING})
    os.killpg(process.pid, sent)
    process.communicate(timeout=60)
    assert process.returncode == code
    assert wait_until(lambda: not group_of(process))
    assert {run.status for run in stored(tmp_path)} == statuses


@pytest.mark.slow
def test_a_paused_process_keeps_its_run(start: Start, tmp_path: Path, cli: Cli) -> None:
    store = str(tmp_path / "ncdiag.db")
    process = start("train", *SHORT, "--store", store)
    process.send_signal(signal.SIGSTOP)
    assert stored(tmp_path)[0].status is RunStatus.RUNNING
    refused = cli("train", "--resume", "run-1", "--store", store)
    assert refused.code == 6
    assert "is being trained by another process" in refused.err
    process.send_signal(signal.SIGCONT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert (stored(tmp_path)[0].status, stored(tmp_path)[0].epochs_done) == (RunStatus.DONE, 300)


@pytest.mark.slow
def test_the_death_of_a_process_is_seen_at_once(start: Start, tmp_path: Path, cli: Cli) -> None:
    process = start("train", *LONG)
    process.kill()
    process.wait()
    listed = cli("runs", "ls", "--store", tmp_path / "ncdiag.db")
    assert "lost" in listed.out


@pytest.mark.slow
def test_a_worker_that_is_killed_fails_its_group_and_no_other(start: Start, tmp_path: Path, cli: Cli) -> None:
    """As the kernel does it to the largest process when memory is short; the runs of a group share a process.

    Whether there are groups is tried out, and a busy machine may find that they do not pay.
    """
    points = ["sweep", *SHORT, "--seed", "0:4", "--jobs", "2"]
    process = start(*points)

    def training() -> dict[int, set[str]]:
        """Give the runs of each process that has claimed all of its group."""
        found: dict[int, set[str]] = {}
        with closing(sqlite3.connect(tmp_path / "ncdiag.db", timeout=30)) as connection:
            for pid, name, epochs in connection.execute(
                "SELECT pid, name, epochs_done FROM runs WHERE status = 'running'"
            ):
                found.setdefault(pid, set()).update([name] * (epochs > 0))
        return found

    assert wait_until(lambda: len(training()) == 2 and all(training().values()))
    pid, killed = next(iter(training().items()))
    os.kill(pid, signal.SIGKILL)
    _, said = process.communicate(timeout=400)
    assert process.returncode == 5
    for name in killed:
        assert f"{name}: its process ended with code -9; where memory is short, fewer --jobs" in said
    stands = {run.name: run.status for run in stored(tmp_path)}
    assert {stands.pop(name) for name in killed} == {RunStatus.LOST}
    assert set(stands.values()) == {RunStatus.DONE}
    assert cli(*points[:-1], "1", "--store", tmp_path / "ncdiag.db").code == 0
    assert {(run.status, run.epochs_done) for run in stored(tmp_path)} == {(RunStatus.DONE, 300)}
