"""Transactions that no signal breaks into.

Python hears a signal between any two of its instructions, and what a handler raises there may hit the bookkeeping of
SQLAlchemy: the connection is left open with the lock of the store, so that nobody can say how the run ended; or what
was raised is printed or dropped, where an object is being freed. A transaction is short, and can be waited for; one
that takes in many runs says between two of them that it may be broken off, and so does one that has to wait for the
store (`ncdiag.store.waiting`).
"""

import inspect
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_shields: list[Callable[[], None]] = []  # of the main thread, the innermost last: what lets through what waits there


@contextmanager
def shielded() -> Iterator[None]:
    """Let a signal that would raise in the block wait for its end; another Ctrl-C does not wait."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread hears signals
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    before = {int(number): handler for number, handler in handlers.items() if callable(handler)}
    waiting: list[int] = []

    def wait(number: int, frame: FrameType | None) -> None:
        waiting.append(number)
        if waiting.count(signal.SIGINT) > 1:
            before[number](number, frame)

    def let_through() -> None:
        asked = dict.fromkeys(waiting)
        waiting.clear()
        for number in asked:
            before[number](number, inspect.currentframe())

    for number in before:
        signal.signal(number, wait)
    _shields.append(let_through)
    try:
        yield
    finally:
        _shields.pop()
        for number, handler in before.items():
            if signal.getsignal(number) is wait:
                signal.signal(number, handler)
        let_through()


def hear() -> None:
    """Raise what the blocks around this place keep waiting, where a long one can be broken off and undone."""
    if threading.current_thread() is threading.main_thread():
        for let_through in reversed(_shields):
            let_through()
