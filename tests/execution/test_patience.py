import pytest

from ncdiag.execution import patience
from ncdiag.execution.patience import OUTAGE_SECONDS, SECONDS_BETWEEN_TRIES, Patience
from ncdiag.store.faults import StoreBusyError


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
    monkeypatch.setattr(patience, "time", clock)
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


def test_a_store_that_comes_back_is_waited_for(clock: Clock) -> None:
    notes: list[str] = []
    server = Server(clock, clock.now + 30)
    assert Patience().outlast(server, notes.append) == "stored"
    assert server.tries == 1 + 30 / SECONDS_BETWEEN_TRIES
    assert notes == ["the server is away: refused; waiting 120 seconds for it"]


def test_nobody_waits_for_a_store_that_is_there(clock: Clock) -> None:
    assert Patience().outlast(Server(clock, 0), pytest.fail) == "stored"
    assert clock.now == 1000


def test_two_minutes_are_enough_for_all_that_waits(clock: Clock) -> None:
    several = Patience()
    gone = Server(clock, float("inf"))
    for _ in range(3):
        with pytest.raises(StoreBusyError):
            several.outlast(gone, lambda text: None)
    assert clock.now == 1000 + OUTAGE_SECONDS


def test_a_later_outage_is_waited_for_anew(clock: Clock) -> None:
    one = Patience()
    for _ in range(2):
        assert one.outlast(Server(clock, clock.now + OUTAGE_SECONDS - 1), lambda text: None) == "stored"


def test_what_has_waited_for_longer_is_not_repeated(clock: Clock) -> None:
    locked = Server(clock, float("inf"), seconds=150)
    with pytest.raises(StoreBusyError):
        Patience().outlast(locked, pytest.fail)
    assert locked.tries == 1


def test_other_errors_are_not_waited_for(clock: Clock) -> None:
    with pytest.raises(ZeroDivisionError):
        Patience().outlast(lambda: 1 / 0, pytest.fail)
    assert clock.now == 1000
