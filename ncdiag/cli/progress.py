"""How training is going, on stderr: a bar for each run on a terminal, plain lines now and then anywhere else."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol

from ncdiag.domain.records import EpochRecord, Run

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from ncdiag.execution.held import Listener, Note
    from ncdiag.training.events import Event

SECONDS_BETWEEN_LINES = 10.0  # a log file of an overnight sweep should still be read by a person


class _Display(Protocol):
    def show(self, run: Run, record: EpochRecord) -> None: ...

    def end(self, run: Run, text: str) -> None: ...

    def say(self, line: str) -> None: ...


@contextmanager
def show_progress(points: int) -> "Iterator[Listener]":
    """Give a listener for the events of training that shows `points` runs on stderr until the context ends."""
    from ncdiag.execution.held import Note
    from ncdiag.training.events import Ended, EpochDone

    with _terminal(points) if sys.stderr.isatty() else nullcontext(_Lines(points)) as display:

        def listen(run: Run, event: "Event | Note") -> None:
            if isinstance(event, EpochDone):
                display.show(run, event.record)
            elif isinstance(event, Ended):
                reason = f": {event.reason.splitlines()[0]}" if event.reason else ""
                display.end(run, f"{event.status}{reason}")
            elif isinstance(event, Note):
                display.say(f"ncdiag: note: {event.text}")

        yield listen


@contextmanager
def show_step(step: str) -> "Iterator[Callable[[str], None]]":
    """Show on a terminal which step of a work is being done; gives what is told of the next one."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    with Console(stderr=True).status(step) as status:
        yield status.update


def describe_record(record: EpochRecord) -> str:
    """Give the figures of an epoch that a person watches, 44 characters wide so that a bar fits beside them in 80."""
    figures = (
        ("loss", record.train_loss, "8.3g"),
        ("acc", record.train_accuracy, "7.1%"),
        ("fn", record.feature_norm, "6.4g"),
        ("NC1", record.nc1, "8.3g"),
    )
    return "  ".join(f"{name} {value:<{form}}" for name, value, form in figures if value is not None)


@contextmanager
def _terminal(points: int) -> "Iterator[_Display]":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Column

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=8),
        MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=7)),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=4) as progress:
        yield _Bars(progress, progress.add_task("runs", total=points, figures="") if points > 1 else None)


class _Bars:
    """A bar for each run in training, and one for all of them."""

    def __init__(self, progress: "Progress", everything: "TaskID | None") -> None:
        self.progress = progress
        self.everything = everything
        self.tasks: dict[int, TaskID] = {}

    def show(self, run: Run, record: EpochRecord) -> None:
        if run.id not in self.tasks:
            self.tasks[run.id] = self.progress.add_task(run.name, total=run.epochs_planned, figures="")
        self.progress.update(self.tasks[run.id], completed=record.epoch, figures=describe_record(record))

    def end(self, run: Run, text: str) -> None:
        if run.id in self.tasks:
            self.progress.update(self.tasks.pop(run.id), visible=False)
        self.say(f"{run.name} {text}")
        if self.everything is not None:
            self.progress.advance(self.everything)

    def say(self, line: str) -> None:
        self.progress.console.print(line, markup=False, highlight=False)


class _Lines:
    """One line for a run's first epoch, its end, and at most one in ten seconds between."""

    def __init__(self, points: int) -> None:
        self.points = points
        self.ended = 0
        self.first: dict[int, tuple[float, int]] = {}  # run -> when its first epoch came, and which it was
        self.last: dict[int, float] = {}

    def show(self, run: Run, record: EpochRecord) -> None:
        now = time.monotonic()
        if now - self.last.get(run.id, -SECONDS_BETWEEN_LINES) < SECONDS_BETWEEN_LINES:
            return
        self.last[run.id] = now
        began, first_epoch = self.first.setdefault(run.id, (now, record.epoch))
        line = f"{run.name}  epoch {record.epoch}/{run.epochs_planned}  {describe_record(record)}"
        if run.epochs_planned and record.epoch > first_epoch:
            left = (now - began) / (record.epoch - first_epoch) * (run.epochs_planned - record.epoch)
            line += f"  {clock(left)} left"
        _say(line)

    def end(self, run: Run, text: str) -> None:
        self.ended += 1
        count = f"  ({self.ended} of {self.points})" if self.points > 1 else ""
        _say(f"{run.name}  {text}{count}")

    def say(self, line: str) -> None:
        _say(line)


def clock(seconds: float) -> str:
    """Write a time as 1:02:03, or 2:03 without hours."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def roughly(seconds: float) -> str:
    """Write a time that is not known well, such as 5 minutes or 3 days."""
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 1.5 * size:
            return f"{round(seconds / size)} {unit}s"
    return "a minute" if seconds > 30 else "less than a minute"


def _say(line: str) -> None:
    sys.stderr.write(line.rstrip() + "\n")
    sys.stderr.flush()
