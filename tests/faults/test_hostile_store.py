"""A store from a stranger, or one that another program has written into: an answer each time, and never "a bug"."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from clihelp import Cli
from small import ignore, small_spec

from ncdiag.execution.worker import TrainingOptions, train_run
from ncdiag.store.engine import open_store
from ncdiag.store.runs import add_run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "runs.db"
    with open_store(str(path), write=True) as store:
        for seed in range(2):
            run, _ = add_run(store, small_spec(seed=seed))
            train_run(store, run, TrainingOptions(), ignore)
    return path


@pytest.fixture
def store(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(trained, tmp_path / "runs.db"))


def change(store: Path, statement: str) -> None:
    with closing(sqlite3.connect(store)) as connection:
        connection.execute(statement)
        connection.commit()


COMMANDS = (
    ("runs", "ls"),
    ("runs", "show", "run-1"),
    ("export", "runs"),
    ("export",),
    ("analyze",),
    ("predict", "run-1"),
)


@pytest.mark.parametrize(
    ("statement", "refused"),
    [
        ("UPDATE runs SET config = '{'", ("runs ls", "runs show run-1", "export runs", "analyze")),
        ("UPDATE runs SET created_at = 'never'", ("runs ls", "runs show run-1", "export runs")),
        ("UPDATE runs SET lr = 'fast'", ("export runs", "analyze")),
        ("UPDATE epochs SET nc1 = 'small'", ("export", "analyze")),
        ("""UPDATE epochs SET nonfinite = '{"nc1":"zap"}'""", ("export", "analyze")),
    ],
)
def test_a_value_of_another_kind_is_an_error_of_the_store(
    store: Path, cli: Cli, statement: str, refused: tuple[str, ...]
) -> None:
    change(store, statement)
    before = store.read_bytes()
    for command in COMMANDS:
        answer = cli(*command, "--store", store)
        assert answer.code in ((3,) if " ".join(command) in refused else (0, 3)), (command, answer)
        assert "this is a bug" not in answer.err
        if answer.code == 3:
            assert "holds a value that ncdiag does not write" in answer.err
            assert "`ncdiag store check` names the runs" in answer.err
    check = cli("store", "check", "--store", store)
    assert (check.code, check.out.count("run-1 ")) == (3, check.out.count("run-2 ")), check
    assert store.read_bytes() == before


def test_what_a_name_holds_drives_no_terminal_and_no_browser(store: Path, cli: Cli, tmp_path: Path) -> None:
    hostile = "'\x1b]0;gotcha\x07<script>alert(1)</script>'"
    columns = ("arch", "dataset", "reason", "source", "phases", "device", "activation")
    change(store, f"UPDATE runs SET name = {hostile} WHERE id = 1")
    change(store, f"UPDATE runs SET {', '.join(f'{column} = {hostile}' for column in columns)} WHERE id = 2")
    for command in (("runs", "ls"), ("runs", "show", "run-2"), ("analyze",), ("predict", "run-2"), ("store", "check")):
        answer = cli(*command, "--store", store)
        assert "this is a bug" not in answer.err
        assert "\x1b" not in answer.out + answer.err
    assert cli("report", "-o", tmp_path / "report.html", "--store", store).code == 0
    assert "<script>alert(1)" not in (tmp_path / "report.html").read_text()
