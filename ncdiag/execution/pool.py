"""Worker processes on this machine, with a share of the cores each and, on a machine of several GPUs, one of these.

Two processes that each use every core run several times slower than one (measured 4 to 20 times on two cores), so a
worker gets cores / workers threads, fixed before torch is loaded: the number of threads also decides the bits.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from ncdiag.domain.records import Run, RunStatus
from ncdiag.errors import StoreError, UnavailableError
from ncdiag.execution.held import Listener, Note, tell_failed
from ncdiag.execution.signals import held_back, raise_if_asked, stops_stored
from ncdiag.execution.worker import Outcome, TrainingOptions, train_runs
from ncdiag.store.engine import open_store
from ncdiag.store.waiting import OUTAGE_SECONDS, Patience
from ncdiag.training.events import Ended, EpochDone, Event
from ncdiag.training.out_of_memory import NEEDS_LESS

GRACE_SECONDS = 10.0  # to store that a run was interrupted; an epoch's transaction takes 20 ms
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Pool:
    """A fixed number of worker processes, each training one group at a time and reporting over a pipe of its own."""

    def __init__(
        self,
        store_url: str,
        options: TrainingOptions,
        listen: Listener,
        *,
        jobs: int,
        threads: int,
        devices: Sequence[str],
    ) -> None:
        self.store_url = store_url
        self.options = options
        self.listen = listen
        self.jobs = jobs
        self.threads = threads
        self.devices = devices
        self.context = multiprocessing.get_context("spawn")  # a forked child would share the store's connection
        self.workers: dict[Connection, BaseProcess] = {}
        self.current: dict[Connection, list[Run]] = {}  # the group that a worker trains
        self.ended: dict[int, Outcome] = {}  # of the runs of such groups that have ended: their ids, and how

    def train(self, groups: Sequence[list[Run]]) -> list[Outcome]:
        """Train every group in the next idle worker, and give how its runs ended, in no particular order.

        Where fewer workers can be started than were asked for, these train all; `UnavailableError` if none can be.
        """
        waiting = list(reversed(groups))
        outcomes: list[Outcome] = []
        try:
            while waiting or self.current:
                raise_if_asked()
                self._hand_out(waiting)
                for pipe in wait(list(self.current)):
                    assert isinstance(pipe, Connection)
                    outcomes += self._hear(pipe)
        finally:
            _stop(self.workers)
        return outcomes

    def _hand_out(self, waiting: list[list[Run]]) -> None:
        """Give a group to every worker that is idle, and to new ones as long as there may be more."""
        while waiting and len(self.current) < self.jobs:
            idle = next((pipe for pipe in self.workers if pipe not in self.current), None) or self._hire(waiting[-1][0])
            if idle is None:
                return
            self.current[idle] = waiting.pop()
            with suppress(OSError):  # it died while idle; its end of the pipe says so when it is heard
                idle.send(self.current[idle])

    def _hire(self, run: Run) -> Connection | None:
        """Take on a worker, if this machine can bear another one; if not, it is not asked again."""
        try:
            pipe, process = self._start_worker(device=self._least_used(self.workers.values()))
        except UnavailableError as error:
            if not self.workers:
                raise
            text = f"{str(error).splitlines()[0]}; {len(self.workers)} of {self.jobs} train the rest"
            self.listen(run, Note(text=text))
            self.jobs = len(self.workers)
            return None
        self.workers[pipe] = process
        return pipe

    def _hear(self, pipe: Connection) -> list[Outcome]:
        """Pass on what a worker says, and give how its runs ended if that is what it says, or if it has died."""
        message = _receive(pipe)
        if message is None:
            pipe.close()
            return self._lose(self.current.pop(pipe), self.workers.pop(pipe))
        if isinstance(message, list):
            del self.current[pipe]
            return message
        run, event = message
        if isinstance(event, Ended):
            error = event.reason if event.status is RunStatus.FAILED else None
            self.ended[run.id] = Outcome(run=run, status=event.status, error=error)
        self.listen(run, event)
        return []

    def _lose(self, group: Sequence[Run], process: BaseProcess) -> list[Outcome]:
        """Give the ends of runs whose process has died, and tell of those that had not ended before it did."""
        process.join()
        error = f"its process ended with code {process.exitcode}; where memory is short, {NEEDS_LESS}"
        for member, run in enumerate(group):
            if run.id not in self.ended:
                self.ended[run.id] = Outcome(run=run, status=RunStatus.LOST, error=error)
                self.listen(run, Ended(member=member, status=RunStatus.LOST, reason=error))
        return [self.ended[run.id] for run in group]

    def _least_used(self, workers: Iterable[BaseProcess]) -> str:
        """Give the device with the fewest workers; a worker is named after its device."""
        used = [process.name for process in workers]
        return min(self.devices, key=used.count)

    def _start_worker(self, *, device: str) -> tuple[Connection, BaseProcess]:
        """Start a worker; `UnavailableError` where there is no memory, or no place, for another process."""
        try:
            ours, theirs = self.context.Pipe()
            arguments = theirs, self.store_url, replace(self.options, device=device)
            process = self.context.Process(target=_work, args=arguments, name=device, daemon=True)
            with theirs, _thread_limit(self.threads), held_back(signal.SIGHUP):
                resource_tracker.ensure_running()  # deaf to Ctrl-C by itself, and its start lets SIGINT through
                with held_back(signal.SIGINT):
                    process.start()
        except (OSError, MemoryError) as error:
            raise UnavailableError(
                f"another process to train in cannot be started: {error}\n"
                "--jobs 1 trains in the one that there is. What was stored before is intact, and the same command\n"
                "again trains what is missing"
            ) from error
        return ours, process


def _receive(pipe: Connection) -> tuple[Run, Event | Note] | list[Outcome] | None:
    """Give the next message of a worker, or None where it has died.

    The pipe of one that dies before it has read its group is reset, and one may die in the middle of a message.
    """
    try:
        message: tuple[Run, Event | Note] | list[Outcome] = pipe.recv()
    except (EOFError, OSError):
        return None
    return message


def _stop(workers: Mapping[Connection, BaseProcess]) -> None:
    """End the workers; all of them together have the grace, however many there are."""
    for process in workers.values():
        process.terminate()
    deadline = time.monotonic() + GRACE_SECONDS
    for pipe, process in workers.items():
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()
        pipe.close()


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
    """Train the groups that come over the pipe until it closes or the parent is gone.

    Ctrl-C, and the end of a terminal, reach the whole group of processes; the parent decides, and terminates this one,
    which does not hear them.
    """
    threading.Thread(target=_follow_parent, daemon=True).start()

    def report(run: Run, event: Event | Note) -> None:
        if isinstance(event, EpochDone | Ended | Note):
            with suppress(OSError):  # the parent is gone, which is no fault of the run; this process is being ended
                pipe.send((run, event))  # the run as it was claimed: it may have been renamed since it was listed

    with stops_stored():
        while True:
            raise_if_asked()
            try:
                group: list[Run] = pipe.recv()
            except (EOFError, OSError):
                return
            ended = _train_group(store_url, group, options, report)
            with suppress(OSError):
                pipe.send(ended)


def _train_group(store_url: str, group: list[Run], options: TrainingOptions, report: Listener) -> list[Outcome]:
    patience = Patience(OUTAGE_SECONDS, lambda text: report(group[0], Note(text=text)))
    try:
        with ExitStack() as stack:
            store = patience.outlast(lambda: stack.enter_context(open_store(store_url, write=True)))
            return train_runs(store, group, options, report)
    except StoreError as error:  # another program may hold it for longer
        for member, run in enumerate(group):
            tell_failed(report, run, member, error)
        return [Outcome(run=run, status=RunStatus.FAILED, error=str(error)) for run in group]


def _follow_parent() -> None:
    """End this process when its parent dies, even by SIGKILL: no orphan goes on training."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)  # longer than that it waits for a store that nobody can have
    os._exit(128 + signal.SIGTERM)
