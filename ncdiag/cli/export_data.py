"""`ncdiag export`: what is in the store, for other tools and for other stores."""

import json
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ncdiag.cli.files import check_output, csv_text, find_ending, to_stdout, write_output
from ncdiag.cli.options import StoreOption, WhereOption, takes_onset_rule
from ncdiag.cli.output import Column, Format, emit, frame_columns, frame_rows, json_ready, layout, note, table_cell
from ncdiag.cli.selection import RunOption
from ncdiag.domain.shares import counted
from ncdiag.errors import SpecError

if TYPE_CHECKING:
    from pandas import DataFrame

    from ncdiag.domain.onset_rule import OnsetRule

_AT_ONCE = 10_000  # rows
EXAMPLES = ("ncdiag export -o epochs.csv", "ncdiag export onsets --where 'dataset=mnist' --eps 0.02")


class Content(StrEnum):
    """What to export."""

    EPOCHS = "epochs"
    RUNS = "runs"
    ONSETS = "onsets"


class ExportFormat(StrEnum):
    """How to write it."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"


_ENDINGS = {
    "": ExportFormat.CSV,
    ".csv": ExportFormat.CSV,
    ".json": ExportFormat.JSON,
    ".jsonl": ExportFormat.JSONL,
    ".ndjson": ExportFormat.JSONL,
    ".txt": ExportFormat.TABLE,
}


@takes_onset_rule
def export(
    content: Annotated[
        Content,
        typer.Argument(metavar="epochs|runs|onsets", show_default=False, help="What has a row each. [default: epochs]"),
    ] = Content.EPOCHS,
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write to this file, packed if it ends in .gz; - is stdout."
        ),
    ] = "-",
    form: Annotated[
        ExportFormat | None,
        typer.Option("--format", show_default=False, help="[default: what FILE ends in, else csv]"),
    ] = None,
    run: RunOption = None,
    where: WhereOption = None,
    *,
    rule: "OnsetRule",
    excel_safe: Annotated[
        bool,
        typer.Option("--excel-safe", help="In CSV, put ' before texts that a spreadsheet would run as formulas."),
    ] = False,
    store: StoreOption = "",
) -> None:
    """Export epochs, runs or their onsets as CSV, JSON or JSON lines.

    onsets: a row for each run, how it ended (state), the epoch of its onset, between lo and hi, and fn there, as --eps
    and the other options of an onset say, beside its settings.

    The numbers read back exactly. In CSV an empty cell was not measured; nan
    and inf were. In JSON both are null, and `nonfinite` names what was not
    finite. `ncdiag import` reads epochs and runs.
    """
    from ncdiag.analysis.stored import onsets_frame, selected_runs
    from ncdiag.domain.onset_rule import OnsetRule
    from ncdiag.files.compressed import ENDING, pack
    from ncdiag.store.engine import open_store
    from ncdiag.store.frames import epochs_frame

    check_output(output)
    form = form or _format_of(output)
    if excel_safe and form is not ExportFormat.CSV:
        raise SpecError(f"--excel-safe is for CSV, not for {form}; leave it out, or add --format csv")
    if content is not Content.ONSETS and rule != OnsetRule():
        raise SpecError(f"{content} have no onset; leave its options out, or `ncdiag export onsets`")
    with open_store(store) as opened:
        frame = selected_runs(opened, where or "", run)
        if content is Content.EPOCHS:
            frame = epochs_frame(opened, frame["run_id"].tolist())
        elif content is Content.ONSETS:
            frame = onsets_frame(opened, frame, rule)
    header = [str(column) for column in frame.columns if column not in ("nonfinite", "run_id")]
    if frame.empty:
        note(f"no {content} to export")
    if form is ExportFormat.TABLE:
        header = [column for column in header if column != "config"]  # a document in a cell is not for reading
    if form is ExportFormat.TABLE and to_stdout(output):
        columns = [Column(key=key, heading=key, drop=place) for place, key in enumerate(header)]
        emit(frame_rows(frame), Format.TABLE, name=str(content), columns=columns)
    else:
        text = _text(frame, header, form, name=str(content), excel_safe=excel_safe)
        content_bytes = text.encode("utf-8", "backslashreplace")
        write_output(pack(content_bytes) if output.endswith(ENDING) else content_bytes, output)
    if not to_stdout(output):
        note(f"{counted(len(frame), content.removesuffix('s'))} written to {output}")


def _format_of(output: str) -> ExportFormat:
    from ncdiag.files.compressed import bare_name

    ending = find_ending(bare_name(output))
    if ending not in _ENDINGS:
        raise SpecError(
            f"{output} ends in {ending}; expected {', '.join(filter(None, _ENDINGS))} or none.\n"
            "Choose another name, or say with --format what to write"
        )
    return _ENDINGS[ending]


def _parts(frame: "DataFrame") -> "Iterator[DataFrame]":
    """Give the rows of a frame, some at a time: those of a million epochs at once would take gigabytes."""
    for start in range(0, len(frame), _AT_ONCE):
        yield frame.iloc[start : start + _AT_ONCE]


def _text(frame: "DataFrame", header: Sequence[str], form: ExportFormat, *, name: str, excel_safe: bool) -> str:
    """Give the whole file."""
    if form is ExportFormat.CSV:
        return csv_text(map(frame_columns, _parts(frame)), header, excel_safe=excel_safe)
    rows = (row for part in _parts(frame) for row in frame_rows(part))
    if form is ExportFormat.TABLE:
        cells = [list(header), *([table_cell(row[key]) for key in header] for row in rows)]
        return "\n".join(layout(cells, right=[False] * len(header))) + "\n"
    documents = (json_ready({key: row[key] for key in header}) for row in rows)
    if form is ExportFormat.JSONL:
        encode = json.JSONEncoder(allow_nan=False).encode
        return "".join(f"{encode(document)}\n" for document in documents)
    return json.dumps({name: list(documents)}, indent=2, allow_nan=False) + "\n"
