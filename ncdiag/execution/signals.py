"""What a request to stop does to this process."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_INTERRUPTED, EXIT_TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM  # as a shell says it


@contextmanager
def stops_heard() -> Iterator[None]:
    """Let Ctrl-C raise `KeyboardInterrupt` in the block, and SIGTERM `SystemExit(143)`, so that what is half made goes.

    But not while a module is being loaded: torch and numpy swallow it there, or are left half loaded and fail in ways
    that look like bugs. A process that is loading has begun nothing that would have to be put in order, so it ends at
    once. So does one in which Python would drop what is raised, and one that has left the block: torch takes a second
    to leave, and what is raised then ends in a traceback.
    """

    def stop(signum: int, frame: FrameType | None) -> None:
        if _loads(frame):
            os._exit(128 + signum)
        raise KeyboardInterrupt if signum == signal.SIGINT else SystemExit(128 + signum)

    def leave(unheard: "sys.UnraisableHookArgs") -> None:
        if isinstance(unheard.exc_value, KeyboardInterrupt):
            os._exit(EXIT_INTERRUPTED)
        if isinstance(unheard.exc_value, SystemExit):
            os._exit(EXIT_TERMINATED)
        hook(unheard)

    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    heard = [number for number, handler in usual.items() if signal.getsignal(number) is handler]  # else it is ignored
    hook, sys.unraisablehook = sys.unraisablehook, leave
    for number in heard:
        signal.signal(number, stop)
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    finally:
        for number in heard:
            signal.signal(number, signal.SIG_DFL)
        sys.unraisablehook = hook


def _loads(frame: FrameType | None) -> bool:
    """Tell whether a module is being loaded where this process is."""
    while frame is not None:
        if frame.f_globals.get("__name__") == "importlib._bootstrap":
            return True
        frame = frame.f_back
    return False


@contextmanager
def held_back(number: signal.Signals) -> Iterator[None]:
    """Let a signal wait until the block ends, and processes that are started within never hear it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_requests: list[int] = []  # signals that have asked this process to stop


def raise_if_asked() -> None:
    """Raise again what a request to stop has raised already: Python drops what is raised while it frees an object."""
    if signal.SIGINT in _requests:
        raise KeyboardInterrupt
    if _requests:
        raise SystemExit(EXIT_TERMINATED)


@contextmanager
def sigterm_as_exit() -> Iterator[None]:
    """Turn SIGTERM into `SystemExit(143)`, so that what is under way is stored as interrupted.

    Whatever goes on for long within calls `raise_if_asked` now and then.

    While that is stored, another Ctrl-C ends the process at once, whatever it is waiting for. Another SIGTERM does not:
    `timeout` and schedulers send two, to the process and to its group.
    """

    def stop(signum: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if signal.SIGINT in before:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        _requests.append(signum)
        raise_if_asked()

    def drop(unheard: "sys.UnraisableHookArgs") -> None:
        if not isinstance(unheard.exc_value, (KeyboardInterrupt, SystemExit)):  # these are raised again, not printed
            hook(unheard)

    hook, sys.unraisablehook = sys.unraisablehook, drop
    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, stop)}
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        before[signal.SIGINT] = signal.signal(signal.SIGINT, stop)
    try:
        yield
    except Exception:
        raise_if_asked()  # what was raised for that may have been taken for an error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook = hook
        _requests.clear()
