"""Signals in the middle of a transaction."""

import signal
import threading
from collections.abc import Iterator
from types import FrameType

import pytest
from small import small_spec

from ncdiag.execution.signals import stops_stored
from ncdiag.store import schema
from ncdiag.store.engine import Store
from ncdiag.store.runs import add_run, list_runs
from ncdiag.store.shielding import hear, shielded


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The handlers that a test finds are there when it is over."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    left = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    for number, handler in before.items():
        signal.signal(number, handler)
    assert left == (signal.default_int_handler, before[signal.SIGTERM])


def test_ctrl_c_in_a_transaction_is_heard_when_it_is_committed(store: Store) -> None:
    add_run(store, small_spec())

    def rename() -> None:
        with store.write() as connection:
            signal.raise_signal(signal.SIGINT)
            connection.execute(schema.runs.update().values(name="renamed"))

    with pytest.raises(KeyboardInterrupt):
        rename()
    assert [run.name for run in list_runs(store)] == ["renamed"]


def test_ctrl_c_in_a_query_is_heard_after_it(store: Store) -> None:
    add_run(store, small_spec())
    names: list[str] = []

    def read() -> None:
        with store.read() as connection:
            signal.raise_signal(signal.SIGINT)
            names.extend(connection.scalars(schema.runs.select().with_only_columns(schema.runs.c.name)))

    with pytest.raises(KeyboardInterrupt):
        read()
    assert names == ["run-1"]


def test_an_error_gives_way_to_the_request() -> None:
    def fail() -> None:
        with shielded():
            signal.raise_signal(signal.SIGINT)
            raise ValueError("broken off")

    with pytest.raises(KeyboardInterrupt) as caught:
        fail()
    assert isinstance(caught.value.__context__, ValueError)


def test_another_ctrl_c_does_not_wait() -> None:
    went_on = []

    def ask_twice() -> None:
        with shielded():
            for number in range(2):
                signal.raise_signal(signal.SIGINT)
                went_on.append(number)

    with pytest.raises(KeyboardInterrupt):
        ask_twice()
    assert went_on == [0]


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_both_requests_to_a_process_and_to_its_group_are_one(sent: signal.Signals, code: int) -> None:
    went_on = []

    def ask_twice() -> None:
        with stops_stored(), shielded():
            for number in range(2):
                signal.raise_signal(sent)
                went_on.append(number)

    with pytest.raises(SystemExit) as caught:
        ask_twice()
    assert went_on == [0, 1]
    assert caught.value.code == code


@pytest.mark.parametrize(("sent", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_long_transaction_is_broken_off_where_it_says_so_and_undone(
    store: Store, sent: signal.Signals, raised: type[BaseException]
) -> None:
    add_run(store, small_spec())
    steps = []

    def rename() -> None:
        with stops_stored(), store.read(), store.write() as connection:
            for name in ("first", "second", "third"):
                hear()
                steps.append(name)
                connection.execute(schema.runs.update().values(name=name))
                if name == "second":
                    signal.raise_signal(sent)

    with pytest.raises(raised):
        rename()
    assert steps == ["first", "second"]
    assert [run.name for run in list_runs(store)] == ["run-1"]


def test_what_a_program_made_of_a_signal_stays() -> None:
    heard: list[int] = []

    def own(number: int, frame: FrameType | None) -> None:
        heard.append(number)

    before = signal.signal(signal.SIGTERM, own)
    try:
        with shielded():
            signal.raise_signal(signal.SIGTERM)
            assert heard == []
        assert heard == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_handler_that_is_set_within_stays() -> None:
    with shielded():
        before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if not callable(before) else before)


def test_another_thread_keeps_no_signal_waiting() -> None:
    entered, leave = threading.Event(), threading.Event()

    def inside() -> None:
        with shielded():
            entered.set()
            leave.wait(30)

    thread = threading.Thread(target=inside)
    thread.start()
    assert entered.wait(30)
    try:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        leave.set()
        thread.join()
