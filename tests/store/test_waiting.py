import random
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest
from small import small_spec

from ncdiag.errors import StoreError
from ncdiag.store import waiting
from ncdiag.store.engine import Store
from ncdiag.store.faults import StoreBusyError
from ncdiag.store.maintenance import backup_store
from ncdiag.store.runs import add_run, get_run, list_runs, rename_run
from ncdiag.store.waiting import OUTAGE_SECONDS, SECONDS_BETWEEN_TRIES, Patience, hurry, retried

Passes = Callable[[float], None]


class Clock:
    """Time that passes only while somebody sleeps, or is busy for `seconds`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(waiting, "time", clock)
    return clock


class Server:
    """Is away until a moment; each try takes some seconds."""

    def __init__(self, clock: Clock, back: float, seconds: float = 0.0) -> None:
        self.clock = clock
        self.back = back
        self.seconds = seconds
        self.tries = 0

    def __call__(self) -> str:
        self.tries += 1
        self.clock.sleep(self.seconds)
        if self.clock.now < self.back:
            raise StoreBusyError("the server is away: refused.\nCheck it")
        return "stored"


def test_a_store_that_comes_back_is_waited_for_and_that_is_said_once(clock: Clock) -> None:
    notes: list[str] = []
    server = Server(clock, clock.now + 30)
    assert Patience(120, notes.append).outlast(server) == "stored"
    assert server.tries == pytest.approx(1 + 30 / SECONDS_BETWEEN_TRIES, abs=1)
    assert notes == ["the server is away: refused; waiting up to 120 seconds for it"]


def test_nobody_waits_for_a_store_that_is_there(clock: Clock) -> None:
    assert Patience(120, pytest.fail).outlast(Server(clock, 0)) == "stored"
    assert clock.now == 1000


def test_a_short_wait_is_not_worth_a_word(clock: Clock) -> None:
    assert Patience(120, pytest.fail).outlast(Server(clock, clock.now + 0.9)) == "stored"


def test_one_patience_is_enough_for_all_that_waits(clock: Clock) -> None:
    notes: list[str] = []
    several = Patience(120, notes.append)
    gone = Server(clock, float("inf"))
    for _ in range(3):
        with pytest.raises(StoreBusyError):
            several.outlast(gone)
    assert clock.now == pytest.approx(1000 + 120, abs=1)
    assert len(notes) == 1


def test_a_later_outage_is_waited_for_anew_and_told_of_anew(clock: Clock) -> None:
    notes: list[str] = []
    one = Patience(120, notes.append)
    for _ in range(2):
        assert one.outlast(Server(clock, clock.now + 119)) == "stored"
    assert len(notes) == 2


def test_what_waits_within_adds_nothing_to_the_wait(clock: Clock) -> None:
    gone = Server(clock, float("inf"), seconds=0.5)

    @retried
    def change() -> str:
        return waiting.patiently("here", gone)

    with pytest.raises(StoreBusyError):
        Patience(40, lambda text: None).outlast(change)
    assert clock.now == pytest.approx(1000 + 40, abs=1)


def test_in_a_hurry_it_is_asked_once(clock: Clock) -> None:
    gone = Server(clock, float("inf"), seconds=0.5)
    for work in (retried(gone), lambda: waiting.patiently("here", gone)):
        gone.tries = 0
        with pytest.raises(StoreBusyError), hurry():
            work()
        assert gone.tries == 1


def test_other_errors_are_not_waited_for(clock: Clock) -> None:
    with pytest.raises(ZeroDivisionError):
        Patience(120, pytest.fail).outlast(lambda: 1 / 0)
    assert clock.now == 1000


def test_another_thread_waits_in_silence(clock: Clock) -> None:
    found: list[str] = []
    silent = Patience(120, pytest.fail)
    thread = threading.Thread(target=lambda: found.append(silent.outlast(Server(clock, clock.now + 30))))
    thread.start()
    thread.join()
    assert found == ["stored"]


def test_a_busy_store_is_tried_again(clock: Clock) -> None:
    calls: list[int] = []

    @retried
    def work(value: int) -> int:
        calls.append(value)
        if len(calls) < 3:
            raise StoreBusyError("busy")
        return value * 2

    assert work(21) == 42
    assert calls == [21, 21, 21]


def test_other_errors_are_not_tried_again() -> None:
    calls: list[int] = []

    @retried
    def work() -> None:
        calls.append(1)
        raise StoreError("disk full")

    with pytest.raises(StoreError, match="disk full"):
        work()
    assert calls == [1]


def test_waiting_ends_and_does_not_touch_the_random_numbers_of_a_run(clock: Clock) -> None:
    before = random.getstate()

    @retried
    def work() -> None:
        raise StoreBusyError("busy")

    with pytest.raises(StoreBusyError):
        work()
    assert clock.now == pytest.approx(1000 + OUTAGE_SECONDS, abs=1)
    assert random.getstate() == before


@contextmanager
def held(store: Store, begin: str, *statements: str, seconds: float = 1.5) -> Iterator[None]:
    """Hold a store from another connection, for longer than SQLite waits by itself."""
    with closing(sqlite3.connect(str(store.path), isolation_level=None, check_same_thread=False)) as blocker:
        for statement in (begin, *statements):
            blocker.execute(statement)
        released = threading.Timer(seconds, blocker.rollback)
        released.start()
        yield
        released.join()


@pytest.mark.parametrize("begin", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_a_write_waits_for_its_turn(store: Store, begin: str) -> None:
    add_run(store, small_spec())
    with held(store, begin):
        rename_run(store, "run-1", "late")
    assert get_run(store, "late").id == 1


def test_a_commit_waits_for_a_reader(store: Store) -> None:
    add_run(store, small_spec())
    with held(store, "BEGIN", "SELECT * FROM runs"):
        rename_run(store, "run-1", "late")
    assert get_run(store, "late").id == 1


def test_a_read_and_a_backup_wait_for_a_writer(store: Store) -> None:
    add_run(store, small_spec())
    assert store.path
    with held(store, "BEGIN EXCLUSIVE"):
        assert len(list_runs(store)) == 1
    with held(store, "BEGIN EXCLUSIVE"):
        assert backup_store(store.url, store.path.with_name("copy.db")).exists()


def test_a_write_that_waits_in_vain_leaves_nothing_open(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "OUTAGE_SECONDS", 0)
    add_run(store, small_spec())
    for begin in ("BEGIN IMMEDIATE", "BEGIN EXCLUSIVE", "BEGIN"):
        with closing(sqlite3.connect(str(store.path), isolation_level=None)) as blocker:
            blocker.execute(begin)
            blocker.execute("SELECT * FROM runs").fetchone()
            with pytest.raises(StoreError, match=r"is locked by another process.*\nClose the program"):
                rename_run(store, "run-1", "late")
        with closing(sqlite3.connect(str(store.path), timeout=0, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
    assert [run.name for run in list_runs(store)] == ["run-1"]
