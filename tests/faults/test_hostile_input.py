"""What a user, or somebody who sends a user a file, can get wrong: an answer each time, and nothing stored."""

import os
import sqlite3
import sys
import zipfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from clihelp import Cli
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small import SMALL_OPTIONS, ignore, small_spec

from ncdiag.cli.app import run
from ncdiag.domain.records import EpochRecord, Run, RunStatus
from ncdiag.execution.held import Note
from ncdiag.execution.worker import TrainingOptions, train_run
from ncdiag.run_files import checkpoint_path, list_checkpoints
from ncdiag.store.engine import open_store
from ncdiag.store.epochs import list_epochs
from ncdiag.store.imports import import_runs
from ncdiag.store.runs import add_run
from ncdiag.training.events import Event

ABSURD = [
    ["train", "--depth", "0"],
    ["train", "--depth", "-3"],
    ["train", "--depth", "1001"],
    ["train", "--depth", "1e3"],
    ["train", "--width", "1000000000"],
    ["train", "--width", "0"],
    ["train", "--width", "nan"],
    ["train", "--width", "inf"],
    ["train", "--phase", "ce:-1"],
    ["train", "--phase", "ce:0"],
    ["train", "--phase", "ce:1e9"],
    ["train", "--phase", "ce:99999999999999999999"],
    ["train", "--lr", "0"],
    ["train", "--lr", "nan"],
    ["train", "--lr", "-0.1"],
    ["train", "--lr", "1e999"],
    ["train", "--lr", "1e-320"],
    ["train", "--weight-decay", "1e-310"],
    ["train", "--scale-features", "1e-320@1"],
    ["train", "--stop-at-onset", "--eps", "1e-320"],
    ["train", "--weight-decay", "-1"],
    ["train", "--weight-decay", "inf"],
    ["train", "--optimizer", "sgd", "--momentum", "1"],
    ["train", "--batch-size", "0"],
    ["train", "--batch-size", "99999999999999999999"],
    ["train", "--seed", "-1"],
    ["train", "--seed", "99999999999999999999"],
    ["train", "--train-size", "0"],
    ["train", "--train-size", "1000000"],
    ["train", "--eval-every", "0"],
    ["train", "--stop-at-onset", "--eps", "nan"],
    ["train", "--stop-at-onset", "--eps", "-1"],
    ["train", "--stop-at-onset", "--patience", "0"],
    ["train", "--scale-features", "0@5"],
    ["train", "--scale-features", "nan@5"],
    ["train", "--scale-features", "0.5@-5"],
    ["train", "--scale-features", "0.5@99999"],
    ["train", "--checkpoint-every", "0"],
    ["train", "--name", "../../etc/passwd"],
    ["train", "--name", "x'; DROP TABLE runs;--"],
    ["train", "--name", ""],
    ["train", "--name", "é" * 10_000],
    ["train", "--name", "-rf"],
    ["train", "--dataset", "../../etc"],
    ["train", "--dataset", "/etc/passwd"],
    ["train", "--dataset", "a\tb.npz"],
    ["train", "--device", "cuda:99999999999999999999"],
    ["train", "--device", "../cpu"],
    ["train", "--config", "missing.toml"],
    ["train", "--config", "."],
    ["sweep", "--seed", "5:0"],
    ["sweep", "--seed", "0:2000000000", "--dry-run"],
    ["sweep", "--seed", "0:99999999999999999999", "--dry-run"],
    ["sweep", "--seed", "0:1000", "--lr", ",".join(["1e-3"] * 2000), "--dry-run"],
    ["sweep", *["--phase", ",".join(f"ce:{n}" for n in range(1, 20))] * 12, "--dry-run"],
    ["sweep", "--depth", "1,0"],
    ["sweep", "--lr", "1e-3,nan"],
    ["sweep", "--seed", "0:2", "--jobs", "0"],
    ["sweep", "--seed", "0:2", "--name", "a b"],
    ["analyze", "threshold", "--eps", "nan"],
    ["analyze", "threshold", "--eps", "0"],
    ["analyze", "threshold", "--eps", "1e308"],
    ["analyze", "threshold", "--patience", "0"],
    ["analyze", "threshold", "--level", "1"],
    ["analyze", "threshold", "--where", "seed=1; DROP TABLE runs"],
    ["analyze", "threshold", "--where", "(" * 5000],
    ["analyze", "threshold", "--where", "depth=1 or depth=" + "x" * 5000 + " or depth=2" * 500],
    ["analyze", "threshold", "--by", "name); DROP TABLE runs"],
    ["predict", "run-1", "--level", "nan"],
    ["runs", "ls", "--limit", "-1"],
    ["runs", "ls", "--limit", "99999999999999999999"],
    ["runs", "ls", "--where", "__class__=1"],
    ["import", "missing.csv"],
    ["import", "."],
    ["plot", "trajectory", "-o", "."],
    ["train", "--eps", "0"],  # without --stop-at-onset they say nothing, whatever the number
    ["train", "--patience", "0"],
    ["train", "--preset", ""],  # as of a variable that is not set, like the next two
    ["train", "--resume", ""],
    ["train", "--store", ""],
    ["--store", "", "runs", "ls"],
    ["report", "--max-mb", "nan"],
]


@pytest.mark.parametrize("line", ABSURD, ids=lambda line: " ".join(line)[:60])
def test_what_makes_no_sense_is_refused_and_makes_no_store(here: Path, cli: Cli, line: list[str]) -> None:
    answer = cli(*line)
    assert answer.code in (2, 3) or (answer.code == 7 and "data" in answer.err), answer.err
    assert answer.out == ""
    said = answer.err.splitlines()
    assert 1 <= len(said) <= 6
    assert all(len(text) < 400 for text in said)
    assert "Traceback" not in answer.err
    assert "this is a bug" not in answer.err
    assert [path.name for path in here.iterdir()] == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (["analyze", "threshold", "--eps", "small"], "--eps: expected a number, not 'small'"),
        (["analyze", "threshold", "--patience", "2.5"], "--patience: expected a whole number of at least 1, not '2.5'"),
        (["sweep", "--seed", "0:2", "--jobs", "0"], "--jobs: expected a whole number of at least 1, not '0'"),
        (["runs", "ls", "--limit", "few"], "--limit: expected a whole number of at least 0, not 'few'"),
        (["serve", "--port", "99999"], "--port: expected a whole number from 0 to 65535, not '99999'"),
        (["watch", "--every", "nan"], "--every: expected a number from 0.1 to 86400, not 'nan'"),
        (["watch", "--every", "inf"], "--every: expected a number from 0.1 to 86400, not 'inf'"),
        (["serve", "--every", "inf"], "--every: expected a number from 1 to 86400, not 'inf'"),
        (["report", "--max-mb", "0"], "--max-mb: expected a number of at least 0.001, not '0'"),
    ],
)
def test_a_number_that_is_none_is_repeated_beside_what_was_expected(
    here: Path, cli: Cli, line: list[str], found: str
) -> None:
    answer = cli(*line)
    assert (answer.code, answer.out, answer.err) == (2, "", f"ncdiag: error: {found}\n")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (["runs", "ls", "--store", "loop"], 3),
        (["runs", "ls", "--store", "sqlite:///loop"], 3),
        (["train", *SMALL_OPTIONS, "--store", "loop"], 3),
        (["store", "check", "--store", "loop"], 3),
        (["store", "backup", "loop"], 3),
        (["store", "backup", "dangling"], 3),
        (["store", "repair", "ncdiag.db", "-o", "dangling"], 3),
        (["store", "repair", "loop", "-o", "new.db"], 3),
        (["export", "-o", "loop"], 2),
        (["report", "-o", "loop"], 2),
        (["export", "-o", "loop/x.csv"], 2),
        (["import", "loop"], 2),
    ],
)
def test_links_that_lead_in_a_circle_or_nowhere_are_said_and_kept(
    here: Path, cli: Cli, line: list[str], code: int
) -> None:
    with open_store("ncdiag.db", write=True) as store:
        add_run(store, small_spec())
    (here / "loop").symlink_to("loop")
    (here / "dangling").symlink_to("nowhere")
    answer = cli(*line)
    assert answer.code == code, answer.err
    assert "this is a bug" not in answer.err
    assert (here / "loop").is_symlink()
    assert (here / "dangling").is_symlink()
    assert sorted(path.name for path in here.iterdir()) == ["dangling", "loop", "ncdiag.db"]


def test_names_that_are_sql_patterns_or_formulas_are_looked_for_as_they_are(here: Path, cli: Cli) -> None:
    with open_store("ncdiag.db", write=True) as store:
        add_run(store, small_spec(), name="plain")
    for name in ("%", "_____", "plai_", "x' OR '1'='1", "=HYPERLINK(1)", "😀", "a" * 10_000, "\x1b[31mred"):
        for command in (("runs", "show"), ("predict",), ("train", "--resume"), ("runs", "rm", "--yes")):
            answer = cli(*command, name)
            assert answer.code == 4, answer.err
            assert "\x1b" not in answer.err
    assert cli("runs", "ls").out.count("plain") == 1


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems know no such names")
def test_what_is_not_utf8_is_a_name_of_a_file_or_spelt_out_and_no_bug(here: Path, cli: Cli) -> None:
    odd = os.fsdecode(b"caf\xe9")
    (here / f"{odd}.csv").write_text("epoch,nc1,feature_norm\n1,0.5,2\n2,0.4,1\n")
    assert cli("import", f"{odd}.csv", "--name", "plain", "--store", f"{odd}.db").code == 0
    looked_for = (("runs", "show"), ("predict",), ("runs", "rm", "--yes"), ("export", "--run"), ("train", "--resume"))
    for command in looked_for:
        answer = cli(*command, odd, "--store", f"{odd}.db")
        assert (answer.code, answer.out) == (4, ""), answer.err
    assert cli("runs", "rename", odd, "new", "--store", f"{odd}.db").code == 4
    for command in (("report", "-o", f"{odd}.html"), ("plot", "trajectory", "-o", f"{odd}.svg")):
        answer = cli(*command, "--title", f"of {odd}", "--store", f"{odd}.db")
        assert answer.code == 0, answer.err
    assert "of caf\\udce9" in (here / f"{odd}.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imported")
    (folder / "log.csv").write_text("run,epoch,nc1\nold,1,0.5\n")
    assert run(["import", str(folder / "log.csv"), "--store", str(folder / "runs.db")]) == 0
    return folder


cells = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["1", "2", "3", "0.5", "nan", "-inf", "1e999", "", "=1+1", "a\0b", "run-1", "old", "９", "\ufeff"]),
    st.floats().map(repr),
    st.integers().map(str),
)
rows = st.lists(st.lists(cells, min_size=1, max_size=5).map(",".join), max_size=6)
headers = st.sampled_from(["run,epoch,nc1", "epoch,nc1", "epoch,epoch", "run,epoch,phase,loss,feature_norm", "x", ""])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(header=headers, lines=rows, end=st.sampled_from(["\n", "\r\n", "\r"]))
def test_whatever_is_imported_all_of_it_is_stored_or_nothing(
    imported: Path, capsys: pytest.CaptureFixture[str], header: str, lines: list[str], end: str
) -> None:
    (imported / "fuzz.csv").write_bytes(end.join([header, *lines]).encode("utf-8", "surrogatepass"))
    with closing(sqlite3.connect(imported / "runs.db")) as connection:
        before = list(connection.iterdump())
        code = run(["import", str(imported / "fuzz.csv"), "--store", str(imported / "runs.db")])
        said = capsys.readouterr()
        assert code in (0, 2), said.err
        assert "Traceback" not in said.err
        after = list(connection.iterdump())
    assert code == 0 or after == before
    if code == 0:
        assert set(before) - set(after) <= {line for line in before if "sqlite_sequence" in line}


class Trap:
    """What a pickle runs when it is loaded as it is."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (str(self.place),))


def interrupted(store: "object", spec: "object", epoch: int) -> Run:
    run, _ = add_run(store, spec)  # type: ignore[arg-type]

    def stop(run: Run, event: Event | Note) -> None:
        if getattr(getattr(event, "record", None), "epoch", None) == epoch:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_run(store, run, TrainingOptions(checkpoint_every=1), stop)  # type: ignore[arg-type]
    return run


def spring(path: Path, place: Path) -> None:
    torch.save({"format": 1, "run": "x", "epoch": 5, "weights": Trap(place)}, path)


def cut(path: Path, place: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path, place: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path, place: Path) -> None:
    """Change one bit of one weight; the archive has a checksum of each of its members."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def inflate(path: Path, place: Path) -> None:
    """Compress the parts, of which torch would read any size."""
    with zipfile.ZipFile(path) as archive:
        parts = {member.filename: archive.read(member) for member in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def an_array(path: Path, place: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.arange(3))


@pytest.mark.parametrize("harm", [spring, cut, empty, flip, inflate, an_array])
def test_a_checkpoint_that_was_tampered_with_is_set_aside_and_the_one_before_used(tmp_path: Path, harm: object) -> None:
    spec = small_spec()
    with open_store(str(tmp_path / "whole.db"), write=True) as other:
        whole, _ = add_run(other, spec)
        train_run(other, whole, TrainingOptions(), ignore)
        expected = [(record.epoch, record.nc1) for record in list_epochs(other, whole.id)]
    with open_store(str(tmp_path / "runs.db"), write=True) as store:
        run = interrupted(store, spec, 5)
        folder = store.run_folder(run.id)
        assert list_checkpoints(folder) == [3, 4]
        harm(checkpoint_path(folder, 4), tmp_path / "sprung")  # type: ignore[operator]
        notes: list[str] = []
        evaluated: list[EpochRecord] = []

        def listen(run: Run, event: Event | Note) -> None:
            notes.extend([event.text] if isinstance(event, Note) else [])
            evaluated.extend([event.record] if isinstance(getattr(event, "record", None), EpochRecord) else [])

        assert train_run(store, run, TrainingOptions(), listen) is RunStatus.DONE
        assert [record.epoch for record in evaluated] == [4, 5, 6]  # from the checkpoint before
        assert [(record.epoch, record.nc1) for record in list_epochs(store, run.id)] == expected
    assert not (tmp_path / "sprung").exists()
    (note,) = notes
    assert str(checkpoint_path(folder, 4)) in note
    assert "renamed to epoch-000004.pt.damaged" in note
    assert (folder / "epoch-000004.pt.damaged").exists()


def test_what_a_killed_process_had_begun_to_write_is_tidied_up(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "runs.db"), write=True) as store:
        run = interrupted(store, small_spec(), 5)
        folder = store.run_folder(run.id)
        (folder / ".epoch-000005.pt.4711.tmp").write_bytes(b"half a checkpoint")
        train_run(store, run, TrainingOptions(), ignore)
        assert sorted(path.name for path in folder.iterdir()) == ["epoch-000003.pt", "epoch-000006.pt", "lock"]


def test_a_formula_in_a_cell_is_data_and_can_be_made_harmless(here: Path, cli: Cli) -> None:
    Path("log.csv").write_text("epoch,nc1\n1,0.5\n")
    assert cli("import", "log.csv", "--set", "arch==HYPERLINK(1)", "--set", "dataset=@SUM(A1)").code == 0
    assert "=HYPERLINK(1)" in cli("export", "runs").out
    safe = cli("export", "runs", "--excel-safe").out
    assert "'=HYPERLINK(1)" in safe
    assert "'@SUM(A1)" in safe


def test_options_of_a_run_are_never_stored_when_training_cannot_begin(here: Path, cli: Cli) -> None:
    answer = cli("train", *SMALL_OPTIONS, "--dataset", "mine.npz")
    assert answer.code in (2, 7)
    assert list(here.iterdir()) == []


def test_imports_of_hostile_text_come_out_as_they_went_in(tmp_path: Path) -> None:
    from ncdiag.domain.records import ImportedRun

    strange = "'; DROP TABLE runs;-- \x1b[31m % _ 😀 \u202e"
    with open_store(str(tmp_path / "runs.db"), write=True) as store:
        imported = ImportedRun(config={"note": strange}, epochs=(EpochRecord(epoch=1),), source=strange)
        (run,) = import_runs(store, [imported]).runs
        assert (run.source, run.config["note"]) == (strange, strange)
