import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from clihelp import Cli
from small import small_spec

from ncdiag.domain.spec import PhaseSpec, canonical_json


def test_path_prints_where_the_store_is(cli: Cli, store: Path):
    assert cli("store", "path").out == f"{store}\n"


def test_path_does_not_make_a_store(cli: Cli, tmp_path: Path):
    assert cli("store", "path", "--store", tmp_path / "none.db").out == f"{tmp_path / 'none.db'}\n"
    assert not (tmp_path / "none.db").exists()


def test_path_never_shows_a_password(cli: Cli):
    answer = cli("store", "path", "--store", "postgresql://me:hunter2@example.org/runs")
    assert "hunter2" not in answer.out + answer.err


def test_check_of_a_sound_store(cli: Cli, store: Path):
    answer = cli("store", "check")
    assert (answer.code, answer.out, answer.err) == (0, "", "ncdiag: note: the store is sound\n")


def test_check_lists_what_is_wrong(cli: Cli, store: Path):
    with sqlite3.connect(store) as connection:
        connection.execute("UPDATE runs SET epochs_done = 500 WHERE name = 'deep-0'")
    connection.close()
    answer = cli("store", "check")
    assert answer.code == 3
    assert "deep-0" in answer.out
    assert "1 problem," in answer.err


def test_a_file_that_is_no_store_is_named_and_left_alone(cli: Cli, tmp_path: Path):
    path = tmp_path / "letter.db"
    path.write_text("Dear reader, this is no database at all, but a letter.")
    answer = cli("store", "check", "--store", path)
    assert (answer.code, answer.out) == (3, "")
    assert "letter.db" in answer.err
    assert path.read_text().startswith("Dear reader")


def test_backup_is_a_store_with_the_same_runs(cli: Cli, store: Path, tmp_path: Path):
    copy = tmp_path / "copy.db"
    assert cli("store", "backup", copy).out == f"{copy}\n"
    listed = cli("runs", "ls").out
    assert cli("runs", "ls", "--store", copy).out == listed


def test_backup_overwrites_nothing(cli: Cli, store: Path, tmp_path: Path):
    (tmp_path / "copy.db").write_text("precious")
    assert cli("store", "backup", "copy.db").code == 3
    assert (tmp_path / "copy.db").read_text() == "precious"


def test_upgrade_of_a_store_that_is_up_to_date_says_so(cli: Cli, store: Path):
    answer = cli("store", "upgrade")
    assert (answer.code, answer.out) == (0, "")
    assert "up to date" in answer.err


def test_upgrade_makes_no_store(cli: Cli, tmp_path: Path):
    assert cli("store", "upgrade", "--store", tmp_path / "none.db").code == 3
    assert not (tmp_path / "none.db").exists()


def test_merge_takes_in_the_runs_of_another_store(cli: Cli, store: Path, tmp_path: Path):
    target = tmp_path / "all.db"
    taken = cli("store", "merge", store, "--store", target)
    assert taken.code == 0
    listed = cli("export", "epochs").out
    assert cli("export", "epochs", "--store", target).out == listed
    assert taken.out.splitlines() == list(dict.fromkeys(line.split(",")[0] for line in listed.splitlines()[1:]))
    shutil.copy(store, "same.db")
    again = cli("store", "merge", store, "same.db", "--store", target)
    assert (again.code, again.out) == (0, "")
    assert [line.split(" new, 0 replaced")[0] for line in again.err.splitlines()] == [
        f"ncdiag: note: {name}: 0" for name in (store, "same.db")
    ]


def test_merge_refuses_the_store_itself_and_one_that_is_not_there(cli: Cli, store: Path):
    assert cli("store", "merge", store).code == 2
    missing = cli("store", "merge", "gone.db")
    assert missing.code == 3
    assert "no store at gone.db" in missing.err


def test_merge_takes_nothing_where_one_of_the_stores_cannot_be_read(cli: Cli, store: Path, tmp_path: Path):
    shutil.copyfile(store, tmp_path / "other.db")
    answer = cli("store", "merge", tmp_path / "other.db", tmp_path / "nowhere.db", "--store", tmp_path / "new.db")
    assert (answer.code, answer.out) == (3, "")
    assert "nowhere.db" in answer.err
    assert not (tmp_path / "new.db").exists()


@pytest.mark.parametrize(
    "arguments", [("runs", "ls", "--store", "/"), ("store", "check", "--store", "//"), ("store", "backup", ".")]
)
def test_a_folder_is_no_store(cli: Cli, store: Path, arguments: tuple[str, ...]):
    answer = cli(*arguments)
    assert (answer.code, answer.out) == (3, "")
    assert "is a folder; expected the path of a file" in answer.err


def test_repair_makes_a_new_store_and_says_what_was_saved(store: Path, cli: Cli):
    before = store.read_bytes()
    answer = cli("store", "repair", store, "-o", "saved.db")
    assert (answer.code, answer.out) == (0, "saved.db\n")
    assert answer.err == f"ncdiag: note: 5 runs and 68 epochs saved from {store}, which is unchanged\n"
    assert store.read_bytes() == before
    assert cli("export", "--store", "saved.db").out == cli("export").out


def test_repair_says_what_is_missing(store: Path, cli: Cli):
    spec = small_spec(phases=(PhaseSpec.parse("ce:150"),), eval_every=10)
    with closing(sqlite3.connect(store)) as connection:
        config = canonical_json(spec.to_dict())
        connection.execute("UPDATE runs SET origin = 'trained', config = ? WHERE id = 1", (config,))
        connection.execute("DELETE FROM epochs WHERE run_id = 1 AND epoch = 20")
        connection.commit()
    answer = cli("store", "repair", store, "-o", "saved.db")
    assert answer.code == 0
    assert "warning: 1 run lacks up to 1 epoch: deep-0; the command that trained them fills the gaps" in answer.err


def test_repair_of_a_healthy_name_overwrites_nothing(store: Path, cli: Cli):
    for target, code in ((store, 3), ("a/saved.db", 3)):
        assert cli("store", "repair", store, "-o", target).code == code
    assert cli("store", "repair", "missing.db", "-o", "saved.db").code == 3
    assert cli("store", "repair", store).code == 2
