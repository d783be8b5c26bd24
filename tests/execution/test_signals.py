"""A request to stop that was raised where nobody hears it."""

import signal
import weakref
from collections.abc import Callable

import pytest
from small import small_spec

from ncdiag.domain.records import Run, RunStatus
from ncdiag.execution.held import Note
from ncdiag.execution.signals import sigterm_as_exit
from ncdiag.execution.worker import TrainingOptions, train_run
from ncdiag.store.engine import Store
from ncdiag.store.runs import add_run, get_run
from ncdiag.training.loop import EpochDone, Event

STOPS = [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)]


def raised_while_an_object_is_freed(number: signal.Signals) -> None:
    class Freed:
        pass

    thing = Freed()
    ref = weakref.ref(thing, lambda _: signal.raise_signal(number))
    del thing
    assert ref() is None


def taken_for_an_error(number: signal.Signals) -> None:
    try:
        signal.raise_signal(number)
    except BaseException as error:
        raise RuntimeError("a callback failed") from error


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("number", "expected"), STOPS)
@pytest.mark.parametrize("ask", [raised_while_an_object_is_freed, taken_for_an_error])
def test_a_request_to_stop_that_got_lost_is_heard_at_the_next_event(
    store: Store, number: signal.Signals, expected: type[BaseException], ask: Callable[[signal.Signals], None]
) -> None:
    def listen(run: Run, event: Event | Note) -> None:
        if isinstance(event, EpochDone) and event.record.epoch == 2:
            ask(number)

    handlers = [signal.getsignal(one) for one, _ in STOPS]
    run, _ = add_run(store, small_spec(epochs=5))
    with pytest.raises(expected), sigterm_as_exit():
        train_run(store, run, TrainingOptions(device="cpu"), listen)
    stopped = get_run(store, run.name)
    assert (stopped.status, stopped.epochs_done) == (RunStatus.INTERRUPTED, 2)
    assert [signal.getsignal(one) for one, _ in STOPS] == handlers
    assert train_run(store, stopped, TrainingOptions(device="cpu"), lambda run, event: None) is RunStatus.DONE
