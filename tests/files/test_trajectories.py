import gzip
import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ncdiag.domain.defaults import complete_spec
from ncdiag.domain.importing.settings import parse_maps, parse_sets
from ncdiag.domain.other_settings import other_settings
from ncdiag.domain.records import EpochRecord, ImportedRun
from ncdiag.domain.spec import PhaseSpec
from ncdiag.errors import DataError, NCDiagError, SpecError
from ncdiag.files.trajectories import Settings, read_file, read_manifest

GOOD = "epoch,nc1,feature_norm\n10,0.5,2\n20,0.25,1\n"
MANIFEST = "file,arch,depth,seed,phase1_loss,phase1_epochs,phase2_loss,note\n"


def asked(*, maps: str | None = None, sets: tuple[str, ...] = (), **other: object) -> Settings:
    return Settings(maps=parse_maps([maps] if maps else []), sets=parse_sets(sets), **other)  # type: ignore[arg-type]


def read(text: str | bytes, label: str = "log.csv", **asked_for: object) -> list[ImportedRun]:
    content = text if isinstance(text, bytes) else text.encode()
    return read_file(label, content, asked(**asked_for))[0]  # type: ignore[arg-type]


@pytest.fixture
def write(tmp_path: Path):
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text, newline="")
        return path

    return write


def test_a_file_is_a_run_of_its_name():
    assert read(GOOD, sets=("arch=mlp", "depth=5", "lab=zurich")) == [
        ImportedRun(
            name="log",
            config={"arch": "mlp", "depth": 5, "lab": "zurich"},
            epochs=(
                EpochRecord(epoch=10, nc1=0.5, feature_norm=2.0),
                EpochRecord(epoch=20, nc1=0.25, feature_norm=1.0),
            ),
            source="log.csv",
        )
    ]


@pytest.mark.parametrize(
    "content",
    [GOOD.encode("utf-8-sig"), GOOD.replace("\n", "\r\n").encode(), GOOD.replace("10,", '"10",').encode()],
    ids=["byte order mark", "CRLF", "quotes"],
)
def test_spreadsheets_may_write_it_their_way(content: bytes):
    assert read(content) == read(GOOD)


def test_a_column_run_makes_several_runs():
    runs = read("run,epoch,nc1\na,1,0.5\nb,1,0.6\na,2,0.4\n", sets=("arch=mlp", "b:depth=7"))
    assert [(run.name, dict(run.config), len(run.epochs)) for run in runs] == [
        ("a", {"arch": "mlp"}, 2),
        ("b", {"arch": "mlp", "depth": 7}, 1),
    ]


def test_a_numbered_name_belongs_to_this_store_and_is_kept_in_the_source():
    """run-7 of another store is not run-7 of this one."""
    named = read("run,epoch,nc1\nrun-7,1,0.5\n")[0]
    assert named.name is None
    assert named.source == "log.csv (run-7)"
    assert read("run,epoch,nc1\nrun-7,1,0.5\n", prefix="old-")[0].name == "old-run-7"


def test_a_name_is_given_for_a_file_whose_own_cannot_be_used():
    with pytest.raises(SpecError, match="give the run a name with --name"):
        read(GOOD, label="my log.csv")
    assert read_file("my log.csv", GOOD.encode(), asked(), name="mine")[0][0].name == "mine"


def test_one_name_is_not_for_several_runs():
    with pytest.raises(SpecError, match=r"--name names one run, but log\.csv holds 2"):
        read_file("log.csv", b"run,epoch,nc1\na,1,0.5\nb,1,0.6\n", asked(), name="mine")


def test_the_first_five_lines_that_cannot_be_read_are_named_and_all_are_counted():
    text = "epoch,nc1\n" + "".join(f"{epoch},x{epoch}\n" for epoch in range(1, 8)) + "9,0.5\n"
    with pytest.raises(DataError) as error:
        read(text)
    assert str(error.value).splitlines() == [
        "7 lines of log.csv cannot be imported; nothing was stored",
        "; ".join(f"line {epoch + 1}: nc1: 'x{epoch}' is not a number" for epoch in range(1, 6)) + "; and 2 more",
        "correct the file and import it again",
    ]


def test_what_is_not_utf_8_is_named_with_its_line():
    with pytest.raises(DataError, match="line 3: byte 0xe9 is not UTF-8"):
        read("epoch,nc1,note\n1,0.5,a\n2,0.5,café\n".encode("latin-1"))


def test_a_packed_file_with_another_name_is_told_from_text_in_another_encoding():
    with pytest.raises(DataError, match=r"packed by gzip; unpack it, or give the file a name that ends in \.gz"):
        read(gzip.compress(b"epoch,nc1\n1,0.5\n"))


def test_a_store_is_not_taken_for_text():
    released = Path(__file__).parents[1] / "store" / "released" / "0001.db"
    with pytest.raises(DataError, match="this is a database; `ncdiag store merge` takes in the runs"):
        read(released.read_bytes())


def test_a_misspelt_column_is_an_error_that_says_the_map():
    with pytest.raises(DataError, match=r"'feat_norm' looks like feature_norm.*\n.*--map feature_norm=feat_norm"):
        read("epoch,nc1,feat_norm\n1,0.5,2\n")
    assert read("epoch,nc1,feat_norm\n1,0.5,2\n", ignore_extra=True)[0].epochs == (EpochRecord(epoch=1, nc1=0.5),)


def test_a_column_of_its_own_meaning_is_left_out_with_a_note():
    _, notes = read_file("log.csv", b"epoch,phase,nc1,gpu\n1,1,0.5,3\n", asked())
    assert notes == ["column 'gpu' of log.csv is left out; see --map"]


def test_a_setting_among_the_columns_is_left_out_with_the_way_to_say_it():
    _, notes = read_file("log.csv", b"epoch,phase,nc1,seed\n1,1,0.5,3\n", asked())
    assert notes == ["column 'seed' of log.csv is left out; what a run was is said by --manifest or --set"]


def test_a_setting_among_the_columns_that_is_said_elsewhere_is_no_loss(write):
    log = b"run,epoch,phase,nc1,seed,smoothing\na,1,1,0.5,3,0.1\nb,1,1,0.6,4,0.1\n"
    whole = write("whole.csv", "run,seed,smoothing\na,3,0.1\nb,4,0.1\n")
    assert read_file("log.csv", log, asked(), manifest=whole)[1] == []
    partial = write("partial.csv", "run,seed,smoothing\na,3,0.1\nb,,0.1\n")  # the seed of b is said nowhere
    (note,) = read_file("log.csv", log, asked(), manifest=partial)[1]
    assert note.startswith("column 'seed' of log.csv is left out")
    assert read_file("log.csv", log, asked(sets=("b:seed=4",)), manifest=partial)[1] == []


def test_what_an_epoch_0_is_taken_for_is_said():
    rows = b"run,epoch,phase,nc1\na,0,1,0.5\na,1,1,0.4\nb,1,1,0.6\n"
    runs, notes = read_file("log.csv", rows, asked())
    assert [run.epochs[0].epoch for run in runs] == [0, 1]
    assert notes == [
        "epoch 0 of a is taken as before training; "
        "where it is the first that was trained, add 1 to the epochs of the file, and import that"
    ]


def test_a_column_that_the_map_names_has_to_be_there():
    with pytest.raises(SpecError, match=r"no column 'feat_nrm' in log.csv \(did you mean feat_norm\?\)"):
        read("epoch,nc1,feat_norm\n1,0.5,2\n", maps="feature_norm=feat_nrm", ignore_extra=True)


def test_a_setting_that_cannot_be_read_is_not_blamed_on_the_file():
    with pytest.raises(SpecError, match="--set depth: 'five' is not a number"):
        asked(sets=("depth=five",))
    with pytest.raises(SpecError, match="--set: 'dept' looks like depth"):
        asked(sets=("dept=5",))


def test_a_pattern_that_fits_no_file_and_no_run_is_refused():
    with pytest.raises(SpecError, match="--set: no file or run here fits 'other'"):
        read(GOOD, sets=("other:depth=5",))


def test_a_manifest_describes_its_files(write):
    write("a.csv", "epoch,phase,nc1\n100,1,0.5\n300,2,0.1\n")
    write("b_7.csv", "epoch,phase,nc1\n100,1,0.4\n")
    manifest = write("runs.csv", MANIFEST + "a.csv,mlp,5,0,ce,200,mse,\nb_7.csv,mlp,7,1,ce,200,mse,stopped early\n")
    (a, b), notes = read_manifest(manifest, asked())
    assert notes == []
    plan = {"phase1_loss": "ce", "phase1_epochs": 200, "phase2_loss": "mse", "phases": "ce:200,mse"}
    assert (a.name, dict(a.config)) == ("a", {"arch": "mlp", "depth": 5, "seed": 0, **plan})
    assert (b.name, dict(b.config)) == ("b_7", {"arch": "mlp", "depth": 7, "seed": 1, "note": "stopped early", **plan})
    assert [(record.phase, record.loss) for record in a.epochs] == [(1, "ce"), (2, "mse")]


def test_a_packed_file_of_a_manifest_goes_by_the_name_it_has_unpacked(write):
    (write("log.csv", "").with_name("log.csv.gz")).write_bytes(gzip.compress(b"epoch,nc1,score\n1,0.5,2\n"))
    manifest = write("runs.csv", "file\nlog.csv.gz\n")
    ((run,), _) = read_manifest(manifest, asked(maps="log:feature_norm=score", sets=("log:depth=3",)))
    assert (run.name, run.config["depth"], run.epochs[0].feature_norm) == ("log", 3, 2)


def test_how_a_run_ended_is_no_setting_of_it(write):
    """Nor is how a store kept it: runs of one condition that ended differently stay of one condition."""
    for name in ("a", "b", "c"):
        write(f"{name}.csv", "epoch,nc1\n1,0.5\n")
    rows = "a.csv,mlp,diverged,nan,3.5\nb.csv,mlp,,,4\nc.csv,mlp,done,,5\n"
    manifest = write("runs.csv", f"file,arch,status,reason,seconds\n{rows}")
    runs, _ = read_manifest(manifest, asked(sets=("c:status=failed",)))
    assert [(run.status, run.reason) for run in runs] == [("diverged", "nan"), ("done", None), ("failed", None)]
    assert {other_settings(run.config) for run in runs} == {None}
    with pytest.raises(DataError, match="line 2: status: 'crashed' is none of"):
        read_manifest(write("runs.csv", "file,status\na.csv,crashed\n"), asked())
    with pytest.raises(SpecError, match="--set status: 'crashed' is none of"):
        asked(sets=("status=crashed",))


def test_without_a_phase_column_the_manifest_is_believed_for_the_first_phase_only(write):
    write("a.csv", "epoch,nc1\n100,0.5\n300,0.1\n")
    manifest = write("runs.csv", MANIFEST + "a.csv,mlp,5,0,ce,200,mse,\n")
    (run,), notes = read_manifest(manifest, asked())
    assert [(record.phase, record.loss) for record in run.epochs] == [(1, "ce"), (None, None)]
    assert "phases" not in run.config
    assert notes == [
        "rows without a phase in a; where it is known, say it: --set 'a:phases=ce:200,mse'",
    ]
    (run,), notes = read_manifest(manifest, asked(sets=("a:phases=ce:200,mse",)))
    assert [(record.phase, record.loss) for record in run.epochs] == [(1, "ce"), (2, "mse")]
    assert notes == []


def test_the_most_specific_description_wins(write):
    write("a.csv", GOOD)
    write("b.csv", GOOD.replace("0.5", "0.6"))
    manifest = write("runs.csv", "file,depth,arch\na.csv,5,\nb.csv,,mlp\n")
    runs, _ = read_manifest(manifest, asked(sets=("depth=3", "arch=cnn", "a*:depth=9", "b.csv:arch=")))
    assert [dict(run.config) for run in runs] == [{"depth": 9, "arch": "cnn"}, {"depth": 3}]


def test_a_map_can_be_for_some_files(write):
    write("a.csv", "epoch,nc1,nc2\n1,0.5,0.2\n")
    write("b.csv", "epoch,nc1,nc2\n1,0.5,0.3\n")
    manifest = write("runs.csv", "file\na.csv\nb.csv\n")
    (a, b), notes = read_manifest(manifest, asked(maps="nc2_equiangular=nc2,b:nc2_equiangular="))
    assert a.epochs[0].nc2_equiangular == 0.2
    assert b.epochs[0].nc2_equiangular is None
    assert notes[0] == "column 'nc2' of b.csv is left out; see --map"


def test_a_mapped_column_may_be_missing_from_some_files_of_a_manifest(write):
    write("a.csv", "epoch,phase,nc1,test\n1,1,0.5,0.9\n")
    write("b.csv", "epoch,phase,nc1\n1,1,0.5\n")
    manifest = write("runs.csv", "file,seed\na.csv,0\nb.csv,1\n")
    runs, notes = read_manifest(manifest, asked(maps="test_accuracy=test"))
    assert [run.epochs[0].test_accuracy for run in runs] == [0.9, None]
    assert notes == ["no column 'test' in b.csv"]
    with pytest.raises(SpecError, match=r"--map: no column 'tset' in a.csv, b.csv \(did you mean test\?\)"):
        read_manifest(manifest, asked(maps="test_accuracy=tset"))


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("nope.csv,mlp", "cannot read 'nope.csv': No such file or directory"),
        (".,mlp", "cannot read '.': Is a directory"),
        (",mlp", "no file"),
        ("a.csv,mlp", "file 'a.csv' twice"),
        ("two.csv,mlp\nother/two.csv,mlp", "run 'two' twice"),
        ("my log.csv,mlp", "'my log' is no name for a run"),
    ],
)
def test_what_is_wrong_with_a_manifest_is_named_with_its_line(write, tmp_path: Path, row: str, what: str):
    (tmp_path / "other").mkdir()
    for name in ("a.csv", "two.csv", "other/two.csv", "my log.csv"):
        write(name, GOOD)
    manifest = write("runs.csv", f"file,arch\na.csv,mlp\n{row}\n")
    line = 2 + len(row.splitlines())
    with pytest.raises(DataError, match=re.escape(f"line {line}: {what}")):
        read_manifest(manifest, asked())


def test_faults_of_several_files_are_named_with_the_file(write):
    write("a.csv", "epoch,nc1\n1,x\n")
    write("b.csv", "epoch,nc1\n1\n")
    manifest = write("runs.csv", "file,depth\na.csv,5\nb.csv,five\n")
    with pytest.raises(DataError) as error:
        read_manifest(manifest, asked())
    assert str(error.value).splitlines()[:2] == [
        "2 lines of a.csv, b.csv cannot be imported; nothing was stored",
        "a.csv line 2: nc1: 'x' is not a number; b.csv line 2: 1 cells where the header has 2",
    ]


def test_a_manifest_can_name_its_runs_and_a_prefix_goes_before_every_name(write):
    write("a.csv", GOOD)
    manifest = write("runs.csv", "file,name\na.csv,first\n")
    assert read_manifest(manifest, asked(prefix="lab-"))[0][0].name == "lab-first"


def test_a_misspelt_column_of_a_manifest_is_named(write):
    write("a.csv", GOOD)
    manifest = write("runs.csv", "file,dept\na.csv,5\n")
    with pytest.raises(DataError, match="line 1: column 'dept' looks like depth"):
        read_manifest(manifest, asked())
    assert dict(read_manifest(manifest, asked(ignore_extra=True))[0][0].config) == {"dept": 5}


def test_a_manifest_describes_the_runs_of_one_file(write):
    manifest = write("runs.csv", "run,arch,depth\na,mlp,5\nb,mlp,7\nc,mlp,9\n")
    content = b"run,epoch,nc1\nb,1,0.5\na,1,0.6\n"
    runs, _ = read_file("epochs.csv", content, asked(), manifest=manifest)
    assert [(run.name, run.config["depth"]) for run in runs] == [("b", 7), ("a", 5)]
    with pytest.raises(SpecError, match=r"runs\.csv has no row for run 'd'"):
        read_file("epochs.csv", b"run,epoch,nc1\nd,1,0.5\n", asked(), manifest=manifest)
    ((renamed,), _) = read_file("epochs.csv", b"run,epoch,nc1\nb,1,0.5\n", asked(), manifest=manifest, name="mine")
    assert (renamed.name, renamed.config["depth"]) == ("mine", 7)
    with pytest.raises(SpecError, match=r"runs\.csv has no row for run 'log'"):
        read_file("log.csv", GOOD.encode(), asked(), manifest=manifest)


@pytest.mark.parametrize(("row", "what"), [(",mlp,7", "no name of a run"), ("a,mlp,7", "run 'a' twice")])
def test_a_manifest_of_one_file_names_every_run_once(write, row: str, what: str):
    manifest = write("runs.csv", f"run,arch,depth\na,mlp,5\n{row}\n")
    with pytest.raises(DataError, match=f"of runs.csv cannot be imported; nothing was stored\nline 3: {what}"):
        read_file("a.csv", GOOD.encode(), asked(), manifest=manifest)


@pytest.mark.parametrize(("more", "kept"), [({}, True), ({"maps": "nc1="}, False), ({"sets": ("note=other",)}, False)])
def test_a_run_that_ncdiag_trained_is_the_same_run_unless_something_else_is_said_of_it(write, more, kept):
    spec = complete_spec({"phases": (PhaseSpec.parse("mse:20"),)})
    row = {"run": "a", "key": spec.key, "origin": "trained", "config": spec.to_dict(), "status": "dead", "reason": "0"}
    manifest = write("runs.jsonl", json.dumps(row))
    ((run,), _) = read_file("a.csv", b"epoch,nc1,nc3\n1,0.5,1\n2,0.4,1\n", asked(**more), manifest=manifest)
    assert (run.spec, run.status, run.reason) == (spec if kept else None, "dead", "0")


def test_a_manifest_that_is_not_there_is_said(tmp_path: Path):
    with pytest.raises(DataError, match="cannot read the manifest"):
        read_manifest(tmp_path / "nope.csv", asked())


def test_a_manifest_without_a_file_column_is_said(write):
    with pytest.raises(DataError, match="no column file among 'name', 'arch'"):
        read_manifest(write("runs.csv", "name,arch\na,mlp\n"), asked())


def check_answer(content: bytes, **asked_for: object) -> None:
    """A file is read, or refused by an error of ours in at most three lines; anything else is a crash."""
    refused: NCDiagError | None = None
    runs: list[ImportedRun] = []
    try:
        runs, _ = read_file("log.csv", content, asked(**asked_for))  # type: ignore[arg-type]
    except NCDiagError as error:
        refused = error
    assert refused is None or (refused.exit_code == 2 and len(str(refused).splitlines()) <= 3)
    assert (refused is None) == bool(runs)


@given(st.binary(max_size=200))
def test_no_bytes_make_it_crash(content: bytes):
    check_answer(content)


spoilt = st.lists(
    st.tuples(
        st.integers(0, 60),
        st.integers(0, 6),
        st.sampled_from(
            [
                "",
                ",",
                '"',
                "\r",
                "\n",
                "\0",
                "1e999",
                "nan",
                "-inf",
                ";",
                "é",
                "\ud800",
                "9" * 40,
                "x;--",
                "\u2028",
                "}",
            ]
        ),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=300)
@given(
    spoilt,
    st.sampled_from(
        [
            "run,epoch,phase,loss,nc1,feat_norm\na,1,1,ce,0.5,2\na,2,1,ce,,1\nb,1,2,mse,nan,inf\n",
            '{"run": "a", "epoch": 1, "nc1": null, "nonfinite": {"nc1": "nan"}}\n{"epoch": 2, "nc1": 0.5}\n',
        ]
    ),
)
def test_no_spoilt_file_makes_it_crash(changes: list[tuple[int, int, str]], text: str):
    for at, length, instead in changes:
        text = text[:at] + instead + text[at + length :]
    check_answer(text.encode("utf-8", "surrogatepass"), maps="feature_norm=feat_norm", ignore_extra=True)
