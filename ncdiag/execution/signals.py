"""What a request to stop does to this process."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_INTERRUPTED = 128 + signal.SIGINT  # as a shell says it
# What asks a process to end besides Ctrl-C: a scheduler, and a terminal or an ssh session that is closed.
_ENDINGS = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]  # Windows has only the first


@contextmanager
def stops_heard() -> Iterator[None]:
    """Let Ctrl-C raise `KeyboardInterrupt` in the block, and SIGTERM `SystemExit(143)`, so that what is half made goes.

    SIGHUP raises `SystemExit(129)`; what `nohup` started, or a shell in the background, stays deaf to its signal.

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
        if isinstance(unheard.exc_value, (KeyboardInterrupt, SystemExit)):
            os._exit(exit_code(unheard.exc_value))
        hook(unheard)

    usual = {signal.SIGINT: signal.default_int_handler, **dict.fromkeys(_ENDINGS, signal.SIG_DFL)}
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


def exit_code(stop: KeyboardInterrupt | SystemExit) -> int:
    """Give the exit code of a process that a signal ends, from what it has raised."""
    return stop.code if isinstance(stop, SystemExit) and isinstance(stop.code, int) else EXIT_INTERRUPTED


def _loads(frame: FrameType | None) -> bool:
    """Tell whether a module is being loaded where this process is."""
    while frame is not None:
        if frame.f_globals.get("__name__") == "importlib._bootstrap":
            return True
        frame = frame.f_back
    return False


@contextmanager
def held_back(*numbers: signal.Signals) -> Iterator[None]:
    """Let signals wait until the block ends, and processes that are started within never hear them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
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
        raise SystemExit(128 + _requests[0])


@contextmanager
def stops_stored() -> Iterator[None]:
    """Turn SIGTERM into `SystemExit(143)`, SIGHUP into 129, so that what is under way is stored as interrupted.

    Whatever goes on for long within calls `raise_if_asked` now and then.

    While that is stored, another Ctrl-C ends the process at once, whatever it is waiting for. Another SIGTERM does not:
    `timeout` and schedulers send two, to the process and to its group. Nor does SIGHUP, which the shell and the system
    send when a terminal is closed.
    """

    def stop(signum: int, frame: FrameType | None) -> None:
        for number in before:
            signal.signal(number, signal.SIG_DFL if number == signal.SIGINT else signal.SIG_IGN)
        _requests.append(signum)
        raise_if_asked()

    def drop(unheard: "sys.UnraisableHookArgs") -> None:
        if not isinstance(unheard.exc_value, (KeyboardInterrupt, SystemExit)):  # these are raised again, not printed
            hook(unheard)

    hook, sys.unraisablehook = sys.unraisablehook, drop
    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, stop)}
    for number in (signal.SIGINT, *_ENDINGS[1:]):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as it is in the background, and under `nohup`
            before[number] = signal.signal(number, stop)
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
