"""What `ncdiag analyze` prints without a question: the table of the claims, then the reading of every other page."""

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

from ncdiag.cli.output import paragraph

if TYPE_CHECKING:
    from ncdiag.report.prose import Prose

_MOST = 6  # readings of one question
_MORE = (
    "`ncdiag analyze QUESTION` has the figures behind each, and what to keep in mind; `ncdiag analyze claims` says "
    "why, and what to train next; `ncdiag report` puts all on one page."
)


def summary_page(table: str, pages: Mapping[str, str]) -> str:
    """Give the summary: the table of the claims, what each page says in short, by question, and where to read on.

    The pages are those of the questions, printed `unwrapped`.
    """
    from ncdiag.report.prose import read_page

    blocks = ["\n".join([name, *_lines(read_page(page))]) for name, page in pages.items()]
    return "\n\n".join([table, *blocks, paragraph(_MORE)])


def _lines(page: "Prose") -> list[str]:
    said = _said(page)
    more = [f"  and {len(said) - _MOST} more"] if len(said) > _MOST else []
    texts = (f"{about}: {text}" if about else text for about, text in said[:_MOST])
    return [paragraph(text, indent="  ") for text in texts] + more


def _said(page: "Prose") -> list[tuple[str, str]]:
    """Give the readings of a page, and where there is none for a group of runs, why."""
    from ncdiag.report.prose import Block

    known = {about for about, _ in page.readings}
    why = [
        (heading.text, block.text)
        for heading, block in pairwise([Block(kind="heading"), *page.blocks])
        if heading.kind == "heading" and block.kind == "paragraph" and heading.text not in known
    ]
    return [*page.readings, *why]
