"""Saying every now and then that runs are alive, for those who watch from other machines."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from ncdiag.store import runs
from ncdiag.store.handle import Store
from ncdiag.store.waiting import hurry

HEARTBEAT_SECONDS = 30.0  # a quarter of the silence after which another host takes a run for lost


@contextmanager
def beating(store: Store, owner: str, living: Callable[[], Iterable[int]]) -> Iterator[None]:
    """Beat for the runs whose ids `living` gives at the time, while the block lasts."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(HEARTBEAT_SECONDS):
            # a missed beat is no reason to stop training, and a lost run fails at its next epoch
            with hurry(), suppress(Exception):
                runs.heartbeat(store, list(living()), owner)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(1.0)  # a beat that is under way harms nobody: the run is no longer its own
