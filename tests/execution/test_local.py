import errno
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dying
import pytest
import torch
from small import small_spec

from ncdiag.domain.records import Run, RunStatus
from ncdiag.errors import OutOfMemoryError, UnavailableError
from ncdiag.execution.held import Note
from ncdiag.execution.local import default_jobs, most_jobs, train_all, usable_cores
from ncdiag.execution.pool import Pool, _stop
from ncdiag.execution.worker import TrainingOptions
from ncdiag.store.engine import Store, open_store
from ncdiag.store.epochs import list_epochs
from ncdiag.store.runs import list_runs, rename_run
from ncdiag.store.sweeps import plan_sweep
from ncdiag.training.events import Ended, EpochDone, Event
from ncdiag.training.products import pick_products
from ncdiag.training.threads import computing_threads


class Heard:
    """A listener that keeps what it was told."""

    def __init__(self) -> None:
        self.epochs: dict[int, list[int]] = {}
        self.ended: dict[int, RunStatus] = {}

    def __call__(self, run: Run, event: Event) -> None:
        if isinstance(event, EpochDone):
            self.epochs.setdefault(run.id, []).append(event.record.epoch)
        elif isinstance(event, Ended):
            self.ended[run.id] = event.status


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_point_is_trained_and_one_that_fails_stops_no_other(store: Store, jobs: int, tmp_path: Path) -> None:
    good = [small_spec(seed=seed) for seed in range(2)]
    gone = small_spec(dataset="gone", sha256="0" * 64)
    specs = [good[0], small_spec(optimizer="sgd", lr=1e20), gone, good[1]]
    runs = plan_sweep(store, specs=specs, data=[{}, {}, {"path": str(tmp_path / "gone.npz")}, {}])
    heard = Heard()
    outcomes = train_all(store.url, runs, TrainingOptions(), jobs=jobs, listen=heard)
    assert [outcome.status for outcome in outcomes] == [
        RunStatus.DONE,
        RunStatus.DIVERGED,
        RunStatus.FAILED,
        RunStatus.DONE,
    ]
    assert "gone" in str(outcomes[2].error)
    assert [run.status for run in list_runs(store)] == [outcome.status for outcome in outcomes]
    assert heard.epochs[runs[0].id] == [1, 2, 3, 4, 5, 6]
    assert [heard.ended[run.id] for run in runs] == [outcome.status for outcome in outcomes]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_that_was_renamed_is_called_by_its_new_name(store: Store, jobs: int, tmp_path: Path) -> None:
    specs = [small_spec(), small_spec(dataset="gone", sha256="0" * 64)]
    runs = plan_sweep(store, specs=specs, data=[{}, {"path": str(tmp_path / "gone.npz")}])
    for run in runs:
        rename_run(store, run.name, f"new-{run.name}")
    heard: set[str] = set()
    outcomes = train_all(store.url, runs, TrainingOptions(), jobs=jobs, listen=lambda run, event: heard.add(run.name))
    assert heard == {"new-run-1", "new-run-2"}
    assert [(outcome.run.name, outcome.status) for outcome in outcomes] == [
        ("new-run-1", RunStatus.DONE),
        ("new-run-2", RunStatus.FAILED),
    ]


def test_workers_in_groups_and_this_process_alone_give_the_same_numbers(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = [small_spec(seed=seed) for seed in range(5)]
    told: list[str] = []
    with open_store(str(tmp_path / "pool.db"), write=True) as other:
        monkeypatch.setattr("ncdiag.execution.local.speedup", lambda *shape: 1.5)
        train_all(other.url, plan_sweep(other, specs=specs), TrainingOptions(), jobs=2, listen=Heard(), say=told.append)
        assert told == ["5 runs of mlp 2 x 16, digits train in groups, 1.5 times as fast as one by one"]
        monkeypatch.setattr("ncdiag.execution.local.speedup", lambda *shape: 1.0)
        with computing_threads(1):  # as many as a worker has on two cores
            train_all(store.url, plan_sweep(store, specs=specs), TrainingOptions(), jobs=1, listen=Heard())
        for ours, theirs in zip(list_runs(store), list_runs(other), strict=True):
            pairs = zip(list_epochs(store, ours.id), list_epochs(other, theirs.id), strict=True)
            assert all(replace(a, seconds=0.0) == replace(b, seconds=0.0) for a, b in pairs)


@pytest.mark.skipif(not hasattr(torch.backends.mkldnn, "matmul"), reason="torch before 2.9 has one library only")
def test_workers_compute_with_their_share_of_the_cores_and_the_library_that_the_sweep_picked(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = pick_products()
    other = "default" if here == "onednn" else "onednn"  # a worker that tried for itself would not take it
    monkeypatch.setattr("ncdiag.execution.local.pick_products", lambda: other)
    monkeypatch.setattr("ncdiag.execution.local.usable_cores", lambda: 3)
    runs = plan_sweep(store, specs=[small_spec(seed=seed) for seed in range(2)])
    train_all(store.url, runs, TrainingOptions(), jobs=2, listen=Heard())
    assert [run.fingerprint["products"] for run in list_runs(store)] == [other, other]
    assert [run.fingerprint["threads"] for run in list_runs(store)] == [1, 1]  # of three cores


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 64 bytes"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        OutOfMemoryError("more than there is"),
    ],
)
def test_too_little_memory_to_try_a_group_means_none(
    store: Store, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def run_out(*shape: object) -> float:
        raise error

    monkeypatch.setattr("ncdiag.execution.local.speedup", run_out)
    runs = plan_sweep(store, specs=[small_spec(seed=seed) for seed in range(2)])
    outcomes = train_all(store.url, runs, TrainingOptions(), jobs=1, listen=Heard())
    assert [outcome.status for outcome in outcomes] == [RunStatus.DONE] * 2


def test_an_error_of_the_trial_that_is_none_of_memory_is_not_hidden(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*shape: object) -> float:
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr("ncdiag.execution.local.speedup", fail)
    runs = plan_sweep(store, specs=[small_spec(seed=seed) for seed in range(2)])
    with pytest.raises(RuntimeError, match="shapes"):
        train_all(store.url, runs, TrainingOptions(), jobs=1, listen=Heard())


@pytest.mark.parametrize("jobs", [1, 2])
def test_too_little_memory_for_the_data_here_leaves_it_to_those_who_train(
    store: Store, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    def run_out(*args: object) -> None:
        raise MemoryError

    monkeypatch.setattr("ncdiag.execution.local.load_data", run_out)
    runs = plan_sweep(store, specs=[small_spec(seed=seed) for seed in range(2)])
    outcomes = train_all(store.url, runs, TrainingOptions(), jobs=jobs, listen=Heard())
    assert [outcome.status for outcome in outcomes] == [RunStatus.DONE] * 2


def test_devices_are_filled_evenly() -> None:
    pool = Pool("unused", TrainingOptions(), Heard(), jobs=5, threads=1, devices=["cuda:0", "cuda:1"])
    workers: list[SimpleNamespace] = []
    for _ in range(5):
        workers.append(SimpleNamespace(name=pool._least_used(workers)))  # type: ignore[arg-type]
    assert [worker.name for worker in workers] == ["cuda:0", "cuda:1", "cuda:0", "cuda:1", "cuda:0"]


def test_a_worker_that_is_killed_while_it_loads_loses_its_group_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has not read its group by then, so the pipe does not end: it is reset."""
    start_worker, started = Pool._start_worker, list[Any]()

    def start_and_kill_the_first(pool: Pool, *, device: str) -> Any:
        found = start_worker(pool, device=device)
        started.append(found)
        if len(started) == 1:
            threading.Timer(0.3, found[1].kill).start()  # torch takes longer to load
        return found

    monkeypatch.setattr(Pool, "_start_worker", start_and_kill_the_first)
    runs = plan_sweep(store, specs=[small_spec(seed=seed, optimizer="sgd", depth=2 + seed) for seed in range(3)])
    outcomes = train_all(store.url, runs, TrainingOptions(), jobs=2, listen=Heard())
    lost, *others = sorted(outcomes, key=lambda outcome: outcome.status is not RunStatus.LOST)
    assert "its process ended with code -9" in str(lost.error)
    assert [outcome.status for outcome in others] == [RunStatus.DONE] * 2
    assert all(pipe.closed for pipe, _ in started)


def test_a_worker_that_is_killed_in_the_middle_of_a_message_loses_its_group_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ncdiag.execution.pool._work", dying.die_in_mid_message)
    runs = plan_sweep(store, specs=[small_spec(seed=seed, optimizer="sgd", depth=2 + seed) for seed in range(2)])
    outcomes = train_all(store.url, runs, TrainingOptions(), jobs=2, listen=Heard())
    assert [outcome.status for outcome in outcomes] == [RunStatus.LOST] * 2
    assert all("its process ended with code -9" in str(outcome.error) for outcome in outcomes)


def test_of_the_group_of_a_worker_that_dies_those_that_had_ended_are_not_lost(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ncdiag.execution.pool._work", dying.die_after_two_ends)
    runs = plan_sweep(store, specs=[small_spec(seed=seed) for seed in range(3)])
    heard = Heard()
    outcomes = Pool(store.url, TrainingOptions(), heard, jobs=1, threads=1, devices=["cpu"]).train([runs])
    assert [(outcome.run.id, outcome.status, outcome.error is None) for outcome in outcomes] == [
        (runs[0].id, RunStatus.DIVERGED, True),
        (runs[1].id, RunStatus.FAILED, False),
        (runs[2].id, RunStatus.LOST, False),
    ]
    assert heard.ended == {outcome.run.id: outcome.status for outcome in outcomes}


def test_a_worker_that_cannot_open_the_store_says_why(
    store: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    gone, heard = str(tmp_path / "gone" / "runs.db"), Heard()
    pool = Pool(gone, TrainingOptions(), heard, jobs=1, threads=1, devices=["cpu"])
    (outcome,) = pool.train([plan_sweep(store, specs=[small_spec()])])
    assert outcome.status is RunStatus.FAILED
    assert f"the folder {tmp_path / 'gone'} does not exist" in str(outcome.error)
    assert heard.ended == {outcome.run.id: RunStatus.FAILED}
    assert "Traceback" not in capfd.readouterr().err


def test_a_worker_waits_for_a_store_that_it_cannot_open_yet(store: Store) -> None:
    """As long as a run waits that has begun: a server that restarts would else fail all that begins meanwhile."""
    runs = plan_sweep(store, specs=[small_spec()])
    with sqlite3.connect(str(store.path), isolation_level=None) as blocker:
        blocker.execute("BEGIN EXCLUSIVE")
        said: list[str] = []

        def give_back(run: Run, event: Event | Note) -> None:
            if isinstance(event, Note):
                said.append(event.text)
                blocker.execute("ROLLBACK")

        pool = Pool(store.url, TrainingOptions(), give_back, jobs=1, threads=1, devices=["cpu"])
        (outcome,) = pool.train([runs])
    assert outcome.status is RunStatus.DONE
    assert said == [f"the store {store.label} is locked by another process; waiting up to 150 seconds for it"]


def start_no_more_than(number: int, error: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    start, started = BaseProcess.start, list[BaseProcess]()

    def start_or_fail(process: BaseProcess) -> None:
        if len(started) >= number:
            raise error
        started.append(process)
        start(process)

    monkeypatch.setattr(BaseProcess, "start", start_or_fail)


def test_where_fewer_workers_can_be_started_these_train_all(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    start_no_more_than(1, OSError(errno.ENOMEM, "Cannot allocate memory"), monkeypatch)
    notes: list[str] = []

    def listen(run: Run, event: Event | Note) -> None:
        if isinstance(event, Note):
            notes.append(event.text)

    runs = plan_sweep(store, specs=[small_spec(seed=seed, optimizer="sgd", depth=2 + seed) for seed in range(3)])
    outcomes = train_all(store.url, runs, TrainingOptions(), jobs=3, listen=listen)
    assert [outcome.status for outcome in outcomes] == [RunStatus.DONE] * 3
    assert notes == [
        "another process to train in cannot be started: [Errno 12] Cannot allocate memory; 1 of 3 train the rest"
    ]


def test_where_no_worker_can_be_started_nothing_is_lost(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    specs = [small_spec(seed=seed, optimizer="sgd") for seed in range(2)]
    runs = plan_sweep(store, specs=specs)
    with monkeypatch.context() as patched:
        start_no_more_than(0, BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), patched)
        with pytest.raises(UnavailableError, match="temporarily unavailable\n--jobs 1 trains"):
            train_all(store.url, runs, TrainingOptions(), jobs=2, listen=Heard())
    assert [run.status for run in list_runs(store)] == [RunStatus.PENDING] * 2
    outcomes = train_all(store.url, plan_sweep(store, specs=specs), TrainingOptions(), jobs=2, listen=Heard())
    assert [outcome.status for outcome in outcomes] == [RunStatus.DONE] * 2


def test_workers_that_do_not_end_share_one_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ncdiag.execution.pool.GRACE_SECONDS", 0.5)
    context = multiprocessing.get_context("spawn")
    workers = {}
    for _ in range(4):
        ours, theirs = context.Pipe()
        process = context.Process(target=dying.hear_no_sigterm, args=(theirs,))
        process.start()
        assert ours.recv() == "deaf"
        workers[ours] = process
    before = time.monotonic()
    _stop(workers)
    assert time.monotonic() - before < 1.5
    assert [process.exitcode for process in workers.values()] == [-signal.SIGKILL] * 4


SCRIPT = """
    import sys
    from small import small_spec
    from ncdiag.domain.spec import PhaseSpec
    from ncdiag.execution.local import train_all
    from ncdiag.execution.signals import stops_stored
    from ncdiag.execution.worker import TrainingOptions
    from ncdiag.store.engine import open_store
    from ncdiag.store.sweeps import plan_sweep
    if __name__ == "__main__":
        with open_store(sys.argv[1], write=True) as store:
            phases = (PhaseSpec.parse("ce:100000"),)
            runs = plan_sweep(store, specs=[small_spec(seed=s, phases=phases) for s in range(2)])
        def tell(run, event):
            print("epoch", flush=True)
        with stops_stored():
            train_all(sys.argv[1], runs, TrainingOptions(), jobs=2, listen=tell)
"""


def start(tmp_path: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """Start a pool of two workers in a process of its own; give it and the workers' process ids once both train."""
    script = tmp_path / "pool.py"
    script.write_text(textwrap.dedent(SCRIPT))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, Path(__file__).parents[1:3]))}
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "pool.db")], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    while True:
        process.stdout.readline()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        with open_store(str(tmp_path / "pool.db")) as store:
            if [run.status for run in list_runs(store)] == [RunStatus.RUNNING] * 2:
                return process, [int(child) for child in children]


def gone(pid: int) -> bool:
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True


def wait_until_gone(pids: list[int], seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if all(gone(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds child processes through /proc")
@pytest.mark.parametrize(
    ("sent", "code", "status"),
    [
        (signal.SIGTERM, 143, RunStatus.INTERRUPTED),
        (signal.SIGKILL, -9, None),  # the workers end by themselves; how far they come with the store is their luck
    ],
)
def test_no_worker_outlives_the_sweep(
    tmp_path: Path, sent: signal.Signals, code: int, status: RunStatus | None
) -> None:
    process, workers = start(tmp_path)
    process.send_signal(sent)
    process.communicate(timeout=120)
    assert process.returncode == code
    assert wait_until_gone(workers)
    with open_store(str(tmp_path / "pool.db")) as store:
        statuses = {run.status for run in list_runs(store)}
    assert statuses <= ({status} if status else {RunStatus.INTERRUPTED, RunStatus.LOST})


@pytest.mark.parametrize(("limits", "cores"), [([], 4), ([2.5], 2), ([0.5], 1), ([16.0, 3.0], 3)])
def test_a_container_with_a_share_of_the_cores_has_no_more_workers_than_that(
    monkeypatch: pytest.MonkeyPatch, limits: list[float], cores: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr("ncdiag.execution.local.core_limits", lambda: limits)
    assert usable_cores() == default_jobs("cpu") == most_jobs("cpu") == cores


@pytest.mark.parametrize(("name", "gpus", "jobs", "most"), [("cuda", 8, 8, 8), ("cuda", 2, 2, 4), ("cuda:1", 8, 1, 4)])
def test_there_is_a_worker_for_each_gpu_unless_one_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, gpus: int, jobs: int, most: int
) -> None:
    monkeypatch.setattr("ncdiag.execution.local.pick_device", torch.device)
    monkeypatch.setattr("ncdiag.execution.local.usable_cores", lambda: 4)
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    assert (default_jobs(name), most_jobs(name)) == (jobs, most)
