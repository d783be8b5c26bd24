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
from small import small_spec

from ncdiag.domain.records import Run, RunStatus
from ncdiag.domain.spec import Intervention, PhaseSpec, RunSpec
from ncdiag.errors import SpecError, UnavailableError, UnsafeError
from ncdiag.execution.worker import TrainingOptions, pick_device, train_run
from ncdiag.store.engine import Store, open_store
from ncdiag.store.epochs import list_epochs
from ncdiag.store.interventions import list_interventions
from ncdiag.store.leases import hold_lease
from ncdiag.store.runs import add_run, get_run
from ncdiag.training.checkpoint import list_checkpoints, load_checkpoint
from ncdiag.training.loop import Event


def ignore(run: Run, event: Event) -> None:
    pass


def train(store: Store, spec: RunSpec, **options: object) -> Run:
    run, _ = add_run(store, spec)
    train_run(store, run, TrainingOptions(**options), ignore)  # type: ignore[arg-type]
    return get_run(store, run.name)


def rows(store: Store, run: Run) -> list[object]:
    return [replace(record, seconds=None) for record in list_epochs(store, run.id)]


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
    with pytest.raises(UnavailableError):
        train_run(store, run, TrainingOptions(data_dir=tmp_path / "empty"), ignore)
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
        "ncdiag.execution.worker.numeric_fingerprint", lambda device: run.fingerprint | {"cpu_capability": "OTHER"}
    )
    with pytest.raises(UnsafeError, match=r"cpu_capability.*OTHER"):
        train_run(store, run, TrainingOptions(), ignore)
    assert get_run(store, run.name).status is RunStatus.INTERRUPTED  # nothing was changed
    assert train_run(store, run, TrainingOptions(allow_inexact=True), ignore) is RunStatus.DONE
    assert get_run(store, run.name).inexact


def test_other_environment_without_a_checkpoint_begins_anew(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _interrupt(store, small_spec(), 1)
    monkeypatch.setattr(
        "ncdiag.execution.worker.numeric_fingerprint", lambda device: run.fingerprint | {"cpu_capability": "OTHER"}
    )
    assert train_run(store, run, TrainingOptions(), ignore) is RunStatus.DONE
    assert not get_run(store, run.name).inexact


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


def test_checkpoints_of_a_store_that_was_deleted_are_not_continued(store: Store, tmp_path: Path) -> None:
    spec = small_spec()
    whole = train(store, spec)
    folder = store.run_folder(whole.id)
    with open_store(str(tmp_path / "new.db"), write=True) as new:
        run, _ = add_run(new, spec)
        shutil.copytree(folder, new.run_folder(run.id))
        run = _interrupt(new, spec, 1)  # before its own first checkpoint
        assert train_run(new, run, TrainingOptions(), ignore) is RunStatus.DONE
        assert rows(new, run) == rows(store, whole)


def test_unknown_device_is_named() -> None:
    with pytest.raises(SpecError, match="warp"):
        pick_device("warp")
    if not torch.cuda.is_available():
        with pytest.raises(SpecError, match="no CUDA device"):
            pick_device("cuda")
        assert pick_device("auto") == torch.device("cpu")


def test_killed_run_is_lost_and_continues_to_the_same_end(store: Store, tmp_path: Path) -> None:
    spec = small_spec(phases=(PhaseSpec.parse("ce:40"), PhaseSpec.parse("mse:40")))
    whole = train(store, spec)
    path = tmp_path / "killed.db"
    script = f"""
        import os, sys
        from small import small_spec
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
