"""`ncdiag watch`: how the runs that are being trained are doing, while they do."""

import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer

from ncdiag.cli.complete import complete_run
from ncdiag.cli.numbers import number_option
from ncdiag.cli.options import StoreOption
from ncdiag.cli.output import emit_text, note, printable, table_cell
from ncdiag.cli.progress import clock
from ncdiag.cli.sparkline import can_draw, log_limits, sparkline

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

    from ncdiag.domain.records import Run
    from ncdiag.store.handle import Store

EXAMPLES = ("ncdiag watch", "ncdiag watch run-1 --once")
_FEWEST_POINTS, _MOST_POINTS, _OTHER_COLUMNS = 6, 24, 74  # of a curve; and the width that the rest of a row takes
_TERMINAL_SECONDS, _PLAIN_SECONDS = 2.0, 10.0
# What a table leaves out, step by step, where it is wider than the terminal: half a number would be read as another.
_LEFT_OUT = ((), ("fn curve", "NC1 curve"), ("fn curve", "NC1 curve", "status", "left"))
_FORECAST_SECONDS = 30.0  # a forecast reads the other runs of the pair, and changes slowly

_COLUMNS = ("run", "status", "epochs", "left", "fn curve", "fn", "NC1 curve", "NC1", "onset, 80%")

Points = list[float | None]


def watch(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN",
            show_default=False,
            autocompletion=complete_run,
            help="Only this run. [default: all that run]",
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Show where they stand, and leave.")] = False,
    every: Annotated[
        float | None,
        number_option(
            "--every",
            metavar="SECONDS",
            least=0.1,
            most=86_400,
            text="How often to look. [default: 2; 10 for lines]",
        ),
    ] = None,
    store: StoreOption = "",
) -> None:
    """Follow the runs in training, and when each should collapse.

    Each has its epochs, feature norm, NC1, the time left, and a forecast.

    A terminal shows a table that stays in its place, with the course of fn and NC1 so far; anywhere else a line for
    each run is printed now and then. It ends when all that it followed has ended. The forecasts are those of predict; a
    question mark follows one that rests on the run's own course alone.
    """
    from ncdiag.store.engine import open_store
    from ncdiag.store.runs import get_run

    live = sys.stdout.isatty() and not once
    seconds = every or (_TERMINAL_SECONDS if live else _PLAIN_SECONDS)
    with open_store(store) as opened:
        watched = _Watched(opened, None if run is None else get_run(opened, run).id)
        with _shown(live) as show:
            while True:
                rows = watched.look()
                show(rows)
                if once or not any(row.running for row in rows):
                    break
                time.sleep(seconds)
    if not rows:
        note(f"nothing is being trained in {opened.label}")


@dataclass(frozen=True, kw_only=True)
class _Row:
    """What is known of a run at the moment."""

    name: str
    status: str
    running: bool
    epochs: str
    left: str
    norm: Points
    nc1: Points
    forecast: str


@dataclass
class _Watched:
    """The runs that are followed: those that were seen running, or the one that was named."""

    store: "Store"
    only: int | None
    seen: dict[int, None] = field(default_factory=dict)
    forecasts: dict[int, tuple[float, str]] = field(default_factory=dict)

    def look(self) -> list[_Row]:
        """Read where the runs stand, with short queries."""
        from ncdiag.store.runs import list_runs
        from ncdiag.store.sampling import list_running, sample_curves

        wanted = [self.only] if self.only is not None else [run.id for run in list_running(self.store)]
        self.seen |= dict.fromkeys(wanted)
        runs = list_runs(self.store, list(self.seen))
        curves = sample_curves(self.store, [run.name for run in runs], ("feature_norm", "nc1"), points=_points())
        return [self._row(run, curves.get(run.name, [])) for run in runs]

    def _row(self, run: "Run", points: Sequence[tuple[float | None, ...]]) -> _Row:
        running = run.status == "running"
        planned = "" if run.epochs_planned is None else f"/{run.epochs_planned}"
        left = ""
        if running and run.epochs_planned and run.epochs_done:
            left = clock(run.seconds / run.epochs_done * (run.epochs_planned - run.epochs_done))
        return _Row(
            name=run.name,
            status=str(run.status),
            running=running,
            epochs=f"{run.epochs_done}{planned}",
            left=left,
            norm=[norm for norm, _ in points],
            nc1=[nc1 for _, nc1 in points],
            forecast=self._forecast(run) if run.epochs_done else "",
        )

    def _forecast(self, run: "Run") -> str:
        made, text = self.forecasts.get(run.id, (-math.inf, ""))
        if time.monotonic() - made > _FORECAST_SECONDS:
            text = _forecast(self.store, run.name)
            self.forecasts[run.id] = (time.monotonic(), text)
        return text


def _points() -> int:
    """Say how many characters two curves beside each other may have in this terminal."""
    room = (shutil.get_terminal_size().columns - _OTHER_COLUMNS) // 2
    return min(max(room, _FEWEST_POINTS), _MOST_POINTS)


def _forecast(store: "Store", name: str) -> str:
    """Say when a run collapses or collapsed, in a few words; nothing where nothing tells."""
    from ncdiag.analysis.stored import forecast_stored
    from ncdiag.analysis.terms import Terms

    found = forecast_stored(store, name, Terms(level=0.8))
    if found.status == "collapsed":
        return f"collapsed at {found.onset:.0f}" if math.isfinite(found.onset) else ""
    if found.status != "forecast":  # its own course, which no other run checks
        return f"after epoch {found.steady:.0f}?" if math.isfinite(found.steady) else ""
    limits = f" ({found.lo:.0f} to {found.hi:.0f})" if math.isfinite(found.lo) and math.isfinite(found.hi) else ""
    return f"epoch {found.onset:.0f}{limits}"


@contextmanager
def _shown(live: bool) -> "Iterator[Callable[[Sequence[_Row]], None]]":
    """Give a function that shows rows: in their place on a terminal, as lines elsewhere."""
    if not live:
        yield _print_lines
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(file=sys.stdout, highlight=False)
    with Live(console=console, auto_refresh=False, redirect_stdout=False) as screen:
        yield lambda rows: screen.update(_fitted(rows, console), refresh=True) if rows else None


def _print_lines(rows: Sequence[_Row]) -> None:
    for row in rows:
        emit_text(_line(row))
    sys.stdout.flush()  # whoever reads a pipe wants it now


def _line(row: _Row) -> str:
    parts = [f"epoch {row.epochs}", *(f"{name} {_last(curve)}" for name, curve in (("fn", row.norm), ("NC1", row.nc1)))]
    parts += [f"{row.left} left"] if row.left else []
    parts += [f"onset: {row.forecast}"] if row.forecast else []
    return "  ".join([printable(row.name), row.status, *parts])


def _last(curve: Points) -> str:
    return table_cell(curve[-1] if curve else None)


def _fitted(rows: Sequence[_Row], console: "Console") -> "RenderableType":
    """Give the fullest table that fits the terminal, or lines, which may be broken, where none does."""
    from rich.measure import Measurement
    from rich.text import Text

    unbounded = console.options.update(max_width=sys.maxsize)
    for left_out in _LEFT_OUT:
        table = _table(rows, left_out)
        if Measurement.get(console, unbounded, table).maximum <= console.width:
            return table
    return Text("\n".join(map(_line, rows)))


def _table(rows: Sequence[_Row], left_out: Sequence[str]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    bold = "" if os.environ.get("NO_COLOR") else "bold"
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style=bold)
    right = ("epochs", "left", "fn", "NC1")
    columns = [name for name in _COLUMNS if name not in left_out]
    for name in columns:
        heading = name.removesuffix(" curve") if name not in right or f"{name} curve" not in columns else ""
        table.add_column(heading, justify="right" if name in right else "left", no_wrap=True)
    drawable = can_draw()
    scales = [log_limits(value for row in rows for value in row.norm), log_limits(v for row in rows for v in row.nc1)]
    for row in rows:
        norm, nc1 = (
            sparkline(curve, scale) if drawable else ""
            for curve, scale in zip((row.norm, row.nc1), scales, strict=True)
        )
        cells = [printable(row.name), row.status, row.epochs, row.left or "-"]
        cells += [norm, _last(row.norm), nc1, _last(row.nc1), row.forecast or "-"]
        known = dict(zip(_COLUMNS, cells, strict=True))
        table.add_row(*(Text(known[name]) for name in columns))
    return table
