"""`ncdiag report`: all that the runs show, on one page that opens from disk."""

from typing import TYPE_CHECKING, Annotated

import typer

from ncdiag.cli.files import check_ending, check_output, to_stdout, write_output
from ncdiag.cli.numbers import number_option
from ncdiag.cli.options import MAX_MB, StoreOption, takes_terms
from ncdiag.cli.output import note
from ncdiag.domain.shares import counted
from ncdiag.domain.words import as_unicode

if TYPE_CHECKING:
    from ncdiag.analysis.terms import Terms

EXAMPLES = (
    "ncdiag report -o report.html",
    "ncdiag report --where 'dataset=mnist' -o - > mnist.html",
)


@takes_terms
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
    terms: "Terms",
    store: StoreOption = "",
) -> None:
    """Write all that the runs show into one HTML page.

    Every question of analyze with its figure, its figures in numbers, how they were computed and what to keep in
    mind; then the runs, to sort and to filter, each with its curves. The page holds everything and asks nothing of
    the network.
    """
    from ncdiag.cli.plot import quiet_matplotlib
    from ncdiag.cli.progress import show_step
    from ncdiag.cli.report_contents import read_report
    from ncdiag.report.page import render_report
    from ncdiag.store.engine import open_store

    check_ending(output, (".html", ".htm"), "a report is HTML, expected .html")
    check_output(output)
    quiet_matplotlib()
    heading = None if title is None else as_unicode(title)
    with open_store(store) as opened, show_step("reading the runs") as tell:
        contents = read_report(opened, terms, heading, max_mb, tell)
    page = render_report(contents).encode()
    write_output(page, output)
    if not to_stdout(output):
        note(f"report of {counted(len(contents.runs), 'run')} written to {output} ({size_text(len(page))})")


def size_text(size: int) -> str:
    """Write a number of bytes as people say it."""
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
