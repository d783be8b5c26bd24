import os
import shutil
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from measured import rows
from small import add_group, ignore, small_spec, statuses
from sqlalchemy import update

from ncdiag.domain.records import Run, RunStatus
from ncdiag.domain.spec import Intervention, PhaseSpec, RunSpec
from ncdiag.errors import SpecError, StoreError, UnavailableError, UnsafeError
from ncdiag.execution.held import Note
from ncdiag.execution.worker import TrainingOptions, train_run, train_runs
from ncdiag.run_files import list_checkpoints
from ncdiag.store import recorder, schema
from ncdiag.store.engine import Store, open_store
from ncdiag.store.epochs import discard_epochs, list_epochs
from ncdiag.store.faults import StoreBusyError
from ncdiag.store.interventions import list_interventions
from ncdiag.store.leases import hold_lease
from ncdiag.store.runs import add_run, get_run, remove_runs
from ncdiag.training.checkpoint import load_checkpoint
from ncdiag.training.events import Checkpoint, Event


def train(store: Store, spec: RunSpec, **options: object) -> Run:
    run, _ = add_run(store, spec)
    train_run(store, run, TrainingOptions(**options), ignore)  # type: ignore[arg-type]
    return get_run(store, run.name)


def test_a_run_ends_with_every_epoch_stored(store: Store) -> None:
    run = train(store, small_spec())
    assert (run.status, run.epochs_done, run.epochs_planned) == (RunStatus.DONE, 6, 6)
    assert [(r.epoch, r.phase, r.loss) for r in list_epochs(store, run.id)] == [
        *((epoch, 1, "ce") for epoch in (1, 2, 3)),
        *((epoch, 2, "mse") for epoch in (4, 5, 6)),
    ]
    assert run.data_sha256 is not None
    assert (run.data["n_train"], run.data["n_test"], run.data["num_classes"]) == (200, 360, 10)
    assert run.environment["torch"] == torch.__version__
    assert run.fingerprint["threads"] == torch.get_num_threads()


def test_only_the_ends_of_phases_keep_their_checkpoints(store: Store) -> None:
    run = train(store, small_spec(), checkpoint_every=1)
    assert list_checkpoints(store.run_folder(run.id)) == [3, 6]


def test_intervention_is_stored(store: Store) -> None:
    run = train(store, small_spec(scale_features=Intervention.parse("0.5@3")))
    (change,) = list_interventions(store, run.id)
    assert (change.epoch, change.alpha) == (3, 0.5)
    assert change.feature_norm_before is not None
    assert change.feature_norm_after == pytest.approx(change.feature_norm_before / 2, rel=1e-6)


def test_finished_run_is_not_trained_again(store: Store) -> None:
    run = train(store, small_spec())
    assert train_run(store, run, TrainingOptions(), ignore) is RunStatus.RUNNING  # not claimed
    assert get_run(store, run.name).status is RunStatus.DONE


def test_a_run_that_was_removed_while_it_waited_leaves_no_folder(store: Store) -> None:
    run, _ = add_run(store, small_spec())
    remove_runs(store, [run.name])
    (outcome,) = train_runs(store, [run], TrainingOptions(), ignore)
    assert "it was removed meanwhile" in str(outcome.error)
    assert not store.run_folder(run.id).exists()


def test_a_precision_that_the_device_lacks_is_refused_whoever_stored_the_run(store: Store) -> None:
    run, _ = add_run(store, small_spec(precision="tf32"))
    with pytest.raises(SpecError, match="tf32 exists on NVIDIA GPUs only"):
        train_run(store, run, TrainingOptions(device="cpu"), ignore)
    assert get_run(store, run.name).status is RunStatus.PENDING


def test_a_run_that_was_taken_over_after_its_last_epoch_does_not_pass_for_done(store: Store) -> None:
    def take(run: Run, event: object) -> None:
        if isinstance(event, Checkpoint) and event.epoch == 6:
            with store.write() as connection:
                connection.execute(update(schema.runs).values(owner="somebody else"))

    run, _ = add_run(store, small_spec())
    with pytest.raises(StoreError, match="no longer trained by this process"):
        train_run(store, run, TrainingOptions(), take)


def test_run_held_by_another_process_is_left_alone(store: Store) -> None:
    run, _ = add_run(store, small_spec())
    with hold_lease(store, run.id, "somebody else"):
        assert train_run(store, run, TrainingOptions(), ignore) is RunStatus.RUNNING
    assert get_run(store, run.name).epochs_done == 0


def test_divergence_is_stored_with_its_epochs(store: Store) -> None:
    run = train(store, small_spec(optimizer="sgd", lr=1e20))
    assert run.status is RunStatus.DIVERGED
    assert "non-finite" in str(run.reason)
    (record, *_) = list_epochs(store, run.id)
    assert record.nonfinite()["train_loss"] == "nan"


def test_error_is_stored_as_the_reason(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = add_run(store, small_spec(dataset="mnist"))

    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    told: list[Event | Note] = []
    with pytest.raises(UnavailableError):
        train_run(store, run, TrainingOptions(data_dir=tmp_path / "empty"), lambda run, event: told.append(event))
    assert told == []  # twice would be too often
    stored = get_run(store, run.name)
    assert stored.status is RunStatus.FAILED
    assert "mnist" in str(stored.reason).lower()


def test_interrupted_run_continues_to_the_same_end(store: Store, tmp_path: Path) -> None:
    spec = small_spec(phases=(PhaseSpec.parse("ce:5"), PhaseSpec.parse("mse:6")))
    whole = train(store, spec)

    with open_store(str(tmp_path / "other.db"), write=True) as other:
        run, _ = add_run(other, spec)

        def stop_at_epoch_8(run: Run, event: Event) -> None:
            if getattr(event, "record", None) is not None and event.record.epoch == 8:  # type: ignore[union-attr]
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train_run(other, run, TrainingOptions(checkpoint_every=4), stop_at_epoch_8)
        run = get_run(other, run.name)
        assert (run.status, run.epochs_done) == (RunStatus.INTERRUPTED, 8)
        assert train_run(other, run, TrainingOptions(checkpoint_every=4), ignore) is RunStatus.DONE
        assert rows(other, run) == rows(store, whole)
        ours = load_checkpoint(other.run_folder(run.id), 11)["weights"]
        theirs = load_checkpoint(store.run_folder(whole.id), 11)["weights"]
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def _interrupt(store: Store, spec: RunSpec, epoch: int) -> Run:
    run, _ = add_run(store, spec)

    def stop(run: Run, event: Event) -> None:
        if getattr(event, "record", None) is not None and event.record.epoch == epoch:  # type: ignore[union-attr]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_run(store, run, TrainingOptions(checkpoint_every=2), stop)
    return get_run(store, run.name)


def test_other_numeric_environment_is_refused_unless_allowed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _interrupt(store, small_spec(), 4)
    monkeypatch.setattr(
        "ncdiag.execution.held.numeric_fingerprint", lambda device: run.fingerprint | {"cpu_capability": "OTHER"}
    )
    with pytest.raises(UnsafeError, match=r"cpu_capability.*OTHER"):
        train_run(store, run, TrainingOptions(), ignore)
    assert get_run(store, run.name).status is RunStatus.INTERRUPTED  # nothing was changed
    with store.write() as connection:
        connection.exec_driver_sql("UPDATE epochs SET nc1 = 123.0 WHERE epoch > 3")  # the checkpoint's epoch
    assert train_run(store, run, TrainingOptions(allow_inexact=True), ignore) is RunStatus.DONE
    assert get_run(store, run.name).inexact
    assert 123.0 not in [record.nc1 for record in list_epochs(store, run.id)]


def test_a_run_is_not_continued_on_other_data_than_it_was_begun_on(store: Store) -> None:
    run = _interrupt(store, small_spec(), 4)
    with store.write() as connection:
        connection.exec_driver_sql("UPDATE runs SET data_sha256 = 'another'")
    with pytest.raises(UnsafeError, match=rf"begun on data with SHA-256 another, and finds {run.data_sha256} now"):
        train_run(store, run, TrainingOptions(), ignore)
    assert get_run(store, run.name).epochs_done == 4


@pytest.mark.parametrize("stored", [1, 0])
def test_other_environment_without_a_checkpoint_begins_anew(
    store: Store, monkeypatch: pytest.MonkeyPatch, stored: int
) -> None:
    run = _interrupt(store, small_spec(), 1)
    (first,) = list_epochs(store, run.id)
    # what the other environment measured, stored and waiting to be, is told by a value that no run has
    with store.write() as connection:
        connection.exec_driver_sql("UPDATE epochs SET nc1 = 123.0")
        if not stored:
            discard_epochs(connection, run.id, 0)
    recorder.Recorder(store, run, owner="gone", tell=print).postpone(replace(first, epoch=stored + 1, nc1=123.0))
    monkeypatch.setattr(
        "ncdiag.execution.held.numeric_fingerprint", lambda device: run.fingerprint | {"cpu_capability": "OTHER"}
    )
    assert train_run(store, run, TrainingOptions(), ignore) is RunStatus.DONE
    assert not get_run(store, run.name).inexact
    assert [(record.epoch, record.nc1 == 123.0) for record in list_epochs(store, run.id)] == [
        (epoch, False) for epoch in range(1, 7)
    ]


def test_run_continues_with_the_threads_it_began_with(store: Store) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2 if before == 1 else 1)
    try:
        run = _interrupt(store, small_spec(), 4)
        began_with = run.fingerprint["threads"]
    finally:
        torch.set_num_threads(before)
    assert train_run(store, run, TrainingOptions(), ignore) is RunStatus.DONE
    assert get_run(store, run.name).fingerprint["threads"] == began_with != before
    assert torch.get_num_threads() == before


def test_group_stores_what_each_run_would_have_alone(store: Store, tmp_path: Path) -> None:
    specs = [
        small_spec(),
        small_spec(seed=1, optimizer="sgd", lr=1e20),
        small_spec(seed=2, scale_features=Intervention.parse("0.5@3")),
        small_spec(seed=3, stop_at_onset=True, eps=100.0, patience=2),
    ]
    group = add_group(store, *specs)
    outcomes = train_runs(store, group, TrainingOptions(), ignore)
    assert statuses(outcomes) == [RunStatus.DONE, RunStatus.DIVERGED, RunStatus.DONE, RunStatus.DONE]
    with open_store(str(tmp_path / "alone.db"), write=True) as other:
        for run, spec in zip(group, specs, strict=True):
            alone = train(other, spec)
            stored = get_run(store, run.name)
            assert repr(rows(store, run)) == repr(rows(other, alone))  # NaN equals nothing
            assert (stored.status, stored.reason, stored.data) == (alone.status, alone.reason, alone.data)
            assert list_interventions(store, run.id) == list_interventions(other, alone.id)
            epochs = list_checkpoints(store.run_folder(run.id))
            assert epochs == list_checkpoints(other.run_folder(alone.id))
            for epoch in epochs:
                ours = load_checkpoint(store.run_folder(run.id), epoch)["weights"]
                theirs = load_checkpoint(other.run_folder(alone.id), epoch)["weights"]
                assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_member_that_cannot_be_trained_leaves_the_others(store: Store) -> None:
    held, blocked, good = group = add_group(store, *(small_spec(seed=seed) for seed in range(3)))

    def block(run: Run, event: Event) -> None:
        if run.id == blocked.id:  # in the way of its next checkpoint
            (store.run_folder(blocked.id) / "epoch-000003.pt").mkdir(exist_ok=True)

    with hold_lease(store, held.id, "somebody else"):
        outcomes = train_runs(store, group, TrainingOptions(), block)
    assert statuses(outcomes) == [RunStatus.RUNNING, RunStatus.FAILED, RunStatus.DONE]
    assert get_run(store, held.name).epochs_done == 0
    assert get_run(store, good.name).epochs_done == 6


def test_member_that_another_process_took_over_stops_alone(store: Store) -> None:
    taken, good = group = add_group(store, *(small_spec(seed=seed) for seed in range(2)))

    def take_over(run: Run, event: Event) -> None:
        if run.id == taken.id and getattr(event, "record", None) is not None and event.record.epoch == 2:  # type: ignore[union-attr]
            with store.write() as connection:
                connection.exec_driver_sql(f"UPDATE runs SET owner = 'another' WHERE id = {taken.id}")

    outcomes = train_runs(store, group, TrainingOptions(), take_over)
    assert statuses(outcomes) == [RunStatus.FAILED, RunStatus.DONE]
    assert "no longer trained by this process" in str(outcomes[0].error)
    assert [record.epoch for record in list_epochs(store, taken.id)] == [1, 2]
    assert len(list_epochs(store, good.id)) == 6


def test_interrupted_group_continues_run_by_run_to_the_same_end(store: Store, tmp_path: Path) -> None:
    specs = [small_spec(seed=seed) for seed in range(3)]
    whole = add_group(store, *specs)
    train_runs(store, whole, TrainingOptions(), ignore)
    with open_store(str(tmp_path / "other.db"), write=True) as other:
        group = add_group(other, *specs)

        def stop(run: Run, event: Event) -> None:
            if run.id == group[1].id and getattr(event, "record", None) is not None and event.record.epoch == 5:  # type: ignore[union-attr]
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train_runs(other, group, TrainingOptions(checkpoint_every=2), stop)
        assert {get_run(other, run.name).status for run in group} == {RunStatus.INTERRUPTED}
        train_runs(other, group[:1], TrainingOptions(), ignore)
        train_runs(other, group[1:], TrainingOptions(), ignore)
        for ours, theirs in zip(group, whole, strict=True):
            assert rows(other, ours) == rows(store, theirs)


def test_a_store_that_cannot_be_had_lets_the_group_train_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    group = add_group(store, *(small_spec(seed=seed) for seed in range(3)))
    notes: list[str] = []
    tries = []

    def busy(records: list[object]) -> None:
        tries.append(len(records))
        if len(tries) == 2:  # of the second epoch
            raise StoreBusyError("held by somebody")
        recorder.store_together(records)  # type: ignore[arg-type]

    def listen(run: Run, event: Event | Note) -> None:
        notes.extend([event.text] if isinstance(event, Note) else [])

    monkeypatch.setattr("ncdiag.execution.group.store_together", busy)
    monkeypatch.setattr(recorder, "SECONDS_BETWEEN_TRIES", 3600)
    outcomes = train_runs(store, group, TrainingOptions(), listen)
    assert statuses(outcomes) == [RunStatus.DONE] * 3
    assert sum("cannot be had" in text for text in notes) == 3
    assert tries == [3, 3, 0, 0, 0, 0]  # no later epoch gets ahead of the one that waits
    for run in group:
        assert [record.epoch for record in list_epochs(store, run.id)] == [1, 2, 3, 4, 5, 6]


def test_a_run_whose_configuration_cannot_be_read_is_not_claimed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = add_run(store, small_spec())

    def refuse(*args: object) -> None:
        raise SpecError("learning rate")

    monkeypatch.setattr("ncdiag.domain.spec.RunSpec.from_dict", refuse)
    with pytest.raises(SpecError, match="learning rate"):
        train_run(store, run, TrainingOptions(), ignore)
    monkeypatch.undo()
    assert get_run(store, run.name).status is RunStatus.PENDING
    assert train_run(store, run, TrainingOptions(), ignore) is RunStatus.DONE


def test_checkpoints_of_a_store_that_was_deleted_are_not_continued(store: Store, tmp_path: Path) -> None:
    spec = small_spec()
    whole = train(store, spec)
    folder = store.run_folder(whole.id)
    with open_store(str(tmp_path / "new.db"), write=True) as new:
        run, _ = add_run(new, spec)
        shutil.copytree(folder, new.run_folder(run.id))
        run = _interrupt(new, spec, 1)  # before its own first checkpoint
        said: list[str] = []

        def hear(run: Run, event: Event | Note) -> None:
            said.extend([event.text] if isinstance(event, Note) else [])

        assert train_run(new, run, TrainingOptions(), hear) is RunStatus.DONE
        assert rows(new, run) == rows(store, whole)
        (text,) = said
        assert "no checkpoint" in text
        assert str(new.run_folder(run.id)) in text


def test_killed_run_is_lost_and_continues_to_the_same_end(store: Store, tmp_path: Path) -> None:
    spec = small_spec(phases=(PhaseSpec.parse("ce:40"), PhaseSpec.parse("mse:40")))
    whole = train(store, spec)
    path = tmp_path / "killed.db"
    script = f"""
        import os, sys
        from small import add_group, ignore, small_spec, statuses
        from ncdiag.domain.spec import PhaseSpec
        from ncdiag.execution.worker import TrainingOptions, train_run
        from ncdiag.store.engine import open_store
        from ncdiag.store.runs import add_run
        def tell(run, event):
            print(getattr(getattr(event, "record", None), "epoch", ""), flush=True)
        with open_store({str(path)!r}, write=True) as store:
            spec = small_spec(phases=(PhaseSpec.parse("ce:40"), PhaseSpec.parse("mse:40")))
            train_run(store, add_run(store, spec)[0], TrainingOptions(checkpoint_every=7), tell)
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, Path(__file__).parents[1:3]))}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    for last in ("12", "45"):  # once in either phase
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.strip() == last:
                    process.send_signal(signal.SIGKILL)
                    break
        with open_store(str(path)) as other:
            run = get_run(other, "run-1")
            assert run.status is RunStatus.LOST
            assert run.epochs_done >= int(last)
    with open_store(str(path), write=True) as other:
        assert train_run(other, run, TrainingOptions(), ignore) is RunStatus.DONE
        assert rows(other, run) == rows(store, whole)
        ours = load_checkpoint(other.run_folder(run.id), 80)["weights"]
        theirs = load_checkpoint(store.run_folder(whole.id), 80)["weights"]
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
