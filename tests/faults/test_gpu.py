"""On a GPU a run repeats as far as its kernels do; what is stored is as safe as on a CPU."""

from pathlib import Path

import pytest
import torch
from measured import rows
from small import ignore, small_spec

from ncdiag.domain.records import Run, RunStatus
from ncdiag.errors import UnsafeError
from ncdiag.execution.held import Listener, Note
from ncdiag.execution.worker import TrainingOptions, train_run
from ncdiag.store.engine import open_store
from ncdiag.store.runs import add_run, get_run
from ncdiag.training.events import Event

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def stop_after(epoch: int) -> Listener:
    def listen(run: Run, event: Event | Note) -> None:
        if getattr(getattr(event, "record", None), "epoch", None) == epoch:
            raise KeyboardInterrupt

    return listen


@pytest.mark.parametrize("arch", ["mlp", "cnn"])
def test_a_continued_run_is_the_undisturbed_one_on_the_same_machine(tmp_path: Path, arch: str) -> None:
    spec = small_spec(arch=arch)
    with (
        open_store(str(tmp_path / "runs.db"), write=True) as store,
        open_store(str(tmp_path / "whole.db"), write=True) as other,
    ):
        whole, _ = add_run(other, spec)
        ended = train_run(other, whole, TrainingOptions(device="cuda"), ignore)  # the CNN dies, as on a CPU
        run, _ = add_run(store, spec)
        with pytest.raises(KeyboardInterrupt):
            train_run(store, run, TrainingOptions(device="cuda", checkpoint_every=2), stop_after(5))
        before = rows(store, run)
        assert train_run(store, run, TrainingOptions(device="cuda"), ignore) is ended
        after = rows(store, run)
        assert after[: len(before)] == before
        assert [record.epoch for record in after] == [1, 2, 3, 4, 5, 6]
        for ours, theirs in zip(after, rows(other, whole), strict=True):
            assert ours.feature_norm == pytest.approx(theirs.feature_norm, rel=1e-4, abs=1e-7)


def test_a_run_does_not_change_its_device_unasked(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "runs.db"), write=True) as store:
        run, _ = add_run(store, small_spec())
        with pytest.raises(KeyboardInterrupt):
            train_run(store, run, TrainingOptions(device="cuda", checkpoint_every=2), stop_after(5))
        with pytest.raises(UnsafeError, match="device 'cuda' -> 'cpu'"):
            train_run(store, get_run(store, run.name), TrainingOptions(device="cpu"), ignore)
        options = TrainingOptions(device="cpu", allow_inexact=True)
        assert train_run(store, get_run(store, run.name), options, ignore) is RunStatus.DONE
        assert get_run(store, run.name).inexact
