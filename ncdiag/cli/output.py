"""What every command prints with: data to stdout as table, CSV or JSON; notes and warnings to stderr.

Missing is not the same as not a number. None is an empty cell in CSV and `null` in JSON; a NaN or an infinity
that was measured is `nan`, `inf` or `-inf` in CSV, and in JSON `null` with its name under the key `nonfinite` of
the object that holds it.
"""

import csv
import io
import json
import math
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from ncdiag.domain.shares import four_digits

if TYPE_CHECKING:
    from pandas import DataFrame, Series

_CONTROLS = {code: ascii(chr(code))[1:-1] for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


class Format(StrEnum):
    """How a command prints its answer."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a printed table: the key of its cells and its heading.

    On a terminal that is too narrow the columns with the largest `drop` are left out; 0 is never left out.
    """

    key: str
    heading: str
    drop: int = 0


def emit(
    rows: Sequence[Mapping[str, Any]],
    form: Format,
    *,
    name: str,
    columns: Sequence[Column],
    empty: str | None = None,
    keys: Sequence[str] | None = None,
) -> None:
    """Print rows: `columns` of them as a table, or every key as CSV, or as JSON in a list under `name`.

    `empty` is said on stderr, instead of a table without rows. `keys` are the header of a CSV without rows, where the
    rows would have had others than the columns.
    """
    if form is Format.JSON:
        emit_json({name: list(rows)})
    elif form is Format.CSV:
        emit_csv(rows, header=list(rows[0]) if rows else keys or [column.key for column in columns])
    elif rows:
        _emit_table(rows, columns)
    elif empty is not None:
        note(empty)


def emit_text(text: str) -> None:
    """Print text on stdout, in one write; what would drive a terminal, a store from a stranger say, is spelt out."""
    sys.stdout.write(without_controls(text if text.endswith("\n") else f"{text}\n"))


def emit_json(document: object) -> None:
    """Print one JSON document, in ASCII, so that no locale can spoil it."""
    emit_text(json.dumps(json_ready(document), indent=2, allow_nan=False))


def emit_csv(rows: Sequence[Mapping[str, Any]], *, header: Sequence[str]) -> None:
    """Print RFC 4180 CSV with a header; a key that a row lacks is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows([csv_cell(row.get(key)) for key in header] for row in rows)
    sys.stdout.write(text.getvalue())


def note(message: str) -> None:
    """Say something on stderr that the reader may want to know."""
    _say("note", message)


def warn(message: str) -> None:
    """Say something on stderr that changes how the output should be read."""
    _say("warning", message)


def frame_rows(frame: "DataFrame") -> list[dict[str, Any]]:
    """Give the rows of a DataFrame as plain values: what the column `nonfinite` does not name is missing (None).

    `nonfinite` holds what was measured as NaN or infinite (`{"nc1": "nan"}`) and is itself not among the keys.
    """
    columns = frame_columns(frame)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def frame_columns(frame: "DataFrame") -> dict[str, list[Any]]:
    """Give what `frame_rows` gives as columns."""
    measured = frame["nonfinite"].tolist() if "nonfinite" in frame.columns else [None] * len(frame)
    return {str(column): _cells(frame[column], measured) for column in frame.columns if column != "nonfinite"}


def csv_cell(value: object) -> str:
    """Give the text of one CSV cell; floats by `repr`, the shortest text that reads back as the same number."""
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(float(value))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(json_ready(value), allow_nan=False)
    return str(value)


def json_ready(value: Any) -> Any:
    """Give a value as JSON can hold it; a non-finite number becomes None, named under the key `nonfinite` beside it."""
    if isinstance(value, (str, int)):  # most values are these or floats, and a store has millions of them
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        ready = {str(key): json_ready(item) for key, item in value.items()}
        if None not in ready.values():
            return ready
        nonfinite = {str(key): str(float(item)) for key, item in value.items() if _is_nonfinite(item)}
        return {**ready, "nonfinite": nonfinite} if nonfinite else ready
    if isinstance(value, (list, tuple)):
        return [json_ready(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return value


def table_cell(value: object) -> str:
    """Give the text of one table cell: about four significant digits, `-` for missing, no control characters."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return four_digits(value)
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M %Z").rstrip()
    return printable(str(value))


def printable(text: str) -> str:
    """Escape control characters, which in an imported name could drive the reader's terminal."""
    return "".join(c if c.isprintable() or c == " " else ascii(c)[1:-1] for c in text)


def without_controls(text: str) -> str:
    """Spell out the control characters of a text of several lines."""
    return text.translate(_CONTROLS)


def layout(rows: Sequence[Sequence[str]], *, right: Sequence[bool]) -> list[str]:
    """Align the cells of a table, heading first, in columns two spaces apart; `right` says which align right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(right))]
    aligned = (
        (cell.rjust(width) if to_right else cell.ljust(width))
        for row in rows
        for cell, width, to_right in zip(row, widths, right, strict=True)
    )
    return ["  ".join(next(aligned) for _ in right).rstrip() for _ in rows]


def _emit_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> None:
    """Print a table: with rich on a terminal, as plain aligned text elsewhere."""
    right = {column.key: all(_is_number(row.get(column.key)) for row in rows) for column in columns}
    cells = {column.key: [table_cell(row.get(column.key)) for row in rows] for column in columns}
    if not sys.stdout.isatty():
        table = [[c.heading for c in columns], *zip(*(cells[c.key] for c in columns), strict=True)]
        emit_text("\n".join(layout(table, right=[right[c.key] for c in columns])))
        return
    width = shutil.get_terminal_size().columns
    widths = {c.key: max(map(len, [c.heading, *cells[c.key]])) for c in columns}
    kept = _fitting(columns, widths, width)
    # Where even the rest does not fit, the terminal breaks the lines: a name or a number that is cut is of no use.
    _emit_rich(kept, cells, right, max(width, _needed(kept, widths)))
    if len(kept) < len(columns):
        left_out = ", ".join(column.heading for column in columns if column not in kept)
        note(
            f"columns left out to fit {width} characters: {left_out} "
            "(a wider terminal has them; --format csv has every number)"
        )


def _fitting(columns: Sequence[Column], widths: Mapping[str, int], available: int) -> list[Column]:
    """Leave columns out, the largest `drop` first, until the rest and two spaces between them fit."""
    kept = list(columns)
    for column in sorted((c for c in columns if c.drop), key=lambda c: -c.drop):
        if _needed(kept, widths) <= available:
            break
        kept.remove(column)
    return kept


def _needed(columns: Sequence[Column], widths: Mapping[str, int]) -> int:
    return sum(widths[column.key] + 2 for column in columns) - 2


def _emit_rich(
    columns: Sequence[Column], cells: Mapping[str, Sequence[str]], right: Mapping[str, bool], width: int
) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    style = "" if os.environ.get("NO_COLOR") else "bold"
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style=style)
    for column in columns:
        table.add_column(column.heading, justify="right" if right[column.key] else "left", no_wrap=True)
    for row in zip(*(cells[c.key] for c in columns), strict=True):
        table.add_row(*map(Text, row))  # Text, because a name may hold [brackets]
    Console(file=sys.stdout, width=width, highlight=False).print(table)


def _say(kind: str, message: str) -> None:
    sys.stderr.write(without_controls(f"ncdiag: {kind}: {message}\n"))


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _is_nonfinite(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _cells(column: "Series", measured: Sequence[Mapping[str, str] | None]) -> list[Any]:
    values = column.tolist()
    for row in column.isna().to_numpy().nonzero()[0].tolist():
        named = measured[row]  # NaN in the place of None where frames were merged
        if not (isinstance(named, Mapping) and column.name in named):
            values[row] = None
    return values
