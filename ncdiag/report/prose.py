"""The page that a question prints, taken apart into headings, paragraphs and tables, so that HTML can set it anew.

It has to come from `ncdiag.cli.output.unwrapped`, which makes a line of each paragraph. A reading begins with "In
short:", the cautions follow "Keep in mind:", and a table is a block of lines with gaps of two spaces, its first line
the heading; whatever is none of these is a paragraph, so no word of a page can get lost.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import Literal

_READING, _CAUTIONS, _BULLET = "In short: ", "Keep in mind:", "- "
_GAP = re.compile(r"\S( {2,})\S")
# A command that a page tells its reader to type: to the end of the sentence or of the parenthesis.
_ITEM = re.compile(r" *(\w{1,3}) {2,}(\S.{25,}[.:])$")  # a numbered sentence
_SENTENCE = re.compile(r"[.:]$")
_CONTINUED = re.compile(r" \\\n *")
_WHOLE_COMMAND = re.compile(r"ncdiag [a-z]+ ")
_COMMAND = re.compile(r"\bncdiag (?:train|sweep|analyze|predict|plot|import|export)\b[^.()`;]*(?:\.\w[^.()`;]*)*")

Kind = Literal["heading", "paragraph", "legend", "item", "command", "table", "terms"]


@dataclass(frozen=True, kw_only=True)
class Block:
    """A heading, a paragraph, the small print below a table, a numbered item, a command to type, or a table.

    The first row of a table is its heading; each row of `terms` is a term and what it means.
    """

    kind: Kind
    text: str = ""
    label: str = ""  # of an item: its number
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
    chunks = [_CONTINUED.sub(" ", chunk) for chunk in chunks]
    readings: list[tuple[str, str]] = []
    blocks: list[Block] = []
    cautions: list[Caution] = []
    about = ""
    for chunk in chunks:
        lines = chunk.split("\n")
        if len(lines) > 1 and not lines[0].startswith(" ") and lines[1].startswith(" ") and not _GAP.search(lines[0]):
            about = lines.pop(0)
            blocks.append(Block(kind="heading", text=about.removesuffix(":")))
        elif not lines[0].startswith(" "):
            about = ""
        bullets = [line.strip().removeprefix(_BULLET) for line in lines if line.lstrip().startswith(_BULLET)]
        if bullets:
            cautions.append(Caution(about=about, texts=bullets))
        rest = [line for line in lines if line.strip() != _CAUTIONS and not line.lstrip().startswith(_BULLET)]
        readings += [(about, _capital(line.strip().removeprefix(_READING))) for line in rest if _is_reading(line)]
        found = list(_blocks([line for line in rest if not _is_reading(line)]))
        blocks += map(_as_terms, found) if about.endswith(":") else found
    return Prose(
        title=title.strip(),
        readings=readings,
        blocks=_without_empty_headings(blocks),
        cautions=cautions,
        commands=find_commands([block.text for block in blocks if block.kind not in ("command", "table")]),
    )


def _as_terms(block: Block) -> Block:
    """Take a table below a heading with a colon, such as "Columns:", for what it is: terms, and what they mean."""
    return replace(block, kind="terms") if block.kind == "table" and len(block.rows[0]) == 2 else block


def find_commands(texts: Sequence[str]) -> list[str]:
    """Give the commands that texts tell their reader to type, each once."""
    return list(dict.fromkeys(found.strip() for text in texts for found in _COMMAND.findall(text)))


def _is_reading(line: str) -> bool:
    return line.lstrip().startswith(_READING)


def _blocks(lines: Sequence[str]) -> Iterator[Block]:
    for tabular, group in groupby(zip(lines, _tabular(lines), strict=True), key=lambda pair: pair[1]):
        some = [line for line, _ in group]
        if tabular:
            yield _table(some)
        else:
            yield from _lines(some)


def _kind(text: str) -> Kind:
    if _WHOLE_COMMAND.match(text):
        return "command"
    return "legend" if text[:1].islower() else "paragraph"


def _tabular(lines: Sequence[str]) -> list[bool]:
    """Mark the lines of tables: two or more with gaps, and shorter ones among them, which have one cell only."""
    gaps = [bool(_GAP.search(line)) and not _ITEM.match(line) for line in lines]
    ends = [False, *gaps, False]
    alone = [ends[place] or ends[place + 2] for place in range(len(lines))]
    return [
        (gap and near) or (near and not _SENTENCE.search(line) and not _ITEM.match(line))
        for gap, near, line in zip(gaps, alone, lines, strict=True)
    ]


def _lines(lines: Sequence[str]) -> Iterator[Block]:
    inside = 0  # how far the text of the last item is indented; what follows it as far in belongs to it
    for line in lines:
        text = line.strip()
        if item := _ITEM.match(line):
            inside = item.start(2)
            yield Block(kind="item", label=item[1], text=item[2])
        elif inside and line.startswith(" " * inside):
            yield Block(kind="item", text=text)
        else:
            yield Block(kind=_kind(text), text=text)


def _table(lines: Sequence[str]) -> Block:
    """Give the cells of aligned lines: columns are apart where no line has a letter in two places side by side."""
    width = max(map(len, lines))
    padded = [line.ljust(width) for line in lines]
    empty = [all(line[place] == " " for line in padded) for place in range(width)]
    columns = [
        (part[0][0], part[-1][0] + 1)
        for apart, group in groupby(enumerate(_apart(empty)), key=lambda pair: pair[1])
        if not apart
        for part in [list(group)]
    ]
    rows = [[_cell(line[start:stop], padded[0][start:stop]) for start, stop in columns] for line in padded]
    numeric = [place > 0 and all(map(_is_figure, cells)) for place, cells in enumerate(zip(*rows[1:], strict=True))]
    return Block(kind="table", rows=rows, numeric=numeric)


def _cell(text: str, heading: str) -> str:
    """Give the text of a cell; what is indented below a heading keeps that, as a space that HTML keeps, too."""
    indented = text.strip() and text.startswith("  ") and not heading.startswith(" ") and not _is_figure(text.strip())
    return ("\u2003" if indented else "") + text.strip()


def _apart(empty: Sequence[bool]) -> list[bool]:
    """Mark the places between columns: those that are empty after another empty one, and the margin."""
    return [here and before for before, here in pairwise([True, *empty])]


def _is_figure(cell: str) -> bool:
    return bool(re.match(r"[-<>≥~]*=?\s*[\d.]|-$", cell))


def _capital(text: str) -> str:
    """Begin as a sentence does, except with a name such as fn* that is always written small."""
    first = re.match(r"[a-z]+(?=[ ,:;])", text)
    return text[:1].upper() + text[1:] if first else text


def _without_empty_headings(blocks: Sequence[Block]) -> list[Block]:
    following = [*(block.kind for block in blocks), "heading"][1:]
    return [block for block, after in zip(blocks, following, strict=True) if {block.kind, after} != {"heading"}]
