"""A request to stop that comes where nobody hears it, or at an awkward moment."""

import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small import ignore, small_spec

from ncdiag.domain.records import Run, RunStatus
from ncdiag.execution.held import Note
from ncdiag.execution.signals import stops_heard, stops_stored
from ncdiag.execution.worker import TrainingOptions, train_run, train_runs
from ncdiag.store import runs
from ncdiag.store.engine import Store
from ncdiag.store.runs import add_run, get_run
from ncdiag.training.events import EpochDone, Event

STOPS = [(signal.SIGTERM, SystemExit), (signal.SIGHUP, SystemExit), (signal.SIGINT, KeyboardInterrupt)]


def raised_while_an_object_is_freed(number: signal.Signals) -> None:
    class Freed:
        pass

    thing = Freed()
    ref = weakref.ref(thing, lambda _: signal.raise_signal(number))
    del thing
    assert ref() is None


def taken_for_an_error(number: signal.Signals) -> None:
    try:
        signal.raise_signal(number)
    except BaseException as error:
        raise RuntimeError("a callback failed") from error


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")  # nothing is said of what is dropped
@pytest.mark.parametrize(("number", "expected"), STOPS)
@pytest.mark.parametrize("ask", [raised_while_an_object_is_freed, taken_for_an_error])
def test_a_request_to_stop_that_got_lost_is_heard_at_the_next_event(
    store: Store, number: signal.Signals, expected: type[BaseException], ask: Callable[[signal.Signals], None]
) -> None:
    def listen(run: Run, event: Event | Note) -> None:
        if isinstance(event, EpochDone) and event.record.epoch == 2:
            ask(number)

    handlers = [sys.unraisablehook, *(signal.getsignal(one) for one, _ in STOPS)]
    run, _ = add_run(store, small_spec(epochs=5))
    with pytest.raises(expected), stops_stored():
        train_run(store, run, TrainingOptions(device="cpu"), listen)
    stopped = get_run(store, run.name)
    assert (stopped.status, stopped.epochs_done) == (RunStatus.INTERRUPTED, 2)
    assert [sys.unraisablehook, *(signal.getsignal(one) for one, _ in STOPS)] == handlers
    assert train_run(store, stopped, TrainingOptions(device="cpu"), ignore) is RunStatus.DONE


@pytest.mark.parametrize(
    ("ctrl_c", "then"), [(signal.default_int_handler, signal.SIG_DFL), (signal.SIG_IGN, signal.SIG_IGN)]
)
def test_another_ctrl_c_ends_the_process_at_once_unless_it_was_started_so_as_to_ignore_it(
    ctrl_c: Any, then: signal.Handlers
) -> None:
    before = signal.signal(signal.SIGINT, ctrl_c)
    try:
        with stops_stored():
            with pytest.raises(SystemExit):
                signal.raise_signal(signal.SIGTERM)
            while_it_is_stored = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    finally:
        signal.signal(signal.SIGINT, before)
    assert while_it_is_stored == [then, signal.SIG_IGN, signal.SIG_IGN]  # `timeout` and a closed terminal send two


def test_what_nohup_starts_outlives_its_terminal() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stops_heard(), stops_stored():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("number", "expected"), STOPS)
def test_a_run_that_was_just_claimed_is_given_back(
    store: Store, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, expected: type[BaseException]
) -> None:
    claim = runs.claim_run

    def claimed_and_stopped(*args: Any, **kwargs: Any) -> bool:
        assert claim(*args, **kwargs)
        signal.raise_signal(number)
        return True

    monkeypatch.setattr(runs, "claim_run", claimed_and_stopped)
    run, _ = add_run(store, small_spec())
    with pytest.raises(expected), stops_stored():
        train_run(store, run, TrainingOptions(device="cpu"), ignore)
    stopped = get_run(store, run.name)
    assert (stopped.status, stopped.reason) == (RunStatus.INTERRUPTED, "stopped by a signal")


@pytest.mark.parametrize(("number", "expected"), STOPS)
def test_a_request_that_was_taken_for_an_error_before_the_claim_ends_no_run(
    store: Store, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, expected: type[BaseException]
) -> None:
    monkeypatch.setattr("ncdiag.execution.held.environment", lambda device: taken_for_an_error(number))
    group = [add_run(store, small_spec(seed=seed))[0] for seed in range(2)]
    with pytest.raises(expected), stops_stored():
        train_runs(store, group, TrainingOptions(device="cpu"), ignore)
    assert {get_run(store, run.name).status for run in group} == {RunStatus.PENDING}


@pytest.mark.parametrize(("number", "expected"), STOPS)
def test_an_error_that_a_request_was_taken_for_is_none(number: signal.Signals, expected: type[BaseException]) -> None:
    with pytest.raises(expected), stops_stored():
        taken_for_an_error(number)


def test_an_error_without_a_request_stays_one() -> None:
    with pytest.raises(ZeroDivisionError), stops_stored():
        raise ZeroDivisionError


def test_an_error_that_python_drops_is_still_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    printed: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unheard: printed.append(str(unheard.exc_value)))

    class Freed:
        def __del__(self) -> None:
            raise ValueError("while it is freed")

    with stops_stored():
        Freed()
    assert printed == ["while it is freed"]


STOPPED_AT_THE_END = """
import atexit, os, signal
atexit.register(lambda: (os.kill(os.getpid(), signal.SIGINT), print("went on")))
"""


def test_ctrl_c_while_the_process_leaves_ends_it_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(STOPPED_AT_THE_END)
    done = subprocess.run(
        [sys.executable, "-m", "ncdiag", "--version"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])},
        check=False,
    )
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")  # a shell shows it as 130
    assert "went on" not in done.stdout


DROPPED = """
import signal, sys, weakref
from ncdiag.execution.signals import stops_heard
class Freed:
    pass
with stops_heard():
    thing = Freed()
    ref = weakref.ref(thing, lambda _: signal.raise_signal(int(sys.argv[1])))
    del thing
    print("went on")
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_request_that_python_drops_ends_a_command_in_silence(number: signal.Signals, code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DROPPED, str(int(number))],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")
