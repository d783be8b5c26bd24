"""A run of any length takes the memory and the checkpoints of a short one."""

import gc
import tracemalloc
from pathlib import Path

import pytest
from small import ignore, small_spec

from ncdiag.domain.records import Run
from ncdiag.domain.spec import PhaseSpec
from ncdiag.execution.held import Note
from ncdiag.execution.worker import TrainingOptions, train_run
from ncdiag.run_files import list_checkpoints
from ncdiag.store.engine import open_store
from ncdiag.store.runs import add_run
from ncdiag.training.events import Event


def memory_during(tmp_path: Path, epochs: int) -> tuple[list[int], Path]:
    """Train for a number of epochs, and give the bytes that Python held after each of four quarters."""
    held: list[int] = []

    def listen(run: Run, event: Event | Note) -> None:
        record = getattr(event, "record", None)
        if record is not None and record.epoch % (epochs // 4) == 0:
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])

    with open_store(str(tmp_path / "runs.db"), write=True) as store:
        spec = small_spec(phases=(PhaseSpec.parse(f"ce:{epochs // 2}"), PhaseSpec.parse(f"mse:{epochs // 2}")))
        other, _ = add_run(store, small_spec(seed=1))
        train_run(store, other, TrainingOptions(checkpoint_every=3), ignore)  # loads what it needs
        run, _ = add_run(store, spec)
        tracemalloc.start()
        try:
            train_run(store, run, TrainingOptions(checkpoint_every=3), listen)
        finally:
            tracemalloc.stop()
        return held, store.run_folder(run.id)


def check(tmp_path: Path, epochs: int) -> None:
    held, folder = memory_during(tmp_path, epochs)
    # a few bytes an epoch, beside what any process gathers; a record alone has 700
    assert held[-1] - held[1] < 25_000 + 50 * epochs / 2
    assert list_checkpoints(folder) == [epochs // 2, epochs]
    assert sorted(path.name for path in folder.iterdir() if not path.name.startswith("epoch-")) == ["lock"]


def test_memory_does_not_grow_with_the_epochs(tmp_path: Path) -> None:
    check(tmp_path, 240)


@pytest.mark.slow
def test_memory_does_not_grow_with_thousands_of_epochs(tmp_path: Path) -> None:
    check(tmp_path, 4000)
