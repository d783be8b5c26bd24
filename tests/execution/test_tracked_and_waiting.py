"""What a tracked run measured while its store could not be had."""

import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing, suppress
from pathlib import Path

import pytest

import ncdiag
from ncdiag.domain.records import EpochRecord, RunStatus
from ncdiag.store import recorder, waiting
from ncdiag.store.engine import open_store
from ncdiag.store.epochs import list_epochs
from ncdiag.store.runs import get_run


def epochs(url: str) -> list[int]:
    with open_store(url) as store:
        return [record.epoch for record in list_epochs(store, get_run(store, "mine").id)]


def test_what_waits_is_stored_when_the_block_ends(url: str) -> None:
    with ncdiag.track("mine", store=url) as run:
        run._recorder.postpone(EpochRecord(epoch=1, nc1=0.5))
        assert epochs(url) == []
    assert epochs(url) == [1]
    with open_store(url) as store:
        assert get_run(store, "mine").status is RunStatus.DONE


@pytest.mark.parametrize(("resume", "kept"), [(True, [1, 2, 3]), (2, [1, 2])])
def test_what_a_killed_script_left_waiting_is_stored_as_far_as_it_goes_on(
    url: str, resume: bool | int, kept: list[int]
) -> None:
    program = """
        import os, signal, sys
        import ncdiag
        from ncdiag.domain.records import EpochRecord
        with ncdiag.track("mine", store=sys.argv[1]) as run:
            run.log(1, nc1=0.5)
            for epoch in (2, 3):
                run._recorder.postpone(EpochRecord(epoch=epoch, nc1=0.5))
            os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program), url], check=False)
    assert done.returncode == -signal.SIGKILL
    assert epochs(url) == [1]
    with ncdiag.track("mine", store=url, resume=resume) as run:
        assert epochs(url) == kept
        assert run.epoch == kept[-1]


@pytest.mark.parametrize("location", ["own.db", "sqlite:///own.db"])
def test_a_script_may_change_its_directory_while_the_store_is_locked(
    location: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "TURN_SECONDS", 0.0)
    monkeypatch.setattr(recorder, "SECONDS_BETWEEN_TRIES", 0.0)
    (tmp_path / "outputs").mkdir()
    monkeypatch.chdir(tmp_path)
    with suppress(RuntimeError), ncdiag.track("mine", store=location) as run:
        run._recorder.postpone(EpochRecord(epoch=1, nc1=0.5))
        monkeypatch.chdir("outputs")
        with closing(sqlite3.connect(url, isolation_level=None)) as blocker:
            blocker.execute("BEGIN EXCLUSIVE")
            run.log(2, nc1=0.5)
        run.log(3, nc1=0.5)
        assert epochs(url) == [1, 2, 3]
        raise RuntimeError
    with open_store(url) as store:
        assert get_run(store, "mine").status is RunStatus.FAILED
