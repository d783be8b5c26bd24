"""A tracked run that its process cannot hold, or whose process is not the only one."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import ncdiag
from ncdiag.domain.records import RunStatus
from ncdiag.errors import SpecError, StoreError
from ncdiag.execution import tracking
from ncdiag.store.engine import open_store
from ncdiag.store.epochs import list_epochs
from ncdiag.store.faults import StoreBusyError
from ncdiag.store.runs import get_run, list_runs
from ncdiag.store.tracked import add_tracked_run


def states(url: str) -> dict[str, RunStatus]:
    with open_store(url) as store:
        return {run.name: run.status for run in list_runs(store)}


def enter(url: str, **said: Any) -> None:
    with ncdiag.track("mine", store=url, **said):
        raise AssertionError("it should not begin")


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_that_cannot_be_held_is_not_left_behind(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resume: bool
) -> None:
    folder = tmp_path / "own.db.runs"
    folder.touch()  # in the way of the lock
    with pytest.raises(StoreError, match=r"the lock of run 1 cannot be taken(.|\n)*Check the folder"):
        enter(url, resume=resume)
    folder.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(tracking.runs, "claim_run", claim_in_a_locked_store)
        with pytest.raises(StoreBusyError):
            enter(url, resume=resume)
    assert states(url) == {}
    with ncdiag.track("mine", store=url):
        pass
    assert states(url) == {"mine": RunStatus.DONE}


def claim_in_a_locked_store(*_: Any, **__: Any) -> bool:
    raise StoreBusyError("the store is locked")


def test_a_run_that_was_there_before_is_not_removed(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt), ncdiag.track("mine", store=url):
        raise KeyboardInterrupt
    monkeypatch.setattr(tracking.runs, "claim_run", claim_in_a_locked_store)
    with pytest.raises(StoreBusyError):
        enter(url, resume=True)
    assert states(url) == {"mine": RunStatus.INTERRUPTED}


def test_a_run_that_never_began_says_how_it_does(url: str) -> None:
    with open_store(url, write=True) as store:
        add_tracked_run(store, key="0" * 64, name="mine", config={})
    with pytest.raises(SpecError, match=r"a run mine, pending after epoch 0; go on with it by resume=True"):
        enter(url)
    with ncdiag.track("mine", store=url, resume=True) as run:
        assert run.epoch == 0
    with open_store(url) as store:
        assert get_run(store, "mine").status is RunStatus.DONE


@pytest.mark.parametrize(
    ("leave", "code"),
    [
        ("sys.exit(3)", 3),
        ("raise ValueError", 1),
        ("pass", 0),
        ("run.log(nc1=0.1)", 1),
        ("run.measure(None, 'fc', [])", 1),
    ],
)
def test_a_forked_process_leaves_the_run_to_the_one_that_has_it(url: str, leave: str, code: int) -> None:
    script = f"""
    import os, sys, ncdiag
    with ncdiag.track("mine", store=sys.argv[1]) as run:
        run.log(nc1=1.0)
        child = os.fork()
        if not child:
            {leave}
        else:
            left = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            run.log(nc1=0.5)
    if child:
        print(left, run.epoch)
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script), url], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{code} 2\n"
    said = r"SpecError: mine is tracked by process \d+, from which this one, \d+, was forked; log to it there"
    assert bool(re.search(said, done.stderr)) == leave.startswith("run")
    with open_store(url) as store:
        run = get_run(store, "mine")
        assert (run.status, [(row.epoch, row.nc1) for row in list_epochs(store, run.id)]) == (
            "done",
            [(1, 1), (2, 0.5)],
        )
