"""The page that a question prints, taken apart into headings, paragraphs and tables, so that HTML can set it anew.

It has to come from `ncdiag.cli.output.unwrapped`, which makes a line of each paragraph. A reading begins with "In
short:", the cautions follow "Keep in mind:", and a table is a block of lines with gaps of two spaces; whatever is none
of these is a paragraph, so no word of a page can get lost.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

_READING, _CAUTIONS, _BULLET = "In short: ", "Keep in mind:", "- "
_GAP = re.compile(r"\S( {2,})\S")
# A command that a page tells its reader to type: to the end of the sentence or of the parenthesis.
_COMMAND = re.compile(r"\bncdiag (?:train|sweep|analyze|predict|plot|import|export)\b[^.()`;]*(?:\.\w[^.()`;]*)*")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A heading, a paragraph, the small print below a table, or a table: its rows, the first of them the heading."""

    kind: Literal["heading", "paragraph", "legend", "table", "lines"]
    text: str = ""
    rows: Sequence[Sequence[str]] = ()
    numeric: Sequence[bool] = ()  # of a table: which columns align right


@dataclass(frozen=True, kw_only=True)
class Caution:
    """What to keep in mind of a part of the answer; `about` names the part, empty for all of it."""

    about: str
    texts: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Prose:
    """A page that was taken apart."""

    title: str
    readings: Sequence[tuple[str, str]]
    blocks: Sequence[Block]
    cautions: Sequence[Caution]
    commands: Sequence[str]


def read_page(page: str) -> Prose:
    """Take a printed page apart, whose first paragraph is its title."""
    title, *chunks = [chunk for chunk in re.split(r"\n[ \t]*\n", page.strip("\n")) if chunk.strip()] or [""]
    readings: list[tuple[str, str]] = []
    blocks: list[Block] = []
    cautions: list[Caution] = []
    about = ""
    for chunk in chunks:
        lines = chunk.split("\n")
        if len(lines) > 1 and not lines[0].startswith(" ") and lines[1].startswith(" ") and not _GAP.search(lines[0]):
            about = lines.pop(0)
            blocks.append(Block(kind="heading", text=about))
        elif not lines[0].startswith(" "):
            about = ""
        bullets = [line.strip().removeprefix(_BULLET) for line in lines if line.lstrip().startswith(_BULLET)]
        if bullets:
            cautions.append(Caution(about=about, texts=bullets))
        rest = [line for line in lines if line.strip() != _CAUTIONS and not line.lstrip().startswith(_BULLET)]
        readings += [(about, _capital(line.strip().removeprefix(_READING))) for line in rest if _is_reading(line)]
        blocks += _blocks([line for line in rest if not _is_reading(line)])
    return Prose(
        title=title.strip(),
        readings=readings,
        blocks=_without_empty_headings(blocks),
        cautions=cautions,
        commands=list(dict.fromkeys(found.strip() for found in _COMMAND.findall(page))),
    )


def _is_reading(line: str) -> bool:
    return line.lstrip().startswith(_READING)


def _blocks(lines: Sequence[str]) -> Iterator[Block]:
    for tabular, group in groupby(lines, key=lambda line: bool(_GAP.search(line.strip()))):
        some = list(group)
        if tabular and len(some) > 1:
            yield _table(some)
        else:
            for line in some:
                text = line.strip()
                yield Block(kind="legend" if text[:1].islower() else "paragraph", text=text)


def _table(lines: Sequence[str]) -> Block:
    """Give the cells of aligned lines; lines that do not fall into equal numbers of cells stay as they are."""
    rows = [re.split(r" {2,}", line.strip()) for line in lines]
    if len({len(row) for row in rows}) > 1:
        return Block(kind="lines", rows=[[line] for line in lines])
    columns = list(zip(*rows[1:], strict=True))
    return Block(kind="table", rows=rows, numeric=[place > 0 and all(map(_is_figure, c)) for place, c in enumerate(columns)])


def _is_figure(cell: str) -> bool:
    return bool(re.match(r"[-<>≥~]*=?\s*[\d.]|-$", cell))


def _capital(text: str) -> str:
    """Begin as a sentence does, except with a name such as fn* that is always written small."""
    first = re.match(r"[a-z]+(?=[ ,:;])", text)
    return text[:1].upper() + text[1:] if first else text


def _without_empty_headings(blocks: Sequence[Block]) -> list[Block]:
    following = [*blocks[1:], None]
    return [
        block
        for block, after in zip(blocks, following, strict=True)
        if block.kind != "heading" or (after is not None and after.kind != "heading")
    ]
