import shutil
import signal
from pathlib import Path

import pytest
from recorded import append

from ncdiag.domain.records import InterventionRecord, RunStatus
from ncdiag.execution.signals import stops_stored
from ncdiag.store import merging
from ncdiag.store.engine import open_store
from ncdiag.store.epochs import list_epochs
from ncdiag.store.interventions import list_interventions
from ncdiag.store.leases import hold_lease, new_owner
from ncdiag.store.merging import _take_row, merge_store
from ncdiag.store.runs import add_run, claim_run, finish_run, get_run, list_runs, remove_runs


@pytest.fixture
def other(folder):
    with open_store(str(folder / "other.db"), write=True) as opened:
        yield opened


def put(store, spec, record, epochs, *, status=RunStatus.DONE, name=None):
    run, _ = add_run(store, spec, name=name)
    owner = new_owner()
    with hold_lease(store, run.id, owner):
        assert claim_run(store, run.id, owner=owner, device="cpu", environment={"torch": "x"}, fingerprint={"isa": "y"})
        append(store, run, *(record(epoch) for epoch in range(1, epochs + 1)), owner=owner)
        if status is not RunStatus.RUNNING:
            finish_run(store, run.id, owner=owner, status=status)
    return run


def test_a_run_keeps_everything_but_its_number(store, other, make_spec, record):
    put(store, make_spec(seed=0), record, 3)
    there = put(other, make_spec(seed=1), record, 4)
    strange = record(5, nc1=float("nan"), train_loss=float("inf"))
    owner = new_owner()
    third = add_run(other, make_spec(seed=2), name="third")[0]
    with hold_lease(other, third.id, owner):
        claim_run(other, third.id, owner=owner, device="cuda:0", environment={})
        append(other, third, strange, owner=owner)
        append(other, third, InterventionRecord(epoch=5, alpha=0.3, compensate_head=False), owner=owner)
        finish_run(other, third.id, owner=owner, status=RunStatus.DIVERGED, reason="nan")

    merged = merge_store(store, other)

    assert (merged.new, merged.replaced, merged.kept) == (("run-2", "third"), (), ())
    here = get_run(store, "run-2")
    assert (here.key, here.id, here.created_at, here.fingerprint) == (there.key, 2, there.created_at, {"isa": "y"})
    assert list_epochs(store, here.id) == list_epochs(other, there.id)
    taken = get_run(store, "third")
    assert (taken.status, taken.reason, taken.device) == (RunStatus.DIVERGED, "nan", "cuda:0")
    assert repr(list_epochs(store, taken.id)) == repr([strange])
    assert list_interventions(store, taken.id) == list_interventions(other, third.id) != []


def test_a_merge_that_is_asked_to_stop_ends_after_the_run_in_hand_and_leaves_nothing(
    store, other, make_spec, record, monkeypatch
):
    for seed in range(3):
        put(other, make_spec(seed=seed), record, 2)
    taken = []

    def take_and_stop(ours, theirs, run, known):
        taken.append(run.name)
        _take_row(ours, theirs, run, known)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("ncdiag.store.merging._take_row", take_and_stop)
    with stops_stored(), pytest.raises(SystemExit):
        merge_store(store, other)
    assert (taken, list_runs(store)) == (["run-1"], [])


def test_merging_twice_changes_nothing(store, other, make_spec, record):
    put(other, make_spec(), record, 4)
    merge_store(store, other)
    again = merge_store(store, other)
    assert (again.new, again.replaced, again.kept) == ((), (), ("run-1",))


@pytest.mark.parametrize(
    ("here", "there", "epochs"),
    [
        ((5, RunStatus.INTERRUPTED), (9, RunStatus.INTERRUPTED), 9),
        ((9, RunStatus.INTERRUPTED), (5, RunStatus.INTERRUPTED), 9),
        ((9, RunStatus.INTERRUPTED), (5, RunStatus.DONE), 5),  # it stopped early at onset
        ((5, RunStatus.DONE), (9, RunStatus.LOST), 5),
    ],
)
def test_of_two_the_run_that_got_further_is_kept(store, other, make_spec, record, here, there, epochs):
    status = {RunStatus.LOST: RunStatus.RUNNING}  # nobody holds its lease any more
    put(store, make_spec(), record, here[0], status=here[1], name="mine")
    put(other, make_spec(), record, there[0], status=status.get(there[1], there[1]), name="theirs")
    merge_store(store, other)
    run = get_run(store, "mine")
    assert (run.epochs_done, len(list_epochs(store, run.id))) == (epochs, epochs)
    assert "theirs" not in {run.name for run in list_runs(store)}


def test_a_run_of_a_dead_process_comes_in_as_interrupted_with_its_checkpoints(store, other, make_spec, record):
    there = put(other, make_spec(), record, 3, status=RunStatus.RUNNING)
    other.run_folder(there.id).mkdir(parents=True, exist_ok=True)
    (other.run_folder(there.id) / "epoch-000003.pt").write_bytes(b"state")
    (other.run_folder(there.id) / "pending.jsonl").write_bytes(b"epochs")
    merge_store(store, other)
    run = get_run(store, "run-1")
    assert run.status is RunStatus.INTERRUPTED
    assert (store.run_folder(run.id) / "epoch-000003.pt").read_bytes() == b"state"
    assert (store.run_folder(run.id) / "pending.jsonl").read_bytes() == b"epochs"


def test_a_run_that_is_called_by_its_number_gets_one_of_here_even_where_its_own_is_free(
    store, other, make_spec, record
):
    for seed in (0, 1, 2):
        put(other, make_spec(seed=seed), record, 1)
    remove_runs(other, ["run-1", "run-2"])
    assert merge_store(store, other).new == ("run-1",)
    assert [add_run(store, make_spec(seed=seed))[0].name for seed in (3, 4)] == ["run-2", "run-3"]


def test_what_is_left_here_of_a_run_that_is_replaced_goes_and_a_run_that_is_over_brings_nothing(
    store, other, make_spec, record
):
    here = put(store, make_spec(seed=0), record, 2, status=RunStatus.INTERRUPTED)
    there = put(other, make_spec(seed=0), record, 3, status=RunStatus.INTERRUPTED)
    over = put(other, make_spec(seed=1), record, 6)
    left = {store.run_folder(here.id): 2, other.run_folder(there.id): 3, other.run_folder(over.id): 6}
    for folder, epoch in left.items():
        (folder / f"epoch-{epoch:06d}.pt").touch()
        (folder / "pending.jsonl").write_bytes(b"%d" % epoch)
    (other.run_folder(there.id) / "pending.jsonl").unlink()
    merge_store(store, other)
    assert {file.name for file in store.run_folder(here.id).iterdir()} == {"lock", "epoch-000003.pt"}
    assert not store.run_folder(get_run(store, "run-2").id).exists()


def test_merging_again_copies_the_checkpoints_that_a_kill_kept_back(store, other, make_spec, record, monkeypatch):
    there = put(other, make_spec(), record, 3, status=RunStatus.INTERRUPTED)
    for name in ("epoch-000002.pt", "epoch-000003.pt", "pending.jsonl"):
        (other.run_folder(there.id) / name).write_text(name)

    class Killed(BaseException):
        pass

    def copy_two(source, target, copy=shutil.copyfile):
        copy(source, target)
        if "000003" in source.name:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfile", copy_two)
        with pytest.raises(Killed):
            merge_store(store, other)
    here = store.run_folder(get_run(store, "run-1").id)
    assert sorted(file.name for file in here.iterdir()) == ["epoch-000002.pt", "lock", "pending.jsonl"]
    assert merge_store(store, other).kept == ("run-1",)
    assert {file.name: file.read_text() for file in here.iterdir() if file.name != "lock"} == {
        name: name for name in ("epoch-000002.pt", "epoch-000003.pt", "pending.jsonl")
    }


def test_merging_again_leaves_the_checkpoints_of_a_run_that_went_on_here(store, other, make_spec, record):
    there = put(other, make_spec(), record, 3, status=RunStatus.INTERRUPTED)
    (other.run_folder(there.id) / "epoch-000002.pt").touch()
    merge_store(store, other)
    here = store.run_folder(get_run(store, "run-1").id)
    (here / "epoch-000002.pt").rename(here / "epoch-000003.pt")
    merge_store(store, other)
    assert sorted(file.name for file in here.iterdir()) == ["epoch-000003.pt", "lock"]


def test_a_checkpoint_that_goes_while_it_is_copied_is_left_out(store, other, make_spec, record, monkeypatch):
    there = put(other, make_spec(), record, 3, status=RunStatus.INTERRUPTED)
    for name in ("epoch-000002.pt", "epoch-000003.pt"):
        (other.run_folder(there.id) / name).touch()

    def late(source, target, copy=shutil.copyfile):
        (other.run_folder(there.id) / "epoch-000002.pt").unlink(missing_ok=True)
        copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", late)
    merge_store(store, other)
    here = store.run_folder(get_run(store, "run-1").id)
    assert sorted(file.name for file in here.iterdir()) == ["epoch-000003.pt", "lock"]


def test_the_checkpoint_of_the_millionth_epoch_is_newer_than_those_before_it(store, other, make_spec, record):
    there = put(other, make_spec(), record, 3, status=RunStatus.INTERRUPTED)
    merge_store(store, other)
    here = store.run_folder(get_run(store, "run-1").id)
    here.mkdir(parents=True)
    (here / "epoch-999950.pt").touch()
    (other.run_folder(there.id) / "epoch-1000000.pt").touch()
    merge_store(store, other)
    assert sorted(file.name for file in here.iterdir()) == ["epoch-1000000.pt", "lock"]


@pytest.mark.parametrize("ended", [False, True])
def test_checkpoints_of_a_run_that_goes_on_here_before_they_are_copied_stay(
    store, other, make_spec, record, monkeypatch, ended
):
    there = put(other, make_spec(), record, 3, status=RunStatus.INTERRUPTED)
    (other.run_folder(there.id) / "epoch-000003.pt").write_text("theirs")

    def begin_before(*given, bring=merging._bring_files):
        run = get_run(store, "run-1")
        store.run_folder(run.id).mkdir(parents=True)
        (store.run_folder(run.id) / "epoch-000004.pt").write_text("ours")
        with hold_lease(store, run.id, "mine"):
            assert claim_run(store, run.id, owner="mine", device="cpu", environment={})
            append(store, run, record(4), owner="mine")
            if not ended:
                bring(*given)
        if ended:
            bring(*given)

    monkeypatch.setattr(merging, "_bring_files", begin_before)
    merge_store(store, other)
    here = store.run_folder(get_run(store, "run-1").id)
    assert [file.name for file in here.glob("epoch-*")] == ["epoch-000004.pt"]


def test_a_run_that_is_trained_here_is_left_alone(store, other, running, make_spec, record, owner):
    append(store, running, record(1), owner=owner)
    put(other, make_spec(), record, 9)
    assert merge_store(store, other).busy == ("run-1",)
    assert len(list_epochs(store, running.id)) == 1


def test_a_name_that_another_run_has_is_not_taken_from_it(store, other, make_spec, record):
    put(store, make_spec(seed=0), record, 1, name="mine")
    put(other, make_spec(seed=1), record, 1, name="mine")
    assert merge_store(store, other).renamed == {"mine": "run-2"}
    assert get_run(store, "mine").seed == 0


def test_nothing_is_taken_when_something_goes_wrong(store, other, make_spec, record, monkeypatch):
    put(other, make_spec(seed=0), record, 2)
    put(other, make_spec(seed=1), record, 2)
    with other.write() as connection:  # an epoch that no schema of ours allows
        connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
        connection.exec_driver_sql("UPDATE epochs SET epoch = -1 WHERE run_id = 2 AND epoch = 1")
    before = Path(store.url).read_bytes()
    with pytest.raises(Exception, match="epoch"):
        merge_store(store, other)
    assert Path(store.url).read_bytes() == before
