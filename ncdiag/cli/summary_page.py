"""What `ncdiag analyze` prints without a question: the table of the claims, then the reading of every other page."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ncdiag.domain.page import Page, Paragraph, Part

_MOST = 6  # readings of one question
_MORE = (
    "`ncdiag analyze QUESTION` has the figures behind each, and what to keep in mind; `ncdiag analyze claims` says "
    "why, and what to train next; `ncdiag report` puts all on one page."
)


def summary_page(table: Page, pages: Mapping[str, Page]) -> Page:
    """Give the summary: the table of the claims, what the page of each question says in short, and where to read on."""
    said = [Part([*map(Paragraph, _shortened(list(_said(page))))], heading=name) for name, page in pages.items()]
    return replace(table, parts=[*table.parts, *said, Part([Paragraph(_MORE)])])


def _said(page: Page) -> Iterator[str]:
    """Give the readings of a page, and where a group of runs has none, why."""
    for part in page.parts:
        about = f"{part.heading}: " if part.heading else ""
        yield from (about + text for text in part.readings)
        match part.blocks:
            case [Paragraph(why), *_] if not part.readings and (about or len(page.parts) == 1):
                yield about + why


def _shortened(texts: list[str]) -> list[str]:
    return texts if len(texts) <= _MOST else [*texts[:_MOST], f"and {len(texts) - _MOST} more"]
