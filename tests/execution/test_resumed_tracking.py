"""A tracked run is gone on with by its name."""

from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
from small import small_spec
from tracked import enter, interrupted, stored

import ncdiag
from ncdiag.domain.records import RunStatus
from ncdiag.errors import SpecError, UnsafeError
from ncdiag.execution import tracking
from ncdiag.store.engine import open_store
from ncdiag.store.handle import Store
from ncdiag.store.leases import hold_lease
from ncdiag.store.runs import add_run, get_run


@pytest.mark.parametrize(("resume", "begins"), [(True, 4), (2, 2), (0, 0)])
def test_a_run_is_resumed_after_its_last_epoch_or_another(url: str, resume: bool | int, begins: int) -> None:
    interrupted(url, arch="net")
    with ncdiag.track("mine", store=url, resume=resume, arch="net") as run:
        assert run.epoch == begins
        run.log(nc1=9.0, loss="mse")
    after, rows = stored(url, "mine")
    assert [row.nc1 for row in rows] == [*[1.0, 1 / 2, 1 / 3, 1 / 4][:begins], 9.0]
    assert rows[-1].phase == (2 if begins else 1)
    assert (after.status, after.epochs_done) == ("done", begins + 1)


def test_a_run_goes_on_after_a_checkpoint_that_is_ahead_of_what_was_logged(url: str) -> None:
    interrupted(url)
    with ncdiag.track("mine", store=url, resume=np.int64(6)) as run:
        assert run.epoch == 6
        with pytest.raises(SpecError, match="epoch 5 follows epoch 6"):
            run.log(5, nc1=9.0)
        assert run.log(nc1=9.0).epoch == 7
    assert [row.epoch for row in stored(url, "mine")[1]] == [1, 2, 3, 4, 7]


@pytest.mark.parametrize("resume", [True, 2])
def test_a_run_that_is_done_can_be_made_longer(url: str, resume: bool | int) -> None:
    with ncdiag.track("mine", store=url) as run:
        run.log(nc1=0.5)
        run.log(nc1=0.4)
    with ncdiag.track("mine", store=url, resume=resume) as run:
        run.log(nc1=0.3)
    found, records = stored(url, "mine")
    assert (found.status, found.epochs_done) == (RunStatus.DONE, 3)
    assert [record.nc1 for record in records] == [0.5, 0.4, 0.3]


def test_a_run_that_went_on_and_ended_before_it_could_be_held_loses_nothing(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = tracking.hold_lease

    def hold_late(store: Store, run_id: int, owner: str) -> AbstractContextManager[bool]:
        monkeypatch.undo()
        with ncdiag.track("mine", store=url, resume=True) as other:
            other.log(nc1=0.1)
        return hold(store, run_id, owner)

    interrupted(url)
    monkeypatch.setattr("ncdiag.execution.tracking.hold_lease", hold_late)
    with pytest.raises(UnsafeError, match="done after epoch 5, and epochs of it would be dropped"):
        enter("mine", store=url, resume=4)
    assert [record.epoch for record in stored(url, "mine")[1]] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("resume", [-1, 1.5, "2", None])
def test_an_epoch_that_is_none_is_not_resumed_after(url: str, resume: Any) -> None:
    interrupted(url)
    with pytest.raises(SpecError, match="resume is True, or the epoch to go on after, from 0, not "):
        enter("mine", store=url, resume=resume)
    assert stored(url, "mine")[0].epochs_done == 4


def test_a_script_may_always_say_resume(url: str) -> None:
    with ncdiag.track("mine", store=url, resume=True) as run:
        assert run.epoch == 0


def test_what_cannot_be_resumed_is_refused(url: str) -> None:
    interrupted(url, arch="net", lr=0.1)
    same: dict[str, Any] = {"store": url, "arch": "net", "lr": 0.1}
    with pytest.raises(SpecError, match=r"mine was another run: lr 0.1 -> 0.2, seed None -> 1"):
        enter("mine", **{**same, "lr": 0.2}, seed=1, resume=True)
    with pytest.raises(SpecError, match=r"a run mine, interrupted after epoch 4; go on with it by\s+resume=True"):
        enter("mine", **same)
    with pytest.raises(SpecError, match="needs its name"):
        enter(**same, resume=True)
    with (
        open_store(url, write=True) as store,
        hold_lease(store, get_run(store, "mine").id, "about to claim it"),
        pytest.raises(UnsafeError, match="held by a process that trains it"),
    ):
        enter("mine", **same, resume=True)
    assert stored(url, "mine")[0].status is RunStatus.INTERRUPTED
    with ncdiag.track("mine", **same, resume=True):
        with pytest.raises(UnsafeError, match="held by a process that trains it"):
            enter("mine", **same, resume=True)
        with pytest.raises(SpecError, match=r"mine is being tracked already(.|\n)*only one tracks it"):
            enter("mine", **same)
    with pytest.raises(UnsafeError, match=r"done after epoch 4, and epochs of it would be dropped(.|\n)*runs rm"):
        enter("mine", **same, resume=3)
    with pytest.raises(SpecError, match="belongs to another run"):
        enter("mine", **same)
    with open_store(url, write=True) as store:
        trained, _ = add_run(store, small_spec())
    with pytest.raises(UnsafeError, match=f"{trained.name} was not tracked but {trained.origin}; choose another name"):
        enter(trained.name, store=url, resume=True)
    assert stored(url, "mine")[0].epochs_done == 4
