"""A page as text of 80 columns."""

import re
import shlex
import textwrap
from collections.abc import Iterator, Sequence

from ncdiag.cli.output import layout
from ncdiag.domain.page import Block, Cautions, Command, Glossary, Item, Legend, Page, Paragraph, Part, Reading, Table

PAGE_WIDTH = 80
_NARROWEST = 24  # the first column of a table, however wide the others are
_UNBROKEN = "\u00a0"  # a space at which no line is broken
_STEP = "  "  # what belongs to a line is indented below it


def text_of(page: Page) -> str:
    """Give the title and the parts of a page, apart from each other by empty lines."""
    title = f"{page.title} ({page.rule})" if page.rule else page.title
    return "\n\n".join([_filled(title), *("\n".join(_part(part)) for part in page.parts)])


def _part(part: Part) -> Iterator[str]:
    """Give the lines of a part; below a heading, sentences are indented by a step and tables by two."""
    step = _STEP if part.heading else ""
    if part.heading:
        yield _filled(part.heading)
    for block in part.blocks:
        yield from _lines(block, step)


def _lines(block: Block, step: str) -> Iterator[str]:
    match block:
        case Reading(text):
            yield _filled(f"In short: {text}", step)
        case Paragraph(text):
            yield _filled(text, step)
        case Legend(text):
            yield _filled(text, 2 * step)
        case Item(label, text):
            yield _filled(text, f"{step}{label:<3} ") if text else f"{step}{label}"
        case Command(text):
            yield from _broken(text, 2 * step)
        case Table(rows, right):
            yield from (2 * step + line for line in layout(_folded(rows, 2 * step), right=right))
        case Glossary(rows):
            yield from (_STEP + line for line in layout(rows, right=[False, False]))
        case Cautions(texts):
            yield f"{step}Keep in mind:"
            yield from (_filled(text, f"{step}{_STEP}- ") for text in texts)


def _filled(text: str, start: str = "") -> str:
    """Wrap a text behind the `start` of its first line; the others begin below it."""
    return textwrap.fill(
        text,
        width=PAGE_WIDTH - 2,
        initial_indent=start,
        subsequent_indent=" " * len(start),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _folded(rows: Sequence[Sequence[str]], start: str) -> list[list[str]]:
    """Break first cells that make a table wider than a page after commas; the rest of a row stays beside the first."""
    rest = len(start) + sum(2 + max(len(row[place]) for row in rows) for place in range(1, len(rows[0])))
    width = max(PAGE_WIDTH - rest, _NARROWEST)
    found = []
    for first, *others in rows:
        indent = " " * (len(first) - len(first.lstrip()))
        lines = textwrap.wrap(
            re.sub("(?<!,) ", _UNBROKEN, first.lstrip()),
            width,
            initial_indent=indent,
            subsequent_indent=f"{indent}  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        top, *more = (line.replace(_UNBROKEN, " ") for line in lines or [""])
        found += [[top, *others], *([line, *[""] * len(others)] for line in more)]
    return found


def _broken(command: str, start: str) -> Iterator[str]:
    """Break a command between its options, so that it can be pasted as it is."""
    line = start
    for phrase in _phrases(command):
        if len(line) + 1 + len(phrase) > PAGE_WIDTH - 4 and line.strip():
            yield f"{line} \\"
            line = f"{start}{_STEP}"
        line += phrase if line.isspace() or not line else f" {phrase}"
    yield line


def _phrases(command: str) -> list[str]:
    """Cut a command into options, each with its value."""
    phrases: list[str] = []
    for word in shlex.split(command):
        quoted = shlex.quote(word)
        if phrases and not word.startswith("--") and phrases[-1].startswith("--") and " " not in phrases[-1]:
            phrases[-1] += f" {quoted}"
        else:
            phrases.append(quoted)
    return phrases
