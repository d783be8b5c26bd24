"""Transactions that no signal breaks into.

Python hears a signal between any two of its instructions, and what a handler raises there may hit the bookkeeping of
SQLAlchemy: the connection is left open with the lock of the store, so that nobody can say how the run ended; or what
was raised is printed or dropped, where an object is being freed. A transaction is short, and can be waited for.
"""

import inspect
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


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

    for number in before:
        signal.signal(number, wait)
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is wait:
                signal.signal(number, handler)
        for number in dict.fromkeys(waiting):
            before[number](number, inspect.currentframe())
