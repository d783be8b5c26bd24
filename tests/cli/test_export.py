import csv
import gzip
import io
import json
import math
import os
import signal
import struct
import subprocess
from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import pytest
from clihelp import PYTHON, ROOT, Cli
from falling import make_falling_store
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pandas import DataFrame

from ncdiag.cli import app
from ncdiag.cli.output import frame_columns
from ncdiag.domain.records import EpochRecord, ImportedRun
from ncdiag.execution.signals import stops_heard
from ncdiag.store.engine import open_store
from ncdiag.store.frames import epochs_frame
from ncdiag.store.imports import import_runs

EPOCHS = [
    *("run", "epoch", "phase", "loss", "lr", "seconds", "train_loss", "train_accuracy", "test_accuracy"),
    *("feature_norm", "nc1", "nc1_pinv", "nc2_equinorm", "nc2_equiangular", "nc3", "nc4", "weight_norm"),
]
RUNS = [
    *("run", "status", "arch", "depth", "width", "activation", "dataset", "train_size", "optimizer", "lr"),
    *("weight_decay", "batch_size", "seed", "phases", "epochs_done", "device", "started_at", "seconds"),
]


@pytest.fixture
def store(here: Path) -> Path:
    return make_falling_store(here / "ncdiag.db")


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def add(store: Path, **said: object) -> None:
    record = EpochRecord(epoch=1, phase=1, nc1=math.nan, feature_norm=math.inf, nc3=-math.inf, nc4=-0.5)
    run = ImportedRun(name="strange", config=said, epochs=(record,), source="s.csv")  # type: ignore[arg-type]
    with open_store(str(store), write=True) as opened:
        import_runs(opened, [run])


ONSETS = ["run", "state", "onset", "lo", "hi", "fn_star"]


@pytest.mark.parametrize(("content", "columns"), [("epochs", EPOCHS), ("runs", RUNS), ("onsets", ONSETS)])
@pytest.mark.usefixtures("store")
def test_the_columns_of_the_contract_come_first(cli: Cli, content: str, columns: list[str]):
    header = cli("export", content).out.splitlines()[0].split(",")
    assert header[: len(columns)] == columns
    assert len(set(header)) == len(header)


@pytest.mark.usefixtures("store")
def test_epochs_are_exported_without_being_asked(cli: Cli):
    answer = cli("export")
    assert answer.code == 0
    assert answer.err == ""
    rows = rows_of(answer.out)
    assert len(rows) == 4 * 12 + 8
    assert rows[0]["nc1"] == repr(math.exp(-10 / 20))
    assert (rows[0]["run"], rows[0]["epoch"], rows[0]["loss"], rows[0]["lr"]) == ("deep-0", "10", "ce", "")


@pytest.mark.usefixtures("store")
def test_csv_is_rfc_4180(cli: Cli):
    text = cli("export", "runs", "--format", "csv").out
    assert text.endswith("\r\n")
    assert text.count("\r\n") == text.count("\n")


def test_missing_and_not_finite_are_told_apart_in_every_format(store: Path, cli: Cli):
    add(store)
    (row,) = rows_of(cli("export", "--run", "strange").out)
    assert (row["nc1"], row["feature_norm"], row["nc3"], row["nc2_equinorm"]) == ("nan", "inf", "-inf", "")
    line = json.loads(cli("export", "--run", "strange", "--format", "jsonl").out)
    (document,) = json.loads(cli("export", "--run", "strange", "--format", "json").out)["epochs"]
    assert line == document
    assert (line["nc1"], line["feature_norm"], line["nc2_equinorm"], line["nc4"]) == (None, None, None, -0.5)
    assert line["nonfinite"] == {"nc1": "nan", "feature_norm": "inf", "nc3": "-inf"}


@pytest.mark.usefixtures("store")
def test_json_lines_hold_an_object_a_line(cli: Cli):
    lines = cli("export", "--format", "jsonl", "--where", "depth=5").out.splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == 2 * list(range(10, 121, 10))


@pytest.mark.usefixtures("store")
def test_runs_can_be_chosen(cli: Cli):
    names = [row["run"] for row in rows_of(cli("export", "runs", "--run", "short", "--run", "deep-1").out)]
    assert names == ["deep-1", "short"]
    assert {row["run"] for row in rows_of(cli("export", "--where", "depth=3 and seed<2").out)} == {
        "shallow-0",
        "shallow-1",
    }
    assert cli("export", "--run", "depe-1").code == 4
    assert cli("export", "--where", "depth=99").code == 2


@pytest.mark.usefixtures("store")
def test_a_table_is_aligned_and_has_no_escape_bytes(cli: Cli):
    lines = cli("export", "runs", "--format", "table").out.splitlines()
    assert len(lines) == 6
    assert lines[0].split()[:4] == ["run", "status", "arch", "depth"]
    assert len({line.index("done") for line in lines[1:]}) == 1
    assert "\x1b" not in "".join(lines)


def test_cells_that_a_spreadsheet_would_run_are_quoted_where_asked(store: Path, cli: Cli):
    add(store, arch="=HYPERLINK(1)", dataset="@x", optimizer="plain")
    (plain,) = rows_of(cli("export", "runs", "--run", "strange").out)
    (safe,) = rows_of(cli("export", "runs", "--run", "strange", "--excel-safe").out)
    assert (plain["arch"], plain["dataset"]) == ("=HYPERLINK(1)", "@x")
    assert (safe["arch"], safe["dataset"], safe["optimizer"]) == ("'=HYPERLINK(1)", "'@x", "plain")
    (epoch,) = rows_of(cli("export", "--run", "strange", "--excel-safe").out)
    assert epoch["nc4"] == "-0.5"  # a number is no formula
    assert cli("export", "--excel-safe", "--format", "json").code == 2


@pytest.mark.parametrize(
    ("name", "first"),
    [
        *(("a.csv", "run,epoch"), ("a.jsonl", '{"run"'), ("a.json", "{\n"), ("a.txt", "run "), ("a", "run,")),
        ("é" * 125 + ".csv", "run,epoch"),  # 254 bytes: the longest name that there can be, almost
    ],
)
def test_a_file_says_its_format_by_its_ending(store: Path, cli: Cli, name: str, first: str):
    answer = cli("export", "-o", name)
    assert (answer.code, answer.out) == (0, "")
    assert store.with_name(name).read_text().startswith(first)
    assert f"56 epochs written to {name}" in answer.err


def test_a_file_keeps_what_it_had_until_all_is_written(store: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch):
    target = store.with_name("out.csv")
    target.write_text("before")

    def stop(self: Path, other: Path) -> None:
        assert self.read_text().startswith("run,epoch")
        assert target.read_text() == "before"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", stop)
    monkeypatch.setattr(app, "_discard_output", lambda: None)  # it would close pytest's own stdout
    assert cli("export", "-o", "out.csv").code == 3
    assert target.read_text() == "before"
    assert [path.name for path in store.parent.iterdir() if path.name.endswith(".tmp")] == []


@pytest.mark.parametrize("name", ["x.parquet", "x.xlsx", "x.tsv", "x.db", "x.parquet.gz"])
def test_a_file_cannot_end_in_what_is_not_written(store: Path, cli: Cli, name: str):
    answer = cli("export", "-o", name)
    assert (answer.code, answer.out) == (2, "")
    assert f"{name} ends in {name.removesuffix('.gz')[1:]}; expected .csv, .json, .jsonl, .ndjson, .txt" in answer.err
    assert not store.with_name(name).exists()
    assert cli("export", "-o", name, "--format", "csv").code == 0
    assert store.with_name(name).exists()


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_file_is_written_leaves_nothing_beside_it(
    store: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, sent: signal.Signals
):
    def write(self: Path, content: bytes, write_bytes: Callable[[Path, bytes], int] = Path.write_bytes) -> int:
        signal.raise_signal(sent)
        return write_bytes(self, content)

    monkeypatch.setattr(Path, "write_bytes", write)
    with pytest.raises(SystemExit), stops_heard():
        raise SystemExit(cli("export", "-o", "x.csv").code)
    assert sorted(path.name for path in store.parent.iterdir()) == ["ncdiag.db", "x.csv"]
    assert len(rows_of(store.with_name("x.csv").read_text())) == 56


@pytest.mark.usefixtures("store")
def test_where_no_file_can_be_is_said_before_anything_is_read(cli: Cli):
    assert "the name of the file to write is empty" in cli("export", "-o", "", "--store", "none.db").err
    assert "make it first" in cli("export", "-o", "nowhere/out.csv", "--store", "none.db").err
    assert "is a folder" in cli("export", "-o", ".").err
    assert cli("export", "-o", ".").code == 2


def test_a_read_only_folder_is_said_before_anything_is_read(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "access", lambda place, mode: Path(place) != tmp_path or mode != os.W_OK)
    answer = cli("export", "-o", tmp_path / "x.csv", "--store", tmp_path / "none.db")
    assert answer.code == 3
    assert "x.csv cannot be written (Permission denied); nothing was changed" in answer.err


@pytest.mark.parametrize("form", ["csv", "json", "jsonl", "table"])
def test_rows_that_are_made_some_at_a_time_are_the_same(
    store: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, form: str
):
    add(store)
    at_once = cli("export", "--format", form).out
    monkeypatch.setattr("ncdiag.cli.export_data._AT_ONCE", 2)
    assert cli("export", "--format", form).out == at_once
    assert at_once.count("strange") == 1


def test_one_thing_is_said_in_the_singular(store: Path, cli: Cli):
    add(store)
    assert cli("export", "--run", "strange", "-o", "one.csv").err == "ncdiag: note: 1 epoch written to one.csv\n"
    assert cli("export", "runs", "--run", "strange", "-o", "one.csv").err == "ncdiag: note: 1 run written to one.csv\n"


def test_no_more_rows_than_that_are_made_at_once(store: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch):
    made: list[int] = []

    def look(frame: DataFrame) -> dict[str, list[object]]:
        made.append(len(frame))
        return frame_columns(frame)

    monkeypatch.setattr("ncdiag.cli.export_data._AT_ONCE", 7)
    monkeypatch.setattr("ncdiag.cli.export_data.frame_columns", look)
    lines = cli("export").out.splitlines()
    assert sum(made) == len(lines) - 1
    assert max(made) == 7


@pytest.mark.parametrize("output", ["ncdiag.db", "link.csv"])
def test_a_database_is_not_overwritten(store: Path, cli: Cli, output: str):
    (store.parent / "link.csv").symlink_to(store)
    before = store.read_bytes()
    answer = cli("export", "-o", output)
    assert (answer.code, answer.out) == (6, "")
    assert f"{output} is a database" in answer.err
    assert store.read_bytes() == before


def test_a_link_is_followed_and_not_replaced(store: Path, cli: Cli):
    target = store.with_name("target.csv")
    target.write_text("before")
    store.with_name("link.csv").symlink_to(target)
    cli("export", "-o", "link.csv")
    assert store.with_name("link.csv").is_symlink()
    assert target.read_text().startswith("run,epoch")


def test_a_reader_that_leaves_early_ends_it_in_silence(store: Path):
    """More than a pipe holds, so that writing must meet the closed end; unbuffered, where a write may be partial."""
    record = [EpochRecord(epoch=epoch, nc1=1 / epoch) for epoch in range(1, 3000)]
    with open_store(str(store), write=True) as opened:
        import_runs(opened, [ImportedRun(name="long", config={}, epochs=tuple(record), source="x")])
    for unbuffered in ("", "1"):
        environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered}
        command = [PYTHON, "-m", "ncdiag", "export", "--store", str(store)]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline().startswith(b"run,epoch")
            process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait() == 141


never_below_0 = st.floats(min_value=0) | st.none() | st.just(math.nan)
share = st.floats(0, 1) | st.none() | st.just(math.nan)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.builds(
            EpochRecord,
            epoch=st.just(0),
            phase=st.integers(1, 3) | st.none(),
            loss=st.sampled_from(["ce", "mse", None]),
            lr=never_below_0,
            train_accuracy=share,
            feature_norm=never_below_0,
            nc1=never_below_0,
            nc4=share,
        ),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from(["csv", "json", "jsonl"]),
)
def test_what_was_exported_is_imported_to_the_bit(cli: Cli, tmp_path: Path, found: list[EpochRecord], form: str):
    before, after, file = (tmp_path / name for name in ("before.db", "after.db", f"epochs.{form}"))
    for path in (before, after, file):
        path.unlink(missing_ok=True)
    phases = accumulate((record.phase or 0 for record in found), max)  # which do not fall
    numbered = tuple(
        replace(record, epoch=at, phase=record.phase and phase)
        for at, (record, phase) in enumerate(zip(found, phases, strict=True))
    )
    with open_store(str(before), write=True) as opened:
        import_runs(opened, [ImportedRun(name=name, config={}, epochs=numbered, source="x") for name in ("a",)])
    assert cli("export", "--store", before, "-o", file).code == 0
    assert cli("import", file, "--store", after).code == 0
    assert stored(before) == stored(after)


def stored(path: Path) -> list[list[object]]:
    """Give all that is stored, floats as their bits; a NaN is a NaN, whatever its bits."""
    with open_store(str(path)) as opened:
        frame = epochs_frame(opened).drop(columns="run_id")

    def bits(value: object) -> object:
        return "nan" if value != value else struct.pack("d", value) if isinstance(value, float) else value  # noqa: PLR0124

    return [
        [bits(value) for value in row]
        for row in frame.astype(object).where(frame.notna(), math.nan).to_numpy().tolist()
    ]


@pytest.mark.parametrize("form", ["csv", "json", "jsonl"])
def test_runs_and_epochs_together_give_the_same_runs(store: Path, cli: Cli, form: str):
    cli("export", "-o", f"epochs.{form}")
    cli("export", "runs", "-o", f"runs.{form}")
    assert cli("import", f"epochs.{form}", "--manifest", f"runs.{form}", "--store", "other.db").code == 0
    one, other = (rows_of(cli("export", "runs", "--store", path).out) for path in (store, "other.db"))
    for row in (*one, *other):
        for kept_by_the_store in ("created_at", "source"):
            del row[kept_by_the_store]
    assert one == other


def test_a_packed_export_holds_the_same_and_is_imported(store: Path, cli: Cli, tmp_path: Path):
    plain, packed, runs = (tmp_path / name for name in ("epochs.csv", "epochs.csv.gz", "runs.csv.gz"))
    for path in (plain, packed):
        assert cli("export", "-o", path).code == 0
    assert cli("export", "runs", "-o", runs).code == 0
    assert gzip.decompress(packed.read_bytes()) == plain.read_bytes()
    first = packed.read_bytes()
    cli("export", "-o", packed)
    assert packed.read_bytes() == first  # no time in it
    other = tmp_path / "other.db"
    assert cli("import", packed, "--manifest", runs, "--store", other).code == 0
    assert cli("export", "--store", other).out == cli("export").out


@pytest.mark.usefixtures("store")
def test_onsets_have_a_row_for_each_run_as_the_rule_says(cli: Cli) -> None:
    rows = rows_of(cli("export", "onsets", "--eps", "0.05", "--where", "seed in (0,2)").out)
    assert [(row["run"], row["state"], row["depth"]) for row in rows] == [
        ("deep-0", "collapsed", "5"),
        ("shallow-0", "collapsed", "3"),
        ("short", "collapsed", "3"),
    ]
    assert [float(row["onset"]) for row in rows] == pytest.approx([20 * math.log(20)] * 3)  # of exp(-epoch / 20)
    assert [(float(row["lo"]), float(row["hi"])) for row in rows] == [(50, 60)] * 3
    assert [float(row["fn_star"]) for row in rows] == [1.1, 1.2, 1.5]
    (first,) = json.loads(cli("export", "onsets", "--run", "short", "--format", "json").out)["onsets"]
    assert (first["state"], first["onset"], first["censored_at"]) == ("censored", None, 80)


@pytest.mark.usefixtures("store")
def test_what_has_no_onset_takes_no_options_of_one(cli: Cli) -> None:
    answer = cli("export", "epochs", "--eps", "0.1")
    assert (answer.code, answer.out) == (2, "")
    assert "`ncdiag export onsets`" in answer.err
