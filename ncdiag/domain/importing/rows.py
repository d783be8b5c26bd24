"""CSV, JSON or JSON lines as rows of text cells, each with the number of the line it stands on.

What cannot be read becomes a `Problem` with its line number, and reading goes on: whoever has to correct a file wants
to hear of all that is wrong with it. All formats end in the same cells, so one set of rules reads the numbers of all:
None is missing, and `nan`, `inf` and `-inf` are numbers that were measured.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
# C prints the sign of a NaN, pandas does not; both mean the same.
_NONFINITE = {"nan": "nan", "+nan": "nan", "-nan": "nan", "inf": "inf", "+inf": "inf", "-inf": "-inf"}
# A JSON document: a list of objects, by itself or as `ncdiag export --format json` writes it.
_LIST = re.compile(r'\s*(?:\{\s*"(?:epochs|runs)"\s*:\s*)?\[')
_SPACE = (" ", "\t", "\n", "\r")
# Finds where an element ends; what is in it is read afterwards, by the rules of a line.
_ELEMENT = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str)
_TOO_DEEP = "JSON nested too deeply"
_SEPARATORS = (";", "\t", "|")  # of cells, where a header has no comma
_SHOWN = 40


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something that cannot be read, and the line, from 1, where it begins."""

    line: int
    what: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One row: its line, from 1, and its cells by column, None where a cell is empty."""

    line: int
    cells: dict[str, str | None]


@dataclass(frozen=True, kw_only=True)
class Table:
    """The columns of a file in their order, its rows, and what could not be read."""

    columns: tuple[str, ...]
    rows: list[Row]
    problems: list[Problem]


def read_table(text: str) -> Table:
    """Read CSV, a JSON document where the text begins with a list, or JSON lines where it begins with a brace."""
    if _LIST.match(text):
        return read_json(text)
    return read_json_lines(text) if text.lstrip().startswith("{") else read_csv(text)


def read_csv(text: str) -> Table:
    """Read RFC 4180 CSV: a header, then rows with as many cells; lines in which nothing stands are passed over.

    Where the header has no comma but semicolons, tabs or bars, they separate the cells.
    """
    lines = _csv_lines(text)
    first = next(lines, None)
    if isinstance(first, tuple) and len(first[1]) == 1:
        separator = next((mark for mark in _SEPARATORS if mark in first[1][0]), ",")
        lines = _csv_lines(text, separator)
        first = next(lines, None)
    if first is None:
        return Table(columns=(), rows=[], problems=[Problem(line=1, what="the file is empty")])
    if isinstance(first, Problem):
        return Table(columns=(), rows=[], problems=[first])
    at, names = first
    header = tuple(name.strip() or f"Unnamed: {place}" for place, name in enumerate(names))  # as pandas calls them
    problems = [Problem(line=at, what=what) for what in _header_faults(header)]
    rows: list[Row] = []
    for item in lines:
        if isinstance(item, Problem):
            problems.append(item)
            continue
        line, cells = item
        if len(cells) != len(header):
            problems.append(Problem(line=line, what=f"{len(cells)} cells where the header has {len(header)}"))
        elif any("\0" in cell for cell in cells):
            problems.append(Problem(line=line, what="a NUL byte"))
        else:
            values = (cell.strip() or None for cell in cells)
            rows.append(Row(line=line, cells=dict(zip(header, values, strict=True))))
    return Table(columns=header, rows=rows, problems=problems)


def read_json_lines(text: str) -> Table:
    """Read one JSON object a line; `{"nc1": null, "nonfinite": {"nc1": "nan"}}` says what the null was."""
    table = _object_table((line, raw) for line, raw in enumerate(text.split("\n"), start=1) if raw.strip())
    if not table.rows and (what := _other_document(text)):
        return Table(columns=(), rows=[], problems=[Problem(line=1, what=what)])
    return table


def read_json(text: str) -> Table:
    """Read a JSON document that is a list of objects, or holds one under `epochs` or `runs`."""
    try:
        table = _object_table(_listed_objects(text))
    except json.JSONDecodeError as error:  # after which nobody can tell where the next object begins
        what = f"not JSON: {error.msg} at character {error.colno}"
        return Table(columns=(), rows=[], problems=[Problem(line=error.lineno, what=what)])
    except RecursionError:
        return Table(columns=(), rows=[], problems=[Problem(line=1, what=_TOO_DEEP)])
    if not table.rows and not table.problems:
        return Table(columns=(), rows=[], problems=[Problem(line=1, what="the list is empty")])
    return table


def number(text: str) -> float:
    """Read a decimal number, `nan`, `inf` or `-inf`; the `ValueError` says what is wrong with anything else."""
    if not _NUMBER.fullmatch(text):
        special = _NONFINITE.get(text.lower().replace("infinity", "inf"))
        if special is None:
            hint = "; write its comma as a point" if _NUMBER.fullmatch(text.replace(",", ".")) else ""
            raise ValueError(f"{shown(text)} is not a number{hint}")
        return float(special)
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{shown(text)} is beyond the range of a double (a measured infinity is written inf)")
    return value


def whole(text: str, low: int, high: int) -> int:
    """Read a whole number from `low` to `high`; 10.0, as pandas may write it, is 10."""
    value = number(text)
    if not low <= value <= high or value != int(value):
        raise ValueError(f"{shown(text)} is not a whole number from {low} to {high}")
    return int(value)


def shown(value: str) -> str:
    """Quote a foreign text for a message, as `bare` writes it."""
    return f"'{bare(value)}'"


def bare(value: str) -> str:
    """Write a foreign text for a message: what could drive a terminal or end the line is escaped, long text is cut."""
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in value[: _SHOWN + 1])
    return text if len(value) <= _SHOWN else f"{text[:_SHOWN]}..."


def _csv_lines(text: str, separator: str = ",") -> Iterator[tuple[int, list[str]] | Problem]:
    """Give each record with the line it begins on; a record can hold line ends between quotes."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Problem(line=line, what=f"not CSV: {error}")
        else:
            if any(cell.strip() for cell in cells):  # spreadsheets write empty rows as separators alone
                yield line, cells


def _header_faults(header: tuple[str, ...]) -> Iterator[str]:
    for name in sorted({name for name in header if header.count(name) > 1}):
        yield f"column {shown(name)} twice in the header"


def _other_document(text: str) -> str | None:
    """Say what is wrong with a document that is one object over several lines, if it is one."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    lists = [name for name, value in found.items() if isinstance(value, list)] if isinstance(found, dict) else []
    take = f"; take the list out of it that is called {' or '.join(map(shown, lists[:5]))}" if lists else ""
    return f"one JSON object over several lines; expected a list of objects, or an object a line{take}"


def _listed_objects(text: str) -> Iterator[tuple[int, str]]:
    """Give the elements of the list in a JSON document as they are written, each with the line it begins on."""
    opening = _LIST.match(text)
    if opening is None:
        raise json.JSONDecodeError("Expecting a list", text, 0)
    line, counted = 1, 0
    at = _after_space(text, opening.end())
    while not text.startswith("]", at):
        _, end = _ELEMENT.raw_decode(text, at)
        line, counted = line + text.count("\n", counted, at), at
        yield line, text[at:end]
        at = _after_space(text, end)
        if text.startswith(",", at):
            at = _after_space(text, at + 1)
        elif not text.startswith("]", at):
            raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
    if text[at + 1 :].strip() != ("}" if "{" in opening[0] else ""):
        raise json.JSONDecodeError("Extra data", text, at + 1)


def _after_space(text: str, at: int) -> int:
    while text[at : at + 1] in _SPACE:
        at += 1
    return at


def _object_table(objects: Iterable[tuple[int, str]]) -> Table:
    """Make a table of JSON objects as they are written, each with its line."""
    columns: dict[str, None] = {}
    rows: list[Row] = []
    problems: list[Problem] = []
    for line, raw in objects:
        try:
            cells = _object_cells(raw)
        except json.JSONDecodeError as error:
            problems.append(Problem(line=line, what=f"not JSON: {error.msg} at character {error.colno}"))
        except RecursionError:
            problems.append(Problem(line=line, what=_TOO_DEEP))
        except ValueError as error:
            problems.append(Problem(line=line, what=str(error)))
        else:
            columns |= dict.fromkeys(cells)
            rows.append(Row(line=line, cells=cells))
    return Table(columns=tuple(columns), rows=rows, problems=problems)


def _object_cells(raw: str) -> dict[str, str | None]:
    """Read one object; numbers keep the text they had, so that 1e999 can still be told from a measured infinity."""
    found = json.loads(raw, parse_float=str, parse_int=str, parse_constant=str, object_pairs_hook=_without_duplicates)
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    nonfinite = found.pop("nonfinite", None)
    if isinstance(nonfinite, dict):
        found |= {name: word for name, word in nonfinite.items() if isinstance(word, str)}
    if nested := [name for name, value in found.items() if isinstance(value, (dict, list))]:
        plain = json.loads(raw)
        found |= {name: json.dumps(plain[name]) for name in nested}
    cells = {name: _cell(value) for name, value in found.items()}
    if not all(_storable(text) for pair in cells.items() for text in pair if text is not None):
        raise ValueError("a NUL or half a surrogate pair in a text")
    return cells


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {shown(next(name for name in names if names.count(name) > 1))} twice")
    return found


def _storable(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _cell(value: str | bool | None) -> str | None:
    """Give the text of a value, as CSV would have it: a list stays JSON, which no number or name can be taken for."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else value.strip() or None
