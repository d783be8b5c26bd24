"""Too little memory for what trains together: of a group, its halves, and at last of a run its end."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from measured import rows
from small import add_group, ignore, small_spec, statuses

from ncdiag.domain.records import Run, RunStatus
from ncdiag.domain.spec import RunSpec
from ncdiag.execution import held, worker
from ncdiag.execution.held import Note
from ncdiag.execution.keeper import Keeper
from ncdiag.execution.worker import TrainingOptions, train_runs
from ncdiag.store.engine import Store, open_store
from ncdiag.store.epochs import list_epochs
from ncdiag.store.recorder import Recorder
from ncdiag.store.runs import add_run, get_run
from ncdiag.training import loop
from ncdiag.training.datasets import Dataset
from ncdiag.training.events import Checkpoint, Ended, EpochDone, Event


def _run_out_on_a_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


def _run_out_in_a_capture() -> None:
    try:
        _run_out_on_a_gpu()
    finally:
        raise RuntimeError("operation failed due to a previous error during capture")


def _run_out_on_a_cpu() -> None:
    raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 64 bytes")


@pytest.mark.parametrize("run_out", [_run_out_on_a_gpu, _run_out_in_a_capture, _run_out_on_a_cpu])
def test_too_little_memory_halves_the_group_and_goes_on(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_out: Callable[[], None]
) -> None:
    specs = [small_spec(seed=seed) for seed in range(5)]
    sizes: list[int] = []
    given_back: list[int] = []

    def train_few(some: list[RunSpec], *args: object, **options: object) -> Iterator[Event]:
        sizes.append(len(some))
        for place, event in enumerate(loop.train(some, *args, **options)):  # type: ignore[arg-type]
            if len(some) > 2 and place == 13:
                run_out()
            yield event

    told: dict[int, list[int]] = {}

    def listen(run: Run, event: Event | Note) -> None:
        if isinstance(event, EpochDone):
            told.setdefault(run.id, []).append(event.record.epoch)

    group = add_group(store, *specs)
    monkeypatch.setattr("ncdiag.execution.group.train", train_few)
    monkeypatch.setattr("ncdiag.execution.group.give_back_memory", lambda: given_back.append(sizes[-1]))
    outcomes = train_runs(store, group, TrainingOptions(), listen)
    assert statuses(outcomes) == [RunStatus.DONE] * 5
    assert sizes == [5, 3, 2, 1, 2]
    assert given_back == [5, 3]
    assert set(map(tuple, told.values())) == {(1, 2, 3, 4, 5, 6)}  # none is trained from the start again
    with open_store(str(tmp_path / "alone.db"), write=True) as other:
        monkeypatch.undo()
        for run, spec in zip(group, specs, strict=True):
            alone, _ = add_run(other, spec)
            train_runs(other, [alone], TrainingOptions(), ignore)
            assert rows(store, run) == rows(other, alone)


def test_too_little_memory_for_the_copy_of_a_state_halves_the_group_too(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep, sizes = Keeper.keep, list[int]()

    def keep_few(keeper: Keeper, checkpoint: Checkpoint) -> None:
        if sizes[-1] > 2 and (checkpoint.member, checkpoint.epoch) == (1, 2):
            _run_out_on_a_gpu()
        keep(keeper, checkpoint)

    def train_and_tell(some: list[RunSpec], *args: object, **options: object) -> Iterator[Event]:
        sizes.append(len(some))
        yield from loop.train(some, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Keeper, "keep", keep_few)
    monkeypatch.setattr("ncdiag.execution.group.train", train_and_tell)
    group = add_group(store, *(small_spec(seed=seed) for seed in range(4)))
    assert statuses(train_runs(store, group, TrainingOptions(), ignore)) == [RunStatus.DONE] * 4
    assert sizes == [4, 2, 2]
    assert all([record.epoch for record in list_epochs(store, run.id)] == [1, 2, 3, 4, 5, 6] for run in group)


def test_too_little_memory_to_continue_leaves_the_run_as_it_was(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(run: Run, event: Event | Note) -> None:
        if isinstance(event, EpochDone) and event.record.epoch == 4:
            raise KeyboardInterrupt

    def run_out(*args: object, **options: object) -> None:
        raise MemoryError

    (run,) = add_group(store, small_spec())
    with pytest.raises(KeyboardInterrupt):
        train_runs(store, [run], TrainingOptions(), stop)
    before = sorted(store.run_folder(run.id).glob("epoch-*"))
    with monkeypatch.context() as patched:
        patched.setattr("torch.load", run_out)
        (outcome,) = train_runs(store, [run], TrainingOptions(), ignore)
    assert outcome.status is RunStatus.FAILED
    assert "out of memory" in str(outcome.error)
    assert get_run(store, run.name).status is RunStatus.INTERRUPTED
    assert sorted(store.run_folder(run.id).glob("epoch-*")) == before
    assert statuses(train_runs(store, [run], TrainingOptions(), ignore)) == [RunStatus.DONE]


def test_too_little_memory_for_one_run_is_its_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: object, **options: object) -> Iterator[Event]:
        raise torch.OutOfMemoryError("CUDA out of memory")
        yield

    monkeypatch.setattr("ncdiag.execution.group.train", never)
    outcomes = train_runs(store, add_group(store, small_spec(), small_spec(seed=1)), TrainingOptions(), ignore)
    assert statuses(outcomes) == [RunStatus.FAILED] * 2
    assert all("out of memory" in str(outcome.error) for outcome in outcomes)


def test_a_run_that_cannot_go_back_leaves_the_halves_of_its_group(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = add_group(store, *(small_spec(seed=seed) for seed in range(4)))

    def run_out_at_first(some: list[RunSpec], *args: object, **options: object) -> Iterator[Event]:
        for place, event in enumerate(loop.train(some, *args, **options)):  # type: ignore[arg-type]
            if len(some) == 4 and place == 13:
                (store.run_folder(group[1].id) / "epoch-000001.pt").mkdir()  # in the way of its state
                _run_out_on_a_cpu()
            yield event

    monkeypatch.setattr("ncdiag.execution.group.train", run_out_at_first)
    outcomes = train_runs(store, group, TrainingOptions(), ignore)
    assert statuses(outcomes) == [RunStatus.DONE, RunStatus.FAILED, RunStatus.DONE, RunStatus.DONE]
    assert "epoch-000001.pt" in str(outcomes[1].error)


def test_a_group_that_is_halved_before_it_begins_still_drops_what_waits_of_another_environment(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(run: Run, event: Event | Note) -> None:
        if isinstance(event, EpochDone) and event.record.epoch == 4:
            raise KeyboardInterrupt

    load, loaded = worker.load_data, list[str]()

    def load_at_last(run: Run, options: TrainingOptions) -> Dataset:
        loaded.append(run.name)
        if len(loaded) == 1:
            raise MemoryError
        return load(run, options)

    group = add_group(store, small_spec(), small_spec(seed=1))
    with pytest.raises(KeyboardInterrupt):
        train_runs(store, group, TrainingOptions(checkpoint_every=2), stop)
    for run in group:
        waiting = Recorder(store, run, owner="an earlier process", tell=lambda text: None)
        waiting.postpone(replace(list_epochs(store, run.id)[-1], epoch=5, nc1=12345.0))
    fingerprint = held.numeric_fingerprint
    monkeypatch.setattr("ncdiag.execution.held.numeric_fingerprint", lambda at: fingerprint(at) | {"torch": "another"})
    monkeypatch.setattr("ncdiag.execution.worker.load_data", load_at_last)
    outcomes = train_runs(store, group, TrainingOptions(allow_inexact=True), ignore)
    assert (statuses(outcomes), len(loaded)) == ([RunStatus.DONE] * 2, 3)
    for run in group:
        records = list_epochs(store, run.id)
        assert [record.epoch for record in records] == [1, 2, 3, 4, 5, 6]
        assert records[4].nc1 != 12345.0


def test_too_little_memory_to_begin_is_the_error_of_every_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def never() -> None:
        raise RuntimeError("could not create a primitive")  # as oneDNN says it

    told: list[Event | Note] = []
    monkeypatch.setattr("ncdiag.execution.worker.pick_products", never)
    group = add_group(store, small_spec(), small_spec(seed=1))
    outcomes = train_runs(store, group, TrainingOptions(), lambda run, event: told.append(event))
    assert statuses(outcomes) == [RunStatus.FAILED] * 2
    assert [(end.member, end.status) for end in told if isinstance(end, Ended)] == [(0, "failed"), (1, "failed")]
    assert all("out of memory" in str(outcome.error) for outcome in outcomes)


def test_no_memory_for_the_thread_of_the_heartbeat_is_the_error_of_every_run(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", never)
    group = add_group(store, small_spec(), small_spec(seed=1))
    assert statuses(train_runs(store, group, TrainingOptions(), ignore)) == [RunStatus.FAILED] * 2
    assert all("out of memory" in str(get_run(store, run.name).reason) for run in group)
