"""`ncdiag plot`: figures of what is in the store."""

import logging
import os
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ncdiag.cli.complete import complete_choices
from ncdiag.cli.files import check_ending, check_output, csv_text, find_ending, to_stdout, write_output
from ncdiag.cli.options import StoreOption, takes_terms
from ncdiag.cli.output import frame_columns, note, printable
from ncdiag.cli.selection import RunOption, note_repeats, note_rescaled
from ncdiag.domain.questions import FIGURE_NAMES
from ncdiag.domain.shares import counted, none_of
from ncdiag.domain.spec import check_choice
from ncdiag.domain.words import as_unicode
from ncdiag.errors import AnalysisError, SpecError

if TYPE_CHECKING:
    from pandas import DataFrame

    from ncdiag.analysis.asked import Asked
    from ncdiag.analysis.terms import Terms
    from ncdiag.domain.onset_rule import OnsetRule
    from ncdiag.plotting.figures import Kind
    from ncdiag.store.handle import Store

EXAMPLES = (
    "ncdiag plot trajectory -o figure.pdf --width column",
    "ncdiag plot trajectory --where 'arch=mlp' -o - > figure.png",
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


@takes_terms
def plot(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            show_default=False,
            autocompletion=complete_choices(*FIGURE_NAMES),
            help="What to draw: one of the kinds above.",
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write the figure here; - is stdout. [default: KIND.png, or as --format says]",
        ),
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
        str | None,
        typer.Option("--title", metavar="TEXT", help="The line above; '' for none. [default: what is shown]"),
    ] = None,
    run: RunOption = None,
    *,
    terms: "Terms",
    store: StoreOption = "",
) -> None:
    """Draw a figure: PNG, SVG or PDF, for a column, a page or a slide.

    trajectory: feature norm, NC1 to NC4, accuracy and loss over the epochs, with phases, onsets and fn*.

    phase-portrait: feature norm against NC1 through time, a curve a run. threshold: fn* by pair, beside the norm at one
    fixed epoch. lead: what a forecast by fn costs the earlier it is made, beside others. calibration: forecasts with
    their intervals against what happened.

    grid: fn* of two factors (--by), and whether they multiply. attractor: rescaled runs over their controls. depth,
    width, activation, weight-decay: onset, share that collapsed and fn*. claims: published figures and those of these
    runs.
    """
    check_choice("figure", kind, FIGURE_NAMES)
    output = f"{kind}.{form or ImageChoice.PNG}" if output is None else output
    image = _image_format(output, form)
    _check_places(output, data)
    check_output(output)
    if data is not None:
        check_ending(data, (".csv",), "--data writes CSV, expected .csv or none")
        check_output(data)
    quiet_matplotlib()
    from ncdiag.plotting.conditions import describe_shared
    from ncdiag.plotting.figures import FIGURES
    from ncdiag.plotting.layout import Sheet
    from ncdiag.plotting.style import PAGES, figure_bytes
    from ncdiag.store.engine import open_store

    chosen = FIGURES[kind]
    with open_store(store) as opened:
        asked = _read(opened, chosen, run, terms)
    table = chosen.table(asked)
    shown = _shown(asked, table)
    described = _describe(chosen.shows, shown["run"].tolist(), describe_shared(shown), terms.rule)
    sheet = Sheet(width=width.value, title=described if title is None else as_unicode(title), terms=terms)
    figure = chosen.draw(table, sheet)
    write_output(figure_bytes(figure, image.value, PAGES[width.value]), output)
    if not to_stdout(output):
        note(f"figure of {counted(len(shown), 'run')} written to {output}")
    _note_missing(asked, table)
    if data is not None:
        header = [str(column) for column in table.columns if column != "nonfinite"]
        write_output(csv_text([frame_columns(table)], header=header).encode(), data)


def _read(store: "Store", kind: "Kind", names: list[str] | None, terms: "Terms") -> "Asked":
    """Read the runs that a kind of figure is of, and say which of those that were asked for it leaves out."""
    from ncdiag.analysis.asked import Asked
    from ncdiag.analysis.stored import selected_runs
    from ncdiag.store.frames import epochs_frame

    runs = selected_runs(store, terms.where, names)
    everything = Asked(runs=runs, epochs=epochs_frame(store, runs["run_id"].tolist()), terms=terms)
    chosen, kept = kind.choose(everything), runs if kind.repeats else everything.counted.runs
    note_repeats(len(runs) - len(kept))
    if everything.epochs.empty:
        raise AnalysisError(f"{none_of(len(kept), 'run')} has an evaluated epoch yet; there is nothing to draw")
    note_rescaled(len(kept) - len(chosen.runs))
    return chosen


def _shown(asked: "Asked", table: "DataFrame") -> "DataFrame":
    """Give the runs that a table is of: those that it names, or those of its pairs."""
    from ncdiag.plotting.conditions import label_pairs

    runs = asked.runs
    if "run" in table:
        named = [table[column] for column in ("run", "control") if column in table]
        return runs[runs["run"].isin({name for column in named for name in column})]
    return runs[label_pairs(runs, asked).isin(table["pair"])] if "pair" in table else runs


def _note_missing(asked: "Asked", table: "DataFrame") -> None:
    """Say of which pairs nothing is drawn, or a figure of three pairs would pass for one of four."""
    from ncdiag.plotting.conditions import name_pairs

    missing = sorted(set(name_pairs(asked).values()) - set(table["pair"])) if "pair" in table else []
    if missing:
        note(f"too few runs for this figure: {', '.join(map(printable, missing))}")


def _describe(shows: str, runs: list[str], shared: str, rule: "OnsetRule") -> str:
    """Give the line above a figure: what it shows, of which runs, and what counts as onset."""
    which = printable(runs[0]) if len(runs) == 1 else counted(len(runs), "run")
    return f"{f'{shows}; ' if shows else ''}{which}{f': {printable(shared)}' if shared else ''}; onset: {rule}"


def _image_format(output: str, said: ImageChoice | None) -> ImageChoice:
    """Give the format that was said, else the one that the file ends in; it cannot be both a PNG and called x.pdf."""
    ending = find_ending(output).lstrip(".")
    known = ending in list(ImageChoice)
    if said and known and said != ending:
        raise SpecError(
            f"{output} ends in .{ending}, and --format says {said}; leave --format out, or name it *.{said}"
        )
    if not said and ending and not known:
        raise SpecError(f"{output} ends in .{ending}; expected .png, .svg or .pdf, or say which with --format")
    return said or ImageChoice(ending or "png")


def _check_places(output: str, data: str | None) -> None:
    if data is not None and to_stdout(output) and to_stdout(data):
        raise SpecError("the figure and its table cannot both go to stdout; give one of them a file")
    if data is not None and not to_stdout(output) and os.path.realpath(data) == os.path.realpath(output):
        raise SpecError(f"the figure and its table cannot both go to {output}; give --data another file")
    if to_stdout(output) and sys.stdout.isatty():
        raise SpecError("an image would garble the terminal; write it to a file with -o FILE, or redirect stdout")


def quiet_matplotlib() -> None:
    """Keep matplotlib from complaining of a home it cannot write to, for which it has its own remedy.

    The backend that a notebook names for its children may not be installed here, and none is needed.
    """
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    os.environ["MPLBACKEND"] = "agg"
