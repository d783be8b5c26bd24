"""A tracked run that its process cannot hold, or whose process is not the only one."""

from pathlib import Path
from typing import Any

import pytest

import ncdiag
from ncdiag.domain.records import RunStatus
from ncdiag.errors import SpecError, StoreError
from ncdiag.execution import tracking
from ncdiag.store.engine import open_store
from ncdiag.store.faults import StoreBusyError
from ncdiag.store.runs import get_run, list_runs
from ncdiag.store.tracked import add_tracked_run


@pytest.fixture
def url(tmp_path: Path) -> str:
    return str(tmp_path / "own.db")


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
