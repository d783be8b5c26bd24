"""Train many runs on this machine, one after another or in a pool of processes with a share of the cores each.

Two processes that each use every core run several times slower than one (measured 4 to 20 times on two cores), so a
worker gets cores / workers threads, fixed before torch is loaded: the number of threads also decides the bits.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from types import FrameType

from ncdiag.domain.records import Run, RunStatus
from ncdiag.errors import NCDiagError
from ncdiag.execution.worker import Listener, Note, TrainingOptions, train_run
from ncdiag.store.engine import open_store
from ncdiag.training.loop import Ended, EpochDone, Event

GRACE_SECONDS = 10.0  # to store that a run was interrupted; an epoch's transaction takes 20 ms
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a point of a sweep ended."""

    run: Run
    status: RunStatus
    error: str | None = None


def usable_cores() -> int:
    """Give the number of cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


@contextmanager
def sigterm_as_exit() -> Iterator[None]:
    """Turn SIGTERM into `SystemExit(143)`, so that what is under way is stored as interrupted.

    While that is stored, another Ctrl-C ends the process at once, whatever it is waiting for. Another SIGTERM does not:
    `timeout` and schedulers send two, to the process and to its group.
    """

    def stop(signum: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if signal.SIGINT in before:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        if signum == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + signal.SIGTERM)

    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, stop)}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a worker of a pool ignores it
        before[signal.SIGINT] = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def train_all(
    store_url: str, todo: Sequence[Run], options: TrainingOptions, *, jobs: int, listen: Listener
) -> list[Outcome]:
    """Train these runs, `jobs` at a time, and give how each ended; one that fails does not stop the others."""
    if jobs > 1:  # for a single run too: the last one of a sweep gets no more threads than the others had
        return _Pool(store_url, options, listen, jobs=min(jobs, len(todo)), threads=usable_cores() // jobs).train(todo)
    with open_store(store_url, write=True) as store:
        outcomes = []
        for run in todo:
            try:
                outcomes.append(Outcome(run=run, status=train_run(store, run, options, listen)))
            except Exception as error:
                outcomes.append(_failed(run, error))
        return outcomes


def _failed(run: Run, error: Exception) -> Outcome:
    text = str(error) if isinstance(error, NCDiagError) else f"{type(error).__name__}: {error}"
    return Outcome(run=run, status=RunStatus.FAILED, error=text)


class _Pool:
    """A fixed number of worker processes, each training one run at a time and reporting over a pipe of its own."""

    def __init__(self, store_url: str, options: TrainingOptions, listen: Listener, *, jobs: int, threads: int) -> None:
        self.store_url = store_url
        self.options = options
        self.listen = listen
        self.jobs = jobs
        self.threads = max(1, threads)
        self.context = multiprocessing.get_context("spawn")  # a forked child would share the store's connection

    def train(self, todo: Sequence[Run]) -> list[Outcome]:
        waiting = list(reversed(todo))
        outcomes: dict[int, Outcome] = {}
        workers: dict[Connection, multiprocessing.process.BaseProcess] = {}
        current: dict[Connection, Run] = {}
        try:
            while waiting or current:
                while waiting and len(current) < self.jobs:
                    idle = next((pipe for pipe in workers if pipe not in current), None)
                    if idle is None:
                        idle, process = self._start_worker()
                        workers[idle] = process
                    current[idle] = waiting.pop()
                    with suppress(BrokenPipeError):  # it died while idle; its end of the pipe says so below
                        idle.send(current[idle])
                for pipe in wait(list(current)):
                    assert isinstance(pipe, Connection)
                    try:
                        message: Event | Note | Outcome = pipe.recv()
                    except EOFError:
                        run = current.pop(pipe)
                        workers[pipe].join()
                        error = f"its process ended with code {workers.pop(pipe).exitcode}; is there enough memory?"
                        outcomes[run.id] = Outcome(run=run, status=RunStatus.LOST, error=error)
                        continue
                    if isinstance(message, Outcome):
                        outcomes[message.run.id] = message
                        del current[pipe]
                    else:
                        self.listen(current[pipe], message)
        finally:
            self._stop(workers)
        return [outcomes[run.id] for run in todo]

    def _start_worker(self) -> tuple[Connection, multiprocessing.process.BaseProcess]:
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=_work, args=(theirs, self.store_url, self.options), daemon=True)
        with _thread_limit(self.threads):
            process.start()
        theirs.close()
        return ours, process

    def _stop(self, workers: dict[Connection, multiprocessing.process.BaseProcess]) -> None:
        for process in workers.values():
            process.terminate()
        for process in workers.values():
            process.join(GRACE_SECONDS)
            if process.is_alive():
                process.kill()
                process.join()


@contextmanager
def _thread_limit(threads: int) -> Iterator[None]:
    """Let processes started within inherit a number of threads, which torch reads when it is loaded."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update({name: str(threads) for name in _THREAD_VARIABLES})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _work(pipe: Connection, store_url: str, options: TrainingOptions) -> None:
    """Train what comes over the pipe until it closes or the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides and terminates
    threading.Thread(target=_follow_parent, daemon=True).start()

    def report(run: Run, event: Event | Note) -> None:
        if isinstance(event, EpochDone | Ended | Note):
            pipe.send(event)

    with sigterm_as_exit(), open_store(store_url, write=True) as store:
        while True:
            try:
                run: Run = pipe.recv()
            except EOFError:
                return
            try:
                outcome = Outcome(run=run, status=train_run(store, run, options, report))
            except Exception as error:
                outcome = _failed(run, error)
            pipe.send(outcome)


def _follow_parent() -> None:
    """End this process when its parent dies, even by SIGKILL: no orphan goes on training."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)  # longer than that it waits for a store that nobody can have
    os._exit(128 + signal.SIGTERM)
