"""`ncdiag report`: all that the runs show, on one page that opens from disk."""

from typing import TYPE_CHECKING, Annotated

import typer

from ncdiag.cli.files import check_ending, check_output, write_output
from ncdiag.cli.numbers import number_option
from ncdiag.cli.options import (
    MAX_MB,
    ByOption,
    LevelOption,
    MixPhasesOption,
    StoreOption,
    WhereOption,
    takes_onset_rule,
)
from ncdiag.cli.output import note
from ncdiag.domain.shares import counted
from ncdiag.domain.words import as_unicode, split_columns

if TYPE_CHECKING:
    from ncdiag.domain.onset import OnsetRule

EXAMPLES = (
    "ncdiag report -o report.html",
    "ncdiag report --where 'dataset=mnist' -o - > mnist.html",
)


@takes_onset_rule
def report(
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Write the page here; - is stdout.")
    ] = "report.html",
    title: Annotated[
        str | None,
        typer.Option("--title", metavar="TEXT", help="The heading of the page. [default: what the runs are of]"),
    ] = None,
    max_mb: Annotated[
        float,
        number_option("--max-mb", least=0.001, text="What the curves may take; more are thinned out."),
    ] = MAX_MB,
    *,
    rule: "OnsetRule",
    where: WhereOption = None,
    by: ByOption = "arch,dataset",
    level: LevelOption = 0.95,
    mix_phases: MixPhasesOption = False,
    store: StoreOption = "",
) -> None:
    """Write all that the runs show into one HTML page.

    Every question of analyze with its figure, its figures in numbers, how they were computed and what to keep in
    mind; then the runs, to sort and to filter, each with its curves. The page holds everything and asks nothing of
    the network.
    """
    from ncdiag.cli.plot import quiet_matplotlib
    from ncdiag.cli.report_contents import Request, read_report
    from ncdiag.report.page import render_report
    from ncdiag.store.engine import open_store

    check_ending(output, (".html", ".htm"), "a report is HTML, expected .html")
    check_output(output)
    quiet_matplotlib()
    request = Request(
        where=where,
        rule=rule,
        by=tuple(split_columns(by)),
        level=level,
        mix_phases=mix_phases,
        title=None if title is None else as_unicode(title),
        max_mb=max_mb,
    )
    with open_store(store) as opened:
        contents = read_report(opened, request)
    page = render_report(contents).encode()
    write_output(page, output)
    if output != "-":
        note(f"report of {counted(len(contents.runs), 'run')} written to {output} ({size_text(len(page))})")


def size_text(size: int) -> str:
    """Write a number of bytes as people say it."""
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
