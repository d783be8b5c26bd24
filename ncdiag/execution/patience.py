"""Waiting for a store that is away where nothing can go on without it: at the beginning of a run, and at its end.

In between nobody waits: what is measured is kept on the disk (`ncdiag.store.recorder`). A server that restarts is back
within a minute.
"""

import time
from collections.abc import Callable
from typing import TypeVar

from ncdiag.store.faults import StoreBusyError

T = TypeVar("T")

OUTAGE_SECONDS = 120.0
SECONDS_BETWEEN_TRIES = 2.0


class Patience:
    """Waits two minutes for a store, once for all that is waiting: the clock starts anew when the store is back."""

    def __init__(self) -> None:
        self.until: float | None = None

    def outlast(self, act: Callable[[], T], tell: Callable[[str], None]) -> T:
        """Do something with the store, again and again while that cannot be had; raises `StoreBusyError` in the end.

        `tell` is called with what is waited for. What has waited for longer already, as SQLite does, is not repeated.
        """
        while True:
            begun = time.monotonic()
            try:
                found = act()
            except StoreBusyError as error:
                if self.until is None:
                    self.until = begun + OUTAGE_SECONDS
                    if time.monotonic() < self.until:
                        tell(f"{str(error).splitlines()[0].rstrip('.')}; waiting {OUTAGE_SECONDS:.0f} seconds for it")
                if time.monotonic() >= self.until:
                    raise
                time.sleep(SECONDS_BETWEEN_TRIES)
            else:
                self.until = None
                return found
