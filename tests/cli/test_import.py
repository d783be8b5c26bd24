import csv
import os
import subprocess
from pathlib import Path

import pytest
from clihelp import PYTHON, ROOT, Cli

from ncdiag.store.engine import open_store
from ncdiag.store.frames import epochs_frame, runs_frame

PUBLISHED = ROOT.parent / "shared" / "data" / "published-trajectories" / "runs.csv"
PUBLISHED_MAP = "feature_norm=feat_norm,train_accuracy=train,test_accuracy=test,nc2_equiangular=nc2"
needs_published = pytest.mark.skipif(not PUBLISHED.is_file(), reason="the published trajectories are not here")


@pytest.fixture
def folder(here: Path) -> Path:
    return here


def test_import_prints_the_names_and_says_how_much_it_was(folder: Path, cli: Cli):
    (folder / "log.csv").write_text("run,epoch,phase,nc1\na,1,1,0.5\nb,1,1,0.6\na,2,1,0.4\n")
    answer = cli("import", "log.csv", "--set", "arch=mlp")
    assert (answer.code, answer.out) == (0, "a\nb\n")
    assert answer.err == "ncdiag: note: 2 runs and 3 epochs imported to ncdiag.db\n"


def test_the_same_import_again_changes_nothing(folder: Path, cli: Cli):
    (folder / "log.csv").write_text("epoch,phase,nc1\n1,1,0.5\n")
    cli("import", "log.csv")
    before = (folder / "ncdiag.db").read_bytes()
    answer = cli("import", "log.csv")
    assert (answer.code, answer.out) == (0, "log\n")
    assert "1 run with the same content had been imported before" in answer.err
    assert (folder / "ncdiag.db").read_bytes() == before


def test_runs_with_the_same_content_are_one_run_and_that_is_said(folder: Path, cli: Cli):
    (folder / "log.csv").write_text("run,epoch,phase,nc1\na,1,1,0.5\nb,1,1,0.5\nc,1,1,0.6\n")
    answer = cli("import", "log.csv")
    assert answer.out == "a\na\nc\n"
    assert "2 runs and 2 epochs imported" in answer.err
    assert "of runs with the same content one is stored: b is a\n" in answer.err

    (folder / "again.csv").write_text("epoch,phase,nc1\n1,1,0.6\n")
    answer = cli("import", "again.csv", "--name", "mine")
    assert answer.out == "c\n"
    assert "of runs with the same content one is stored: mine is c\n" in answer.err


def test_a_name_that_is_kept_for_a_number_is_refused_where_it_was_asked_for(folder: Path, cli: Cli):
    (folder / "run-9.csv").write_text("epoch,phase,nc1\n1,1,0.5\n")
    for asked in (["--name", "run-9"], ["--name", "9", "--prefix", "run-"]):
        answer = cli("import", "run-9.csv", *asked)
        assert (answer.code, answer.out) == (2, "")
        assert "the name run-9 is kept for the run that gets this number" in answer.err
    assert cli("import", "run-9.csv").out == "run-1\n"  # as a store that this one does not know called it


def test_a_name_that_a_run_cannot_have_is_refused_before_there_is_a_store(folder: Path, cli: Cli):
    (folder / "log.csv").write_text("epoch,phase,nc1\n1,1,0.5\n")
    answer = cli("import", "log.csv", "--prefix", "x/")
    assert (answer.code, answer.out) == (2, "")
    assert "x/log" in answer.err
    assert not (folder / "ncdiag.db").exists()


def test_a_manifest_without_rows_is_refused(folder: Path, cli: Cli):
    (folder / "runs.csv").write_text("file,arch\n")
    answer = cli("import", "--manifest", "runs.csv")
    assert (answer.code, answer.out) == (2, "")
    assert "line 1: a header and no rows" in answer.err
    assert not (folder / "ncdiag.db").exists()


def test_a_bad_line_in_the_last_file_stores_nothing(folder: Path, cli: Cli):
    (folder / "a.csv").write_text("epoch,nc1\n1,0.5\n")
    (folder / "b.csv").write_text("epoch,nc1\n1,0.5\n1,0.4\n")
    (folder / "runs.csv").write_text("file\na.csv\nb.csv\n")
    answer = cli("import", "--manifest", "runs.csv")
    assert (answer.code, answer.out) == (2, "")
    assert "line 3: epoch 1 twice" in answer.err
    assert not (folder / "ncdiag.db").exists()


def test_a_name_that_another_run_has_stores_nothing(store: Path, cli: Cli):
    Path("log.csv").write_text("run,epoch,nc1\nnew,1,0.5\ndeep-0,1,0.6\n")
    answer = cli("import", "log.csv")
    assert answer.code == 2
    assert "the name deep-0 belongs to another run" in answer.err
    assert "or remove it with `ncdiag runs rm deep-0`" in answer.err
    assert cli("export", "runs", "--run", "new").code == 4
    assert cli("import", "log.csv", "--prefix", "lab-").out == "lab-new\nlab-deep-0\n"


def test_stdin_can_be_imported(folder: Path):
    command = [PYTHON, "-m", "ncdiag", "import", "-", "--name", "piped"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=folder, env=environment, input=b"epoch,nc1\n1,0.5\n", capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"piped\n")


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((), "nothing to import"),
        (("nope.csv",), "cannot read 'nope.csv': No such file or directory"),
        (("--manifest", "nope.csv"), "cannot read the manifest 'nope.csv'"),
        (("--manifest", "nope.csv", "--name", "x"), "Leave --name out"),
        (("nope.csv", "--map", "nc1"), "--map takes"),
        (("nope.csv", "--set", "depth"), "--set takes"),
    ],
)
def test_what_cannot_be_imported_is_said(folder: Path, cli: Cli, arguments: tuple[str, ...], what: str):
    answer = cli("import", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert what in answer.err
    assert not (folder / "ncdiag.db").exists()


@needs_published
def test_all_published_runs_are_imported(folder: Path, cli: Cli):
    answer = cli("import", "--manifest", PUBLISHED, "--map", PUBLISHED_MAP)
    assert answer.code == 0
    assert "38 runs and 1,898 epochs imported" in answer.err  # 1,898: wc -l of the files, less their headers
    with open_store("ncdiag.db") as opened:
        runs, epochs = runs_frame(opened).set_index("run"), epochs_frame(opened)
    rows = {path.stem: path.read_text().splitlines() for path in PUBLISHED.parent.glob("*.csv") if path != PUBLISHED}
    assert epochs.groupby("run").size().to_dict() == {name: len(lines) - 1 for name, lines in rows.items()}
    for name, lines in rows.items():
        columns = lines[0].split(",")
        mine = epochs[epochs["run"] == name]
        for theirs, ours in (
            ("feat_norm", "feature_norm"),
            ("nc1", "nc1"),
            ("nc3", "nc3"),
            ("train", "train_accuracy"),
        ):
            written = [line.split(",")[columns.index(theirs)] for line in lines[1:]]
            read = ["" if value != value else repr(value) for value in mine[ours].tolist()]  # noqa: PLR0124
            assert read == written
    assert runs.loc["depth7_s1", ["arch", "depth", "width", "dataset", "seed", "phases"]].tolist() == [
        "mlp",
        7,
        512.0,
        "mnist",
        1,
        "ce:200,mse",
    ]
    switched = epochs[epochs["run"] == "depth7_s1"]
    assert switched[switched["epoch"] > 200]["loss"].unique().tolist() == ["mse"]
    # It never left cross-entropy, although its manifest says that runs switch at 200: nothing may call it mse.
    alone = epochs[epochs["run"] == "ce_only_ablation"]
    assert alone[alone["epoch"] > 200]["loss"].isna().all()


@needs_published
def test_the_published_threshold_comes_out_of_the_published_files(folder: Path, cli: Cli):
    """The known answer of their README: 1.0516 +- 0.0655 at epochs 280 to 430."""
    cli("import", "--manifest", PUBLISHED, "--map", PUBLISHED_MAP)
    named = " or ".join(f"run={stem}" for stem in ("mnist_twophase", "depth5_s1", "depth5_s2"))
    where = f"({named} or depth=7 or weight_decay=1e-5 or weight_decay=5e-5) and dataset=mnist and arch=mlp"
    assert cli("plot", "trajectory", "--rule", "first", "--where", where, "-o", "x.png", "--data", "x.csv").code == 0
    rows = csv.DictReader(Path("x.csv").read_text().splitlines())
    onsets = {row["run"]: (float(row["fn_star"]), float(row["onset_epoch"])) for row in rows}
    norms = [norm for norm, _ in onsets.values()]
    mean = sum(norms) / 12
    deviation = (sum((norm - mean) ** 2 for norm in norms) / 11) ** 0.5
    assert len(norms) == 12
    assert (round(mean, 4), round(deviation, 4)) == (1.0516, 0.0655)
    assert (min(at for _, at in onsets.values()), max(at for _, at in onsets.values())) == (280, 430)
