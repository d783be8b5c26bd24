"""The answer to a question as it is put before a reader: parts of sentences, tables and cautions.

A terminal and the HTML of a report show the same page, each in its own way: `ncdiag.cli.page_text` and the templates of
`ncdiag.report`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

# A command that a sentence tells its reader to type: to the end of the sentence or of the parenthesis.
_COMMAND = re.compile(r"\bncdiag (?:train|sweep|analyze|predict|plot|import|export)\b[^.()`;]*(?:\.\w[^.()`;]*)*")


@dataclass(frozen=True)
class Reading:
    """What a part shows, in a sentence or two that can stand alone."""

    text: str
    kind: ClassVar = "reading"


@dataclass(frozen=True)
class Paragraph:
    """More sentences on what is shown."""

    text: str
    kind: ClassVar = "paragraph"


@dataclass(frozen=True)
class Legend:
    """The small print of the table above it."""

    text: str
    kind: ClassVar = "legend"


@dataclass(frozen=True)
class Item:
    """A paragraph behind a label; without one it goes on with the item before."""

    label: str
    text: str = ""
    kind: ClassVar = "item"


@dataclass(frozen=True)
class Command:
    """A command to type."""

    text: str
    kind: ClassVar = "command"


@dataclass(frozen=True)
class Table:
    """Rows of cells, the headings first; `right` says which columns align right.

    A cell that begins with two spaces is a part of what the row above is about.
    """

    rows: Sequence[Sequence[str]]
    right: Sequence[bool]
    kind: ClassVar = "table"


@dataclass(frozen=True)
class Glossary:
    """Terms, each with what it means."""

    rows: Sequence[tuple[str, str]]
    kind: ClassVar = "glossary"


@dataclass(frozen=True)
class Cautions:
    """What to keep in mind of a part."""

    texts: Sequence[str]
    kind: ClassVar = "cautions"


Block = Reading | Paragraph | Legend | Item | Command | Table | Glossary | Cautions


@dataclass(frozen=True)
class Part:
    """Blocks that belong together; `heading` says what they are about, where a page is about several things."""

    blocks: Sequence[Block]
    heading: str = ""

    @property
    def readings(self) -> list[str]:
        """What the part shows, as whole sentences."""
        return [_capital(block.text) for block in self.blocks if isinstance(block, Reading)]

    @property
    def cautions(self) -> list[str]:
        """What to keep in mind of the part."""
        return [text for block in self.blocks if isinstance(block, Cautions) for text in block.texts]


@dataclass(frozen=True)
class Page:
    """A whole answer; `rule` is the definition of onset that it rests on, where that has to be said."""

    title: str
    parts: Sequence[Part]
    rule: str = ""


def find_commands(text: str) -> list[str]:
    """Give the commands that a sentence tells its reader to type."""
    return [found.strip() for found in _COMMAND.findall(text)]


def _capital(text: str) -> str:
    """Begin as a sentence does, except with a name such as fn* that is always written small."""
    first = re.match(r"[a-z]+(?=[ ,:;])", text)
    return text[:1].upper() + text[1:] if first else text
