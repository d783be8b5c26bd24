import dataclasses
import shutil
import signal
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest
from recorded import append

from ncdiag.domain.records import RunStatus
from ncdiag.domain.spec import DataSpec, Intervention
from ncdiag.errors import SpecError, UnknownRunError, UnsafeError
from ncdiag.execution.signals import stops_heard
from ncdiag.store.epochs import list_epochs
from ncdiag.store.leases import hold_lease
from ncdiag.store.runs import (
    add_run,
    claim_run,
    describe_data,
    finish_run,
    get_run,
    get_run_by_id,
    heartbeat,
    list_runs,
    remove_runs,
    rename_run,
)

HOSTILE = [
    "x'; DROP TABLE runs;--",
    "../../etc",
    "=HYPERLINK(1)",
    "😀",
    "a" * 129,
    "%",
    "_",
    "",
    "-rf",
    "a b",
    "a\n",
    "a\0",
]


def test_a_new_run_holds_its_configuration_flat_and_whole(store, make_spec):
    spec = make_spec(seed=3)

    run, new = add_run(store, spec, data={"path": "/data"})

    assert new
    assert (run.name, run.key, run.origin, run.status) == ("run-1", spec.key, "trained", RunStatus.PENDING)
    assert (run.arch, run.depth, run.width, run.activation, run.dataset) == ("mlp", 3, 32.0, "relu", "digits")
    assert (run.optimizer, run.lr, run.weight_decay, run.momentum, run.schedule) == ("adam", 1e-3, 1e-4, 0.0, "cosine")
    assert (run.batch_size, run.seed, run.phases, run.epochs_planned) == (32, 3, "ce:20,mse:40", 60)
    assert (run.epochs_done, run.seconds, run.started_at, run.intervention) == (0, 0.0, None, None)
    assert type(spec).from_dict(run.config) == spec
    assert run.data == {"path": "/data"}
    assert abs(datetime.now(UTC) - run.created_at) < timedelta(minutes=1)


def test_an_intervention_is_shown_as_it_was_typed(store, make_spec):
    change = Intervention(alpha=0.3, epoch=20, compensate_head=True)
    run, _ = add_run(store, dataclasses.replace(make_spec(), intervention=change))
    assert run.intervention == "0.3@20+compensate-head"


def test_a_known_configuration_gives_its_run(store, make_spec):
    first, _ = add_run(store, make_spec(), name="mine")
    again, new = add_run(store, make_spec(), name="other")
    assert (again, new) == (first, False)
    assert len(list_runs(store)) == 1


def test_a_known_run_learns_where_its_data_has_moved(store, make_spec):
    spec = dataclasses.replace(make_spec(), data=DataSpec(dataset="mine", sha256="ab" * 32))
    add_run(store, spec, data={"path": "/old", "kept": 1})
    run, _ = add_run(store, spec, data={"path": "/new"})
    assert run.data == {"path": "/new", "kept": 1}
    assert run.data_sha256 == "ab" * 32


def test_a_name_is_used_once(store, make_spec):
    add_run(store, make_spec(), name="mine")
    with pytest.raises(SpecError, match="the name mine belongs to another run"):
        add_run(store, make_spec(seed=1), name="mine")
    assert [run.name for run in list_runs(store)] == ["mine"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_refused(store, make_spec, name):
    with pytest.raises(SpecError, match="cannot be used"):
        add_run(store, make_spec(), name=name)
    assert list_runs(store) == []


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_looked_for_as_it_is(store, make_spec, name):
    add_run(store, make_spec(), name="a")
    with pytest.raises(UnknownRunError):
        get_run(store, name)
    with pytest.raises(UnknownRunError):
        remove_runs(store, [name])
    assert [run.name for run in list_runs(store)] == ["a"]


def test_the_name_of_a_later_run_is_refused(store, make_spec):
    with pytest.raises(SpecError, match="run-7 is kept"):
        add_run(store, make_spec(), name="run-7")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_folder_of_a_run_that_is_gone(store, make_spec, monkeypatch, sent):
    run, _ = add_run(store, make_spec())
    store.run_folder(run.id).mkdir(parents=True)

    def remove(folder, ignore_errors, rmtree=shutil.rmtree):
        signal.raise_signal(sent)
        rmtree(folder, ignore_errors=ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", remove)
    with stops_heard(), pytest.raises((SystemExit, KeyboardInterrupt)):
        remove_runs(store, [run.name])
    assert not store.run_folder(run.id).exists()


def test_the_id_of_a_removed_run_is_not_given_again(store, make_spec):
    add_run(store, make_spec())
    remove_runs(store, ["run-1"])
    assert add_run(store, make_spec())[0].name == "run-2"


def test_an_unknown_name_mentions_the_nearest(store, make_spec):
    add_run(store, make_spec(), name="mlp-wide")
    with pytest.raises(UnknownRunError, match=r"no run 'mlp-wid'.*did you mean mlp-wide\?") as caught:
        get_run(store, "mlp-wid")
    assert caught.value.exit_code == 4


def test_a_run_that_was_removed_meanwhile_is_said_to_be(store):
    with pytest.raises(UnknownRunError, match="run 7 is no longer in the store"):
        get_run_by_id(store, 7)


def test_a_bare_number_is_taken_for_the_run_of_that_number(store, make_spec):
    add_run(store, make_spec())
    with pytest.raises(UnknownRunError, match=r"no run '1' .*did you mean run-1\?"):
        get_run(store, "1")


def test_runs_are_listed_by_id_and_picked_by_ids(store, make_spec):
    runs = [add_run(store, make_spec(seed=seed))[0] for seed in range(4)]
    assert list_runs(store) == runs
    assert list_runs(store, [4, 2, 2, 99]) == [runs[1], runs[3]]
    assert list_runs(store, []) == []


def test_only_the_first_claim_wins(store, make_spec):
    run, _ = add_run(store, make_spec())
    with hold_lease(store, run.id, "one"):
        assert claim_run(store, run.id, owner="one", device="cpu", environment={"torch": "2.9"})
        assert not claim_run(store, run.id, owner="two", device="cpu", environment={})
        now = get_run(store, run.name)
    assert (now.status, now.device, now.environment) == (RunStatus.RUNNING, "cpu", {"torch": "2.9"})
    assert not now.inexact
    assert now.started_at is not None


def test_a_run_that_does_not_exist_cannot_be_claimed(store):
    assert not claim_run(store, 99, owner="one", device="cpu", environment={})


@pytest.mark.parametrize(
    ("status", "won"), [("pending", True), ("interrupted", True), ("failed", True), ("done", False), ("dead", False)]
)
def test_what_can_be_continued_is_claimed_again(store, running, owner, status, won):
    assert finish_run(store, running.id, owner=owner, status=RunStatus(status), reason="because")
    finished = get_run(store, running.name)
    assert (finished.status, finished.reason) == (status, "because")

    assert claim_run(store, running.id, owner=owner, device="cpu", environment={}) is won

    again = get_run(store, running.name)
    assert again.reason == (None if won else "because")
    assert (again.finished_at is None) is won


def test_a_lost_run_is_claimed_and_its_zombie_fenced_off(store, make_spec):
    run, _ = add_run(store, make_spec())
    with hold_lease(store, run.id, "zombie"):
        assert claim_run(store, run.id, owner="zombie", device="cpu", environment={})
    assert get_run(store, run.name).status is RunStatus.LOST

    with hold_lease(store, run.id, "heir"):
        assert claim_run(store, run.id, owner="heir", device="cpu", environment={})
        assert heartbeat(store, [run.id], "zombie") == 0
        assert not finish_run(store, run.id, owner="zombie", status=RunStatus.DONE)
        assert heartbeat(store, [run.id, 99], "heir") == 1
        assert get_run(store, run.name).status is RunStatus.RUNNING


def test_to_end_a_run_again_as_it_has_ended_is_no_loss(store, running, owner):
    ended = {"owner": owner, "status": RunStatus.DIVERGED, "reason": "nan"}
    assert finish_run(store, running.id, **ended)
    assert finish_run(store, running.id, **ended)  # the answer to the first try was lost
    assert not finish_run(store, running.id, **{**ended, "reason": "another"})
    assert not finish_run(store, running.id, owner=owner, status=RunStatus.DONE)


def test_the_first_start_is_kept_when_a_run_continues(store, running, owner):
    started = get_run(store, running.name).started_at
    finish_run(store, running.id, owner=owner, status=RunStatus.INTERRUPTED)
    claim_run(store, running.id, owner=owner, device="cpu", environment={})
    assert get_run(store, running.name).started_at == started


def test_who_wins_may_discard_the_epochs_after_the_state_that_is_continued(store, running, owner, record):
    append(store, running, *map(record, range(1, 5)), owner=owner)
    assert not claim_run(store, running.id, owner="late", device="cpu", environment={}, discard_after=0)
    assert len(list_epochs(store, running.id)) == 4
    finish_run(store, running.id, owner=owner, status=RunStatus.INTERRUPTED)
    assert claim_run(store, running.id, owner=owner, device="cpu", environment={}, discard_after=2)
    assert [kept.epoch for kept in list_epochs(store, running.id)] == [1, 2]
    assert get_run(store, running.name).epochs_done == 2


def test_an_inexact_run_stays_inexact(store, running, owner):
    finish_run(store, running.id, owner=owner, status=RunStatus.INTERRUPTED)
    claim_run(store, running.id, owner=owner, device="cpu", environment={}, fingerprint={"threads": 2}, inexact=True)
    finish_run(store, running.id, owner=owner, status=RunStatus.INTERRUPTED)
    claim_run(store, running.id, owner=owner, device="cpu", environment={"b": 1})
    run = get_run(store, running.name)
    assert run.inexact
    assert (run.environment, run.fingerprint) == ({"b": 1}, {"threads": 2})


def test_a_reason_with_undecodable_bytes_is_spelt_out(store, running, owner):
    finish_run(store, running.id, owner=owner, status=RunStatus.FAILED, reason="no \udcff\0.npz")
    assert get_run(store, running.name).reason == "no \\udcff\\x00.npz"


def test_the_data_is_described_by_the_owner(store, running, owner):
    describe_data(store, running.id, owner=owner, sha256="cd" * 32, sizes={"train": 1437})
    describe_data(store, running.id, owner=owner, sha256="cd" * 32, sizes={"test": 360})
    run = get_run(store, running.name)
    assert (run.data_sha256, run.data) == ("cd" * 32, {"train": 1437, "test": 360})


def test_renaming(store, make_spec):
    add_run(store, make_spec())
    add_run(store, make_spec(seed=1), name="taken")
    assert rename_run(store, "run-1", "new").name == "new"
    with pytest.raises(SpecError, match="taken belongs"):
        rename_run(store, "new", "taken")
    with pytest.raises(SpecError, match="run-2 is kept"):
        rename_run(store, "new", "run-2")
    with pytest.raises(UnknownRunError):
        rename_run(store, "run-1", "newer")
    assert rename_run(store, "new", "run-1").name == "run-1"  # its own by default


def test_removing_takes_everything_of_the_run_and_nothing_else(store, url, make_spec, running, owner, record):
    append(store, running, record(1), owner=owner)
    other, _ = add_run(store, make_spec(seed=1))
    finish_run(store, running.id, owner=owner, status=RunStatus.DONE)
    (store.run_folder(running.id) / "epoch-1.pt").write_bytes(b"")

    assert [run.name for run in remove_runs(store, [running.name, running.name])] == [running.name]

    assert list_runs(store) == [other]
    assert not store.run_folder(running.id).exists()
    with sqlite3.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM epochs").fetchone() == (0,)
    connection.close()


def test_removing_is_all_or_nothing(store, make_spec, running):
    idle, _ = add_run(store, make_spec(seed=1))
    with pytest.raises(UnknownRunError, match="no run 'gone'"):
        remove_runs(store, [idle.name, "gone"])
    with pytest.raises(UnsafeError, match="is being trained"):
        remove_runs(store, [idle.name, running.name])
    assert len(list_runs(store)) == 2


@pytest.mark.parametrize(
    "change",
    [
        "status = 'lost'",
        "status = 'finished'",
        "origin = 'guessed'",
        "status = 'running'",
        "owner = 'somebody'",
        "epochs_done = -1",
        "name = NULL",
    ],
)
def test_the_table_refuses_what_cannot_be(store, url, make_spec, change):
    add_run(store, make_spec())
    connection = sqlite3.connect(url)
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute(f"UPDATE runs SET {change}")
    connection.close()
