"""What is saved from damaged files. Each page of a store is ruined in turn, whatever it holds."""

import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from recorded import append, sweeps_of

from ncdiag.domain.records import EpochRecord, ImportedRun
from ncdiag.errors import StoreError
from ncdiag.store import salvage as salvaging
from ncdiag.store.engine import open_store
from ncdiag.store.epochs import list_epochs
from ncdiag.store.imports import import_runs
from ncdiag.store.leases import hold_lease
from ncdiag.store.maintenance import check_store
from ncdiag.store.runs import claim_run, finish_run, list_runs
from ncdiag.store.salvage import salvage
from ncdiag.store.sweeps import plan_sweep

PAGE = 4096
TRAINED, EPOCHS, IMPORTED = 12, 60, 10


@pytest.fixture(scope="module")
def sound(tmp_path_factory, make_spec, record):
    """A store on several pages: a sweep, trained as planned, and a run that was imported."""
    path = tmp_path_factory.mktemp("sound") / "sound.db"
    with open_store(str(path), write=True) as store:
        runs = plan_sweep(store, specs=[make_spec(seed=seed) for seed in range(TRAINED)])
        for run in runs:
            with hold_lease(store, run.id, "me"):
                claim_run(store, run.id, owner="me", device="cpu", environment={"note": "x" * 300})
                append(store, run, *(record(epoch) for epoch in range(1, EPOCHS + 1)), owner="me")
                finish_run(store, run.id, owner="me", status="done")
        epochs = tuple(EpochRecord(epoch=10 * n, nc1=1 / n) for n in range(1, IMPORTED + 1))
        import_runs(store, [ImportedRun(name="foreign", config={"arch": "mlp"}, epochs=epochs, source="a.csv")])
    return path


@pytest.fixture
def damaged(sound, folder):
    """A copy of that store, to be damaged."""
    return Path(shutil.copy(sound, folder / "damaged.db"))


def table(path, name):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall()


def ruin(path, page, content):
    with path.open("r+b") as file:
        file.seek(page * PAGE)
        file.write(content)


def root_page(path, name):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()[0] - 1


TABLES = ("runs", "epochs", "interventions", "sweeps", "sweep_points")


@pytest.mark.parametrize("before", ["", "VACUUM"])  # which moves the tables to other pages than a new store has them on
def test_all_of_a_sound_store_is_saved(damaged, folder, before):
    with closing(sqlite3.connect(damaged)) as connection:
        connection.execute(before)
    new = folder / "new.db"
    saved = salvage(damaged, new)
    assert (saved.runs, saved.epochs) == (TRAINED + 1, TRAINED * EPOCHS + IMPORTED)
    assert (saved.runs_lost, saved.epochs_lost, saved.incomplete) == (0, 0, ())
    assert [table(new, name) for name in TABLES] == [table(damaged, name) for name in TABLES]


@pytest.mark.parametrize("header", [b"\xff" * 100, bytes(100), bytes(range(256)) * 16], ids=["ff", "zeros", "page"])
def test_nothing_is_lost_with_the_header_or_the_first_page(damaged, sound, folder, header):
    ruin(damaged, 0, header)
    before = damaged.read_bytes()
    salvage(damaged, folder / "new.db")
    assert [table(folder / "new.db", name) for name in TABLES] == [table(sound, name) for name in TABLES]
    assert damaged.read_bytes() == before


@pytest.mark.parametrize("kind", ["random", "zeros"])
def test_whatever_page_is_ruined_the_rest_is_saved_and_the_losses_are_counted(damaged, folder, kind):
    content = damaged.read_bytes()
    rows = {name: set(table(damaged, name)) for name in ("epochs", "interventions", "sweep_points")}
    keys = {row[0]: row[2] for row in table(damaged, "runs")}
    roots = {root_page(damaged, name) for name in ("runs", "epochs")}
    worst, lacking = 0, set()
    for page in range(len(content) // PAGE):
        ruin(damaged, page, bytes(PAGE) if kind == "zeros" else random.Random(page).randbytes(PAGE))
        new = folder / f"{page}.db"
        try:
            saved = salvage(damaged, new)
        except StoreError:
            assert page in roots
        else:
            found = {name: set(table(new, name)) for name in rows}
            assert all(found[name] <= rows[name] for name in rows)  # nothing is made up
            runs = table(new, "runs")
            assert {status for _, _, _, origin, status, *_ in runs if origin == "imported"} <= {"done"}
            there = {row[0]: row[2] for row in runs}
            assert there.items() <= keys.items()
            lost_runs = keys.keys() - there.keys()
            lost = sum(row[0] not in lost_runs for row in rows["epochs"] - found["epochs"])
            assert saved.runs_lost == len(lost_runs) + (1 in lost_runs)  # 0 would lie beside 1; no run is called so
            assert saved.epochs_lost >= lost
            assert (saved.runs, saved.epochs) == (len(there), len(found["epochs"]))
            assert check_store(str(new)) == [] or lost
            lacking |= {*saved.incomplete}
            if page not in roots:
                worst = max(worst, len(lost_runs) * EPOCHS + lost)
        ruin(damaged, page, content[page * PAGE : (page + 1) * PAGE])
    assert damaged.read_bytes() == content
    assert worst < 0.6 * TRAINED * EPOCHS
    assert {"run-1", "foreign"} <= lacking


def test_a_truncated_store_gives_what_is_left(damaged, folder):
    content = damaged.read_bytes()
    damaged.write_bytes(content[: len(content) // 2])
    saved = salvage(damaged, folder / "new.db")
    assert 0 < saved.runs <= TRAINED + 1
    assert saved.runs_lost or saved.epochs_lost
    assert check_store(str(folder / "new.db")) == [] or saved.incomplete


def test_a_run_that_lacks_epochs_or_was_being_trained_can_be_continued(damaged, folder):
    with closing(sqlite3.connect(damaged)) as connection:
        connection.execute("DELETE FROM epochs WHERE run_id = 3 AND epoch IN (7, 60)")
        connection.execute("UPDATE epochs SET epoch = 0 WHERE run_id = 8 AND epoch = 30")  # as many rows, not the same
        connection.execute("UPDATE runs SET status = 'diverged' WHERE id IN (7, 8)")
        # 13 is not trained by ncdiag: a script that tracks it was killed
        connection.execute("UPDATE runs SET status = 'running', owner = 'x' WHERE id IN (5, 13)")
        connection.commit()
    saved = salvage(damaged, folder / "new.db")
    assert (saved.incomplete, saved.epochs_lost) == (("run-3", "run-8"), 3)
    with open_store(str(folder / "new.db")) as store:
        stands = {run.id: (run.status, run.epochs_done) for run in list_runs(store)}
    assert (stands.pop(3), stands.pop(5)) == (("interrupted", 59), ("interrupted", 60))
    assert (stands.pop(7), stands.pop(8)) == (("diverged", 60), ("interrupted", 60))
    assert stands.pop(13) == ("interrupted", 100)
    assert {status for status, _ in stands.values()} == {"done"}


@pytest.mark.parametrize("config", ["no JSON", "[]", "{}", '{"depth": 0}', "replace"])
def test_a_configuration_that_cannot_be_read_keeps_nothing_from_being_saved(damaged, folder, config):
    with closing(sqlite3.connect(damaged)) as connection:
        before = connection.execute("SELECT config FROM runs WHERE id = 3").fetchone()[0]
        spoilt = before.replace('"batch_size":', '"batch_size":-') if config == "replace" else config
        connection.execute("UPDATE runs SET config = ? WHERE id = 3", (spoilt,))
        connection.commit()
    saved = salvage(damaged, folder / "new.db")
    assert (saved.runs, saved.epochs, saved.incomplete) == (TRAINED + 1, TRAINED * EPOCHS + IMPORTED, ())
    for name in TABLES:
        assert table(folder / "new.db", name) == table(damaged, name)


def test_what_is_no_number_or_time_is_left_out_and_counted(damaged, folder):
    """SQLite takes a text in any column; nobody could read the rows that have one, in the new store neither."""
    with closing(sqlite3.connect(damaged)) as connection:
        connection.execute("UPDATE epochs SET nc1 = 'abc', feature_norm = x'00' WHERE run_id = 1 AND epoch = 5")
        connection.execute("UPDATE epochs SET lr = 'fast' WHERE run_id = ? AND epoch = 10", (TRAINED + 1,))
        connection.execute("UPDATE runs SET created_at = 'yesterday', width = 'wide' WHERE id = 2")
        connection.commit()
    new = folder / "new.db"
    saved = salvage(damaged, new)
    assert (saved.epochs, saved.epochs_lost, saved.blanked) == (TRAINED * EPOCHS + IMPORTED - 2, 2, 2)
    assert saved.incomplete == ("run-1", "foreign")
    assert check_store(str(new)) == ["run-1 lacks the epochs 5"]
    with open_store(str(new)) as store:
        first, second, *_ = list_runs(store)
        assert first.status == "interrupted"
        assert 5 not in [row.epoch for row in list_epochs(store, first.id)]
        assert second.created_at.year > 2000
    assert len(table(new, "runs")) == TRAINED + 1


def test_a_sweep_is_saved_with_its_points(damaged, folder):
    salvage(damaged, folder / "new.db")
    with open_store(str(folder / "new.db")) as store:
        assert sweeps_of(store) == {"sweep-1": tuple(range(1, TRAINED + 1))}
        assert list_epochs(store, 13)[0] == EpochRecord(epoch=10, nc1=1.0)


def test_what_a_killed_writer_had_half_written_is_undone_in_what_is_saved(damaged, folder, kill_a_writer):
    before = {name: table(damaged, name) for name in TABLES}
    kill_a_writer(damaged)
    halfway = damaged.read_bytes()
    salvage(damaged, folder / "new.db")
    assert {name: table(folder / "new.db", name) for name in TABLES} == before
    assert damaged.read_bytes() == halfway
    assert list(folder.glob("new.db.*")) == []


def test_what_is_in_a_write_ahead_log_only_is_saved_too(damaged, folder):
    with closing(sqlite3.connect(damaged, isolation_level=None)) as writer:
        assert writer.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
        writer.execute("UPDATE runs SET name = 'logged' WHERE id = 3")
        assert b"logged" not in damaged.read_bytes()
        salvage(damaged, folder / "new.db")
    assert [row[1] for row in table(folder / "new.db", "runs") if row[0] == 3] == ["logged"]
    assert list(folder.glob("new.db.*")) == []


def test_what_a_killed_repair_left_is_in_nobodys_way(damaged, folder):
    for name in ("new.db.partial", "new.db.partial-journal", "new.db.damaged-copy", "new.db.damaged-copy-journal"):
        (folder / name).write_bytes(b"x" * 5000)
    assert salvage(damaged, folder / "new.db").runs == TRAINED + 1
    assert list(folder.glob("new.db.*")) == []


def test_of_two_repairs_to_one_name_the_first_is_made(damaged, folder, monkeypatch):
    refused: list[str] = []

    def repair_too(copy, store):
        with pytest.raises(StoreError) as error:
            salvage(damaged, folder / "new.db")
        refused.append(str(error.value))
        return copy_rows(copy, store)

    copy_rows = salvaging._copy_rows
    monkeypatch.setattr(salvaging, "_copy_rows", repair_too)
    assert salvage(damaged, folder / "new.db").runs == TRAINED + 1
    assert refused == [f"{folder / 'new.db'} is being made by another process. Wait for it, or give another name"]
    assert check_store(str(folder / "new.db")) == []
    assert list(folder.glob("new.db.*")) == []


def test_what_cannot_be_repaired_is_said_and_nothing_is_made(damaged, folder):
    with pytest.raises(StoreError, match="there is no file"):
        salvage(folder / "missing.db", folder / "new.db")
    with pytest.raises(StoreError, match="exists already and is not overwritten"):
        salvage(damaged, damaged)
    with pytest.raises(StoreError, match="its folder does not exist"):
        salvage(damaged, folder / "a" / "new.db")
    for content in (b"", b"not a store at all" * 1000):
        damaged.write_bytes(content)
        with pytest.raises(StoreError, match=r"no run can be read.*no new store was made"):
            salvage(damaged, folder / "new.db")
    assert [path.name for path in folder.iterdir() if not path.name.endswith(".runs")] == ["damaged.db"]
