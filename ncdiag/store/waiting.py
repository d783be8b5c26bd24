"""Waiting for a store that cannot be had: another process holds its file, or its server is away.

This is the one place that waits. SQLite would do so by itself, but in C, where Python hears no signal and says nothing.
So SQLite has half a second (`handle.BUSY_SECONDS`), and is asked again from here until time is up. Who waits says so
after a second, once; and a request to stop ends the waiting, and undoes what was waiting.

A transaction waits for its turn for half a minute. What is repeated as a whole, as most changes of a store are, waits
longer, and so do the beginning and the end of a run, without which nothing can go on: for those a server that restarts
is back in time. What was measured in between is kept on the disk meanwhile (`ncdiag.store.recorder`).
"""

import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

from ncdiag.store.faults import StoreBusyError, translated
from ncdiag.store.shielding import hear

P = ParamSpec("P")
T = TypeVar("T")

TURN_SECONDS = 30.0
OUTAGE_SECONDS = 150.0
HURRY_SECONDS = 0.5  # what a try may take in which nothing is lost by failing
SECONDS_BETWEEN_TRIES = 0.1
_QUIET_SECONDS = 1.0  # several processes that write in turn make each other wait for less than that

_log = logging.getLogger("ncdiag")
_current: ContextVar["Patience | None"] = ContextVar("patience", default=None)


class Patience:
    """Waits so many seconds for a store, once for all that is waiting: the clock starts anew when the store is back.

    `tell` is called with what is waited for, and how long.
    """

    def __init__(self, seconds: float, tell: Callable[[str], None] = _log.warning) -> None:
        self.seconds = seconds
        self.tell = tell
        self.since: float | None = None
        self.told = False

    def outlast(self, act: Callable[[], T]) -> T:
        """Do something with a store, again and again while that cannot be had; raises `StoreBusyError` in the end.

        What waits within waits no longer than this.
        """
        begun = time.monotonic()
        with _using(self) as outermost:
            while True:
                try:
                    found = act()
                except StoreBusyError as error:
                    hear()
                    if not self._has_time(begun, error):
                        raise
                    time.sleep(SECONDS_BETWEEN_TRIES)
                else:
                    if outermost:
                        self.since, self.told = None, False
                    return found

    def _has_time(self, begun: float, error: StoreBusyError) -> bool:
        if self.since is None:
            self.since = begun
        waited = time.monotonic() - self.since
        # Only the main thread speaks: whoever started the command waits for that one, and may have many others.
        speaks = waited > _QUIET_SECONDS and threading.current_thread() is threading.main_thread()
        if waited < self.seconds and speaks and not self.told:
            self.told = True
            self.tell(f"{str(error).splitlines()[0].rstrip('.')}; waiting up to {self.seconds:.0f} seconds for it")
        return waited < self.seconds


@contextmanager
def _using(patience: Patience) -> Iterator[bool]:
    """Let what waits within have this patience; gives False where it has it already."""
    before = _current.set(patience)
    try:
        yield before.old_value is not patience
    finally:
        _current.reset(before)


@contextmanager
def hurry() -> Iterator[None]:
    """Let nothing within wait: it can be done later, or nobody is there for it any more."""
    with _using(Patience(HURRY_SECONDS)):
        yield


def patiently(label: str, act: Callable[[], T]) -> T:
    """Do something for which SQLite needs a lock on the store of this `label`, as soon as it gets it."""

    def attempt() -> T:
        with translated(label):
            return act()

    return (_current.get() or Patience(TURN_SECONDS)).outlast(attempt)


def retried(function: Callable[P, T]) -> Callable[P, T]:
    """Repeat a whole function when the store could not be had, or another process was first to write the same row."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        patience = _current.get() or Patience(OUTAGE_SECONDS)
        return patience.outlast(lambda: function(*args, **kwargs))

    return wrapper
