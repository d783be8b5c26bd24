import csv
import io
import json
import math
import os
import pty
import subprocess
import sys
from datetime import datetime

import pandas as pd
import pytest

from ncdiag.cli.output import (
    Column,
    Format,
    emit,
    emit_csv,
    emit_json,
    frame_rows,
    json_ready,
    layout,
    note,
    table_cell,
    warn,
)

COLUMNS = (
    Column(key="run", heading="run"),
    Column(key="dataset", heading="dataset", drop=1),
    Column(key="nc1", heading="NC1"),
)
ROWS = [
    {"run": "run-1", "dataset": "digits", "nc1": 0.0098765, "seed": 0},
    {"run": "run-22", "dataset": None, "nc1": None, "seed": 1},
]
NAN = float("nan")


def emit_rows(form: Format) -> None:
    emit(ROWS, form, name="runs", columns=COLUMNS)


def test_plain_table_aligns_numbers_to_the_right_and_marks_what_is_missing(capsys: pytest.CaptureFixture[str]):
    emit_rows(Format.TABLE)
    assert capsys.readouterr().out.splitlines() == [
        "run     dataset       NC1",
        "run-1   digits   0.009876",
        "run-22  -               -",
    ]


def test_a_table_without_rows_says_so_on_stderr_and_leaves_stdout_empty(capsys: pytest.CaptureFixture[str]):
    emit([], Format.TABLE, name="runs", columns=COLUMNS, empty="no runs yet")
    assert capsys.readouterr() == ("", "ncdiag: note: no runs yet\n")


def test_csv_has_every_key_and_reads_back_with_the_same_values(capsys: pytest.CaptureFixture[str]):
    emit_rows(Format.CSV)
    out = capsys.readouterr().out
    assert out.startswith("run,dataset,nc1,seed\r\n")  # RFC 4180 ends a line with CR LF
    read = list(csv.DictReader(io.StringIO(out, newline="")))
    assert float(read[0]["nc1"]) == 0.0098765
    assert read[1] == {"run": "run-22", "dataset": "", "nc1": "", "seed": "1"}


@pytest.mark.parametrize("value", [0.1 + 0.2, 1e-320, 1.7976931348623157e308, -0.0, math.inf, -math.inf])
def test_csv_floats_read_back_as_the_same_number(value: float, capsys: pytest.CaptureFixture[str]):
    emit_csv([{"x": value}], header=["x"])
    read = float(capsys.readouterr().out.split("\r\n")[1])
    assert read == value
    assert math.copysign(1, read) == math.copysign(1, value)


def test_csv_tells_missing_from_not_a_number(capsys: pytest.CaptureFixture[str]):
    emit_csv([{"a": None, "b": NAN}], header=["a", "b", "c"])
    assert capsys.readouterr().out == "a,b,c\r\n,nan,\r\n"


def test_csv_quotes_what_would_break_a_line(capsys: pytest.CaptureFixture[str]):
    emit_csv([{"reason": 'a "b", c\nd'}], header=["reason"])
    assert capsys.readouterr().out == 'reason\r\n"a ""b"", c\nd"\r\n'


def test_csv_of_no_rows_is_its_header(capsys: pytest.CaptureFixture[str]):
    emit([], Format.CSV, name="runs", columns=COLUMNS)
    assert capsys.readouterr().out == "run,dataset,nc1\r\n"


def test_json_is_one_document_with_the_rows_under_their_name(capsys: pytest.CaptureFixture[str]):
    emit_rows(Format.JSON)
    assert json.loads(capsys.readouterr().out) == {"runs": ROWS}


def test_json_replaces_non_finite_numbers_by_null_and_names_them_beside(capsys: pytest.CaptureFixture[str]):
    emit_json({"results": [{"p": NAN, "hi": math.inf, "lo": -math.inf, "n": 3, "deep": [1.0, NAN]}]})
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == {
        "results": [
            {
                "p": None,
                "hi": None,
                "lo": None,
                "n": 3,
                "deep": [1.0, None],
                "nonfinite": {"p": "nan", "hi": "inf", "lo": "-inf"},
            }
        ]
    }


def test_json_leaves_finite_values_without_a_neighbour():
    assert json_ready({"a": 1.5, "when": datetime(2026, 1, 2)}) == {"a": 1.5, "when": "2026-01-02T00:00:00"}


def test_frame_rows_tell_a_measured_nan_from_a_missing_value():
    frame = pd.DataFrame({"run": ["a", "b"], "nc1": [NAN, NAN], "nonfinite": [{"nc1": "nan"}, None]})
    first, second = frame_rows(frame)
    assert math.isnan(first["nc1"])
    assert second == {"run": "b", "nc1": None}


def test_frame_rows_are_plain_values():
    frame = pd.DataFrame({"epoch": pd.array([1, None], dtype="Int64"), "when": pd.to_datetime(["2026-01-02", None])})
    first, second = frame_rows(frame)
    assert json_ready(first) == {"epoch": 1, "when": "2026-01-02T00:00:00"}
    assert second == {"epoch": None, "when": None}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "yes"),
        (512, "512"),
        (512.0, "512"),
        (1e-5, "1e-05"),
        (1.05164, "1.052"),
        (65536.0, "65536"),
        (NAN, "nan"),
    ],
)
def test_table_cells_are_short(value: object, text: str):
    assert table_cell(value) == text


def test_table_cells_cannot_drive_a_terminal():
    assert table_cell("evil\x1b[2J\r\nname") == "evil\\x1b[2J\\r\\nname"


def test_layout_leaves_no_trailing_blanks():
    assert layout([["a", "b"], ["long", ""]], right=[False, False]) == ["a     b", "long"]


def test_notes_and_warnings_go_to_stderr(capsys: pytest.CaptureFixture[str]):
    note("look")
    warn("beware")
    assert capsys.readouterr() == ("", "ncdiag: note: look\nncdiag: warning: beware\n")


PRINT_TABLE = """
import sys
from ncdiag.cli.output import Column, Format, emit
from ncdiag.cli.streams import prepare_streams
prepare_streams()
columns = [Column(key="run", heading="run"), Column(key="dataset", heading="dataset", drop=1)]
dataset = sys.argv[1].encode().decode("unicode_escape")
emit([{"run": "run-1", "dataset": dataset}], Format.TABLE, name="runs", columns=columns)
"""


def run_python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", PRINT_TABLE, *arguments], env=os.environ | environment, capture_output=True, check=False
    )


def run_on_terminal(*arguments: str, **environment: str) -> str:
    """Run with stdout and stderr on a pseudo-terminal and give what appears there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", PRINT_TABLE, *arguments],
        env=os.environ | {"TERM": "xterm"} | environment,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    try:
        while block := os.read(ours, 4096):
            shown += block
    except OSError:  # Linux reports the closed end of a terminal as an error
        pass
    os.close(ours)
    assert process.wait() == 0
    return shown.decode()


def test_no_escape_byte_off_a_terminal_whatever_the_environment_says():
    done = run_python("digits", FORCE_COLOR="1", CLICOLOR_FORCE="1", TERM="xterm-256color")
    assert done.stdout == b"run    dataset\nrun-1  digits\n"
    assert done.stderr == b""


def test_text_outside_ascii_survives_the_c_locale():
    name = ascii("größe-数")[1:-1]  # decoded by the script: in the C locale it could not be an argument
    done = run_python(name, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert done.stdout.decode() == "run    dataset\nrun-1  größe-数\n"


def test_a_terminal_gets_a_bold_heading():
    shown = run_on_terminal("digits", COLUMNS="80", NO_COLOR="")
    assert "\x1b[1m" in shown
    assert "digits" in shown


def test_no_color_is_honoured_on_a_terminal():
    assert "\x1b" not in run_on_terminal("digits", COLUMNS="80", NO_COLOR="1")


def test_a_narrow_terminal_loses_the_least_important_column_and_says_so():
    shown = run_on_terminal("d" * 90, COLUMNS="80")
    assert "run-1" in shown
    assert "ddd" not in shown
    assert "columns left out to fit 80 characters: dataset (a wider terminal has them" in shown


def test_the_narrowest_terminal_does_not_cut_a_name():
    shown = run_on_terminal("digits", COLUMNS="4", NO_COLOR="1")
    assert [line.rstrip() for line in shown.splitlines()[:2]] == ["run", "run-1"]
