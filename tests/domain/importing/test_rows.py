import csv
import io
import json
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ncdiag.domain.importing.records import match_columns, read_records
from ncdiag.domain.importing.rows import Problem, Row, number, read_csv, read_json_lines, read_table, shown, whole


def problems_of(text: str) -> list[tuple[int, str]]:
    return [(problem.line, problem.what) for problem in read_table(text).problems]


def test_csv_rows_know_their_line_and_an_empty_cell_is_missing():
    table = read_csv("epoch,nc1\n1,0.5\n\n2,\n")
    assert table.columns == ("epoch", "nc1")
    assert table.rows == [
        Row(line=2, cells={"epoch": "1", "nc1": "0.5"}),
        Row(line=4, cells={"epoch": "2", "nc1": None}),
    ]
    assert table.problems == []


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end_is_read(end: str):
    table = read_csv(end.join(["epoch,nc1", "1,0.5", "2,0.4", ""]))
    assert [row.line for row in table.rows] == [2, 3]
    assert [row.cells["nc1"] for row in table.rows] == ["0.5", "0.4"]


def test_a_record_over_two_lines_is_named_by_the_first():
    table = read_csv('note,epoch\n"one\ntwo",1\nx\n')
    assert table.rows[0].line == 2
    assert table.problems == [Problem(line=4, what="1 cells where the header has 2")]


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("", 1, "the file is empty"),
        ("epoch,nc1\n1\n", 2, "1 cells where the header has 2"),
        ("epoch,nc1\n1,2,3\n", 2, "3 cells where the header has 2"),
        ("epoch,nc1,nc1\n", 1, "column 'nc1' twice in the header"),
        ("epoch,nc1\n1,a\0b\n", 2, "a NUL byte"),
        ('epoch,nc1\n1,"open\n', 2, "not CSV: unexpected end of data"),
        ("epoch,nc1\n1," + "9" * 200_000 + "\n", 2, "not CSV: field larger than field limit (131072)"),
    ],
)
def test_what_is_wrong_with_csv_is_named_with_its_line(text: str, line: int, what: str):
    assert (line, what) in problems_of(text)


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_other_separators_are_read_where_the_header_has_no_comma(mark: str):
    table = read_csv("epoch,nc1,note\n1,0.3,a\n2,,".replace(",", mark) + '"b,c;d"\n')
    assert table.columns == ("epoch", "nc1", "note")
    assert [tuple(row.cells.values()) for row in table.rows] == [("1", "0.3", "a"), ("2", None, "b,c;d")]
    assert not table.problems


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_lines_in_which_nothing_stands_are_passed_over(mark: str):
    """A spreadsheet writes an empty row as separators, as many as it likes."""
    table = read_csv(",,\nepoch,nc1,\n1,0.3,\n , ,\n,\n\n2,,\n,,\n".replace(",", mark))
    assert [(row.line, *row.cells.values()) for row in table.rows] == [(3, "1", "0.3", None), (7, "2", None, None)]
    assert not table.problems


@pytest.mark.parametrize("header", ['"epoch;nc1"', "epoch"])
def test_a_header_of_one_cell_stays_one(header: str):
    assert read_csv(f"{header}\n1\n").columns == (header.strip('"'),)


def test_a_comma_within_a_number_is_pointed_out():
    table = read_csv("epoch;nc1\n1;0,3\n2;a,b\n")
    assert [problem.what for problem in read_records(table, match_columns(table.columns, {}))[1]] == [
        "nc1: '0,3' is not a number; write its comma as a point",
        "nc1: 'a,b' is not a number",
    ]


def test_reading_goes_on_after_a_line_that_cannot_be_read():
    table = read_csv("epoch,nc1\n1," + "9" * 200_000 + "\n2,0.5\n")
    assert [problem.line for problem in table.problems] == [2]
    assert [row.cells["epoch"] for row in table.rows] == ["2"]


def test_a_document_that_is_no_list_is_the_only_thing_that_is_wrong():
    """Such as the trainer_state.json of Hugging Face's Trainer."""
    state = {"best_metric": None, "log_history": [{"epoch": 1.0, "loss": 0.5}], "args": {"a": [1]}}
    expected = "one JSON object over several lines; expected a list of objects, or an object a line"
    hint = "; take the list out of it that is called 'log_history'"
    assert problems_of(json.dumps(state, indent=2)) == [(1, expected + hint)]
    assert problems_of('{"epoch":\n1}') == [(1, expected)]
    assert len(problems_of('{"epoch":\n1')) == 2  # no document at all


def test_json_lines_hold_the_same_cells_as_csv():
    table = read_table('{"epoch": 1, "nc1": 0.5, "loss": "ce"}\n\n{"epoch": 2, "nc1": null}\n')
    assert table.columns == ("epoch", "nc1", "loss")
    assert table.rows == [
        Row(line=1, cells={"epoch": "1", "nc1": "0.5", "loss": "ce"}),
        Row(line=3, cells={"epoch": "2", "nc1": None}),
    ]


def test_json_keeps_the_text_of_a_number_and_restores_what_was_not_finite():
    text = '{"epoch": 1e999, "nc1": null, "nc3": NaN, "nonfinite": {"nc1": "-inf"}}'
    assert read_table(text).rows[0].cells == {"epoch": "1e999", "nc1": "-inf", "nc3": "NaN"}


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{", "not JSON: Expecting property name enclosed in double quotes at character 2"),
        ("[1]", "not a JSON object"),
        ('{"nc1": 1, "nc1": 2}', "key 'nc1' twice"),
        ('{"note": "\\u0000"}', "a NUL or half a surrogate pair in a text"),
        ('{"note": "\\ud800"}', "a NUL or half a surrogate pair in a text"),
    ],
)
def test_what_is_wrong_with_a_json_line_is_named(line: str, what: str):
    table = read_json_lines('{"epoch": 1}\n' + line + "\n")
    assert table.problems == [Problem(line=2, what=what)]


def test_json_holds_values_that_are_no_cells_as_their_text():
    text = (
        '{"epoch": 1, "best": true, "bins": [1, 2.50], "config": {"depth": 2, "stop": null}, "nonfinite": {"a": [1]}}'
    )
    table = read_table(text)
    cells = {"epoch": "1", "best": "true", "bins": "[1, 2.5]", "config": '{"depth": 2, "stop": null}'}
    assert table.rows == [Row(line=1, cells=cells)]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_json_document_is_its_list_of_objects_each_with_its_line(end: str):
    listed = end.join(
        ["[", "{", '"epoch": 1,', '"nc1": 0.5', "}, {", '"epoch": 1e999, "nonfinite": {"nc1": "nan"}', "}]"]
    )
    rows = [Row(line=2, cells={"epoch": "1", "nc1": "0.5"}), Row(line=5, cells={"epoch": "1e999", "nc1": "nan"})]
    for text in (listed, f' {{ "epochs" : {listed} }} ', f'{{"runs":{listed}}}'):
        table = read_table(text)
        assert (table.columns, table.rows, table.problems) == (("epoch", "nc1"), rows, [])


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("[]", 1, "the list is empty"),
        ("[1]", 1, "not a JSON object"),
        ('[{"epoch": 1},\n{"epoch": 2, "epoch": 2}]', 2, "key 'epoch' twice"),
        ('[{"epoch": 1},\n{"epoch": }]', 2, "not JSON: Expecting value at character 11"),
        ('[{"epoch": 1}\n', 2, "not JSON: Expecting ',' delimiter at character 1"),
        ('[{"epoch": 1},\n', 2, "not JSON: Expecting value at character 1"),
        ('[{"epoch": 1}]\n[]', 1, "not JSON: Extra data at character 15"),
        ('{"epochs": [{"epoch": 1}]', 1, "not JSON: Extra data at character 26"),
        ('{"epochs": [{"epoch": 1}], "n": 1}', 1, "not JSON: Extra data at character 26"),
        ("[" * 100_000, 1, "JSON nested too deeply"),
    ],
)
def test_what_is_wrong_with_a_json_document_is_named_with_its_line(text: str, line: int, what: str):
    assert problems_of(text) == [(line, what)]


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.floats() | st.text('xy [],{}"\n'), min_size=1), min_size=1))
def test_a_json_document_holds_what_the_same_objects_hold_as_lines(objects: list[dict[str, object]]):
    lines = read_json_lines("\n".join(map(json.dumps, objects)))
    document = read_table(json.dumps(objects, indent=1))
    assert [row.cells for row in document.rows] == [row.cells for row in lines.rows]


def test_a_column_without_a_name_is_called_as_pandas_calls_it():
    table = read_csv(",epoch,nc1,\n0,1,0.5,\n")
    assert table.problems == []
    assert table.rows == [Row(line=2, cells={"Unnamed: 0": "0", "epoch": "1", "nc1": "0.5", "Unnamed: 3": None})]


def test_json_nested_without_end_is_a_problem_and_not_a_crash():
    assert [line for line, _ in problems_of('{"a": ' + "[" * 100_000)] == [1]


@given(st.floats())
def test_every_float_reads_back_to_the_bit(value: float):
    back = number(repr(value))
    assert math.isnan(back) if math.isnan(value) else struct.pack("d", back) == struct.pack("d", value)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1.0), (".5", 0.5), ("5.", 5.0), ("+1e-3", 0.001), ("Infinity", math.inf), ("-INF", -math.inf)],
)
def test_numbers_are_read_as_other_tools_write_them(text: str, value: float):
    assert number(text) == value


@pytest.mark.parametrize("text", ["1_000", "0x10", "1,5", "٣", "1e", "--1", "e5", "", "1 2", "infinit", "None"])
def test_what_python_or_nobody_calls_a_number_is_refused(text: str):
    with pytest.raises(ValueError, match="is not a number"):
        number(text)


def test_a_number_beyond_a_double_is_refused_and_not_taken_for_infinity():
    with pytest.raises(ValueError, match="'1e999' is beyond the range of a double"):
        number("1e999")


def test_a_whole_number_may_be_written_as_a_float():
    assert whole("10.0", 1, 100) == 10


@pytest.mark.parametrize("text", ["1.5", "0", "101", "nan", "inf"])
def test_other_numbers_are_not_whole_or_out_of_range(text: str):
    with pytest.raises(ValueError, match="is not a whole number from 1 to 100"):
        whole(text, 1, 100)


def test_long_and_strange_texts_are_shown_short_and_safe():
    assert shown("\x1b[31m\n") == r"'\x1b[31m\n'"
    assert len(shown("x" * 10_000)) < 60


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@given(st.lists(st.lists(cells, min_size=3, max_size=3), max_size=5))
def test_csv_agrees_with_the_standard_library(rows: list[list[str]]):
    text = io.StringIO(newline="")
    csv.writer(text).writerows([["a", "b", "c"], *rows])
    stripped = [[cell.strip() or None for cell in row] for row in rows]
    expected = [row for row in stripped if any(row)]  # a line in which nothing stands is no row
    assert [[row.cells[name] for name in "abc"] for row in read_csv(text.getvalue()).rows] == expected


@given(st.dictionaries(cells.filter(lambda key: key != "nonfinite"), cells | st.none(), min_size=1))
def test_json_lines_agree_with_the_standard_library(found: dict[str, str | None]):
    row = read_json_lines(json.dumps(found)).rows[0]
    assert row.cells == {key: (text or "").strip() or None for key, text in found.items()}
