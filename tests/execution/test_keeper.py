from dataclasses import replace
from datetime import timedelta

import pytest
import torch
from small import small_spec

from ncdiag.domain.records import Run
from ncdiag.execution.keeper import MINUTES_APART, Keeper, find_state
from ncdiag.run_files import list_checkpoints
from ncdiag.store.engine import Store
from ncdiag.store.runs import add_run
from ncdiag.training.events import Checkpoint


@pytest.fixture
def run(store: Store) -> Run:
    """A run of two phases of three epochs."""
    return add_run(store, small_spec())[0]


def state_of(epoch: int) -> Checkpoint:
    state = {"epoch": epoch, "weights": {"w": torch.full((3,), float(epoch))}}
    return Checkpoint(member=0, epoch=epoch, milestone=epoch in (3, 6), state=state)


def test_every_nth_state_the_phase_ends_and_the_latest_are_on_disk(store: Store, run: Run) -> None:
    folder = store.run_folder(run.id)
    keeper = Keeper(folder, run, every=2)
    on_disk = {}
    for epoch in range(1, 7):
        keeper.keep(state_of(epoch))
        on_disk[epoch] = list_checkpoints(folder)
    assert on_disk == {1: [], 2: [2], 3: [3], 4: [3, 4], 5: [3, 4], 6: [3, 6]}


def test_a_stop_saves_the_last_finished_epoch_as_it_was(store: Store, run: Run) -> None:
    folder = store.run_folder(run.id)
    keeper = Keeper(folder, run, every=100)
    state = state_of(2)
    keeper.keep(state)
    state.state["weights"]["w"].fill_(99.0)  # training goes on in place
    keeper.save_latest()
    found = find_state(folder, run, print)
    assert found is not None
    assert (found["epoch"], found["weights"]["w"].tolist()) == (2, [2.0, 2.0, 2.0])


def test_a_stop_does_not_go_back_behind_what_was_saved(store: Store, run: Run) -> None:
    folder = store.run_folder(run.id)
    keeper = Keeper(folder, run, every=2)
    for epoch in (1, 2):
        keeper.keep(state_of(epoch))
    keeper.save_latest()
    assert list_checkpoints(folder) == [2]


def test_a_file_holds_one_run_and_not_the_group_it_trains_in(store: Store, run: Run) -> None:
    group = torch.zeros(50, 1000)
    state = Checkpoint(member=0, epoch=3, milestone=True, state={"epoch": 3, "weights": {"w": group[7]}})
    Keeper(store.run_folder(run.id), run, every=1).keep(state)
    (file,) = store.run_folder(run.id).glob("*.pt")
    assert 4000 < file.stat().st_size < 8000


def test_a_state_goes_to_disk_when_minutes_have_passed(store: Store, run: Run) -> None:
    folder = store.run_folder(run.id)
    keeper = Keeper(folder, run, every=100)
    keeper.saved_at -= 60 * MINUTES_APART - 30
    keeper.keep(state_of(1))
    assert list_checkpoints(folder) == []
    keeper.saved_at -= 31
    keeper.keep(state_of(2))
    keeper.keep(state_of(4))
    assert list_checkpoints(folder) == [2]


def test_what_a_killed_process_had_begun_to_write_is_removed(store: Store, run: Run) -> None:
    folder = store.run_folder(run.id)
    Keeper(folder, run, every=1).keep(state_of(5))
    (folder / ".epoch-000006.pt.123.tmp").write_bytes(b"half")
    found = find_state(folder, run, print)
    assert found is not None
    assert [path.name for path in folder.iterdir()] == ["epoch-000005.pt"]


def test_the_states_of_another_run_are_never_continued(store: Store, run: Run) -> None:
    folder = store.run_folder(run.id)
    earlier = replace(run, created_at=run.created_at - timedelta(days=1))
    Keeper(folder, earlier, every=1).keep(state_of(5))
    assert find_state(folder, run, print) is None
    assert list_checkpoints(folder) == []


def test_resume_does_not_depend_on_when_the_run_was_evaluated(store: Store, run: Run) -> None:
    folder = store.run_folder(run.id)
    Keeper(folder, run, every=1).keep(state_of(5))  # the last stored row may be of epoch 1
    found = find_state(folder, run, print)
    assert found is not None
    assert found["epoch"] == 5
