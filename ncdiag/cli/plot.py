"""`ncdiag plot`: figures of what is in the store."""

import logging
import math
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ncdiag.cli.complete import complete_choices
from ncdiag.cli.files import csv_text, write_output
from ncdiag.cli.options import (
    ByOption,
    EpsOption,
    LevelOption,
    MetricOption,
    PatienceOption,
    Phase,
    PhaseOption,
    Rule,
    RuleOption,
    StoreOption,
    WhereOption,
    onset_rule,
)
from ncdiag.cli.output import frame_rows, note
from ncdiag.cli.selection import RunOption, selected_runs
from ncdiag.domain.spec import check_choice
from ncdiag.errors import AnalysisError, SpecError

if TYPE_CHECKING:
    from pandas import DataFrame

    from ncdiag.domain.onset import OnsetRule

EXAMPLES = (
    "ncdiag plot trajectory -o figure.pdf --width column",
    "ncdiag plot trajectory --where 'arch=mlp' -o - > figure.png",
)
AVAILABLE = ("trajectory",)
PLANNED = (
    *("phase-portrait", "threshold", "lead", "calibration", "grid", "attractor"),
    *("depth", "width", "activation", "weight-decay", "claims"),
)


class WidthChoice(StrEnum):
    """For which place a figure is made."""

    COLUMN = "column"
    PAGE = "page"
    SLIDE = "slide"


class ImageChoice(StrEnum):
    """The format of the image."""

    PNG = "png"
    SVG = "svg"
    PDF = "pdf"


def plot(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            show_default=False,
            autocompletion=complete_choices(*AVAILABLE),
            help=f"What to draw: {', '.join(AVAILABLE)}.",
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the figure here; - is stdout. [default: KIND.png]"),
    ] = None,
    form: Annotated[
        ImageChoice | None,
        typer.Option("--format", show_default=False, help="[default: what FILE ends in, else png]"),
    ] = None,
    width: Annotated[WidthChoice, typer.Option("--width", help="The place it is for.")] = WidthChoice.PAGE,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="FILE", help="Write the table behind the figure, as CSV; - is stdout."),
    ] = None,
    title: Annotated[
        str | None, typer.Option("--title", help="The line above; '' for none. [default: what is shown]")
    ] = None,
    run: RunOption = None,
    where: WhereOption = None,
    eps: EpsOption = 0.01,
    metric: MetricOption = "nc1",
    patience: PatienceOption = 3,
    rule: RuleOption = Rule.SUSTAINED,
    phase: PhaseOption = Phase.ANY,
    by: ByOption = "arch,dataset",
    level: LevelOption = 0.95,
    store: StoreOption = "",
) -> None:
    """Draw a figure: PNG, SVG or PDF, for a column, a page or a slide.

    trajectory: feature norm, NC1 to NC4 and accuracy over the epochs. A curve
    is a run, a colour a condition. Phases are shaded, onsets marked with the
    interval that they lie in; where all runs are of one pair (--by), a band
    shows fn* with its confidence interval.
    """
    check_choice("figure", kind, (*AVAILABLE, *PLANNED))
    if kind not in AVAILABLE:
        raise SpecError(f"the figure {kind} is not available yet; there is {', '.join(AVAILABLE)}")
    output = output or f"{kind}.png"
    image = form or _format_of(output)
    _check_stdout(output, data)
    _quiet_matplotlib()
    from ncdiag.plotting.style import PAGES, figure_bytes
    from ncdiag.plotting.trajectories import draw_trajectories

    chosen = onset_rule(metric, eps, patience, rule, phase)
    table, band, described = _table(store, run, where, chosen, by=by, level=level)
    figure = draw_trajectories(
        table,
        eps=eps if metric == "nc1" else None,
        band=band,
        title=described if title is None else title,
        width=width.value,
    )
    write_output(figure_bytes(figure, image.value, PAGES[width.value]), output)
    if output != "-":
        count = table["run"].nunique()
        note(f"figure of {count} run{'' if count == 1 else 's'} written to {output}")
    if data is not None:
        write_output(csv_text(frame_rows(table), header=[c for c in table.columns if c != "nonfinite"]).encode(), data)


def _table(
    url: str, names: list[str] | None, where: str | None, rule: "OnsetRule", *, by: str, level: float
) -> "tuple[DataFrame, tuple[float, float, float] | None, str]":
    """Give the table behind the figure, the interval of fn* where there is one, and a line on what is shown."""
    from ncdiag.analysis.onsets import onset_table
    from ncdiag.analysis.thresholds import threshold_results
    from ncdiag.plotting.conditions import describe_shared
    from ncdiag.plotting.trajectories import trajectory_table
    from ncdiag.store.engine import open_store
    from ncdiag.store.frames import epochs_frame

    with open_store(url) as opened:
        runs = selected_runs(opened, names, where)
        epochs = epochs_frame(opened, runs["run_id"].tolist())
    if epochs.empty:
        raise AnalysisError(f"none of the {len(runs)} runs has an evaluated epoch yet; there is nothing to draw")
    onsets = onset_table(runs, epochs, rule)
    pairs = [part.strip() for part in by.split(",")]
    found = threshold_results(onsets, rule=rule, by=pairs, level=level)
    bands = [(result.lo, result.estimate, result.hi) for result in found if result.quantity == "fn_star"]
    band = bands[0] if len(bands) == 1 and all(map(math.isfinite, bands[0])) else None
    shared = describe_shared(runs)
    what = runs["run"].iloc[0] if len(runs) == 1 else f"{len(runs)} runs"
    return trajectory_table(onsets, epochs), band, f"{what}{': ' if shared else ''}{shared}; onset: {rule}"


def _format_of(output: str) -> ImageChoice:
    ending = Path(output).suffix.lower().lstrip(".")
    if ending and ending not in list(ImageChoice):
        raise SpecError(f"{output} ends in .{ending}; expected .png, .svg or .pdf, or say which with --format")
    return ImageChoice(ending or "png")


def _check_stdout(output: str, data: str | None) -> None:
    if output == "-" and data == "-":
        raise SpecError("the figure and its table cannot both go to stdout; give one of them a file")
    if output == "-" and sys.stdout.isatty():
        raise SpecError("an image would garble the terminal; write it to a file with -o FILE, or redirect stdout")


def _quiet_matplotlib() -> None:
    """Keep matplotlib from complaining of a home it cannot write to, for which it has its own remedy.

    The backend that a notebook names for its children may not be installed here, and none is needed.
    """
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    os.environ["MPLBACKEND"] = "agg"
