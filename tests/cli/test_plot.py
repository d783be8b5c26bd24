import csv
import math
import struct
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest
from clihelp import Cli, run_ncdiag
from falling import falling, make_falling_store

from ncdiag.domain.questions import FIGURE_NAMES
from ncdiag.domain.records import EpochRecord, ImportedRun
from ncdiag.store.engine import open_store
from ncdiag.store.imports import import_runs

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def store(here: Path) -> Path:
    return make_falling_store(here / "ncdiag.db")


def size_of(png: bytes) -> tuple[int, int]:
    """Read width and height in pixels from the first chunk."""
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def test_a_figure_goes_to_a_file_of_the_kinds_name(store: Path, cli: Cli):
    answer = cli("plot", "trajectory")
    assert (answer.code, answer.out) == (0, "")
    assert answer.err == "ncdiag: note: figure of 5 runs written to trajectory.png\n"
    assert store.with_name("trajectory.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        (("-o", "f.svg"), b"<?xml"),
        (("-o", "f.pdf"), b"%PDF"),
        (("-o", "f.png"), PNG),
        (("-o", "f", "--format", "svg"), b"<?xml"),
        (("-o", "f"), PNG),
    ],
)
def test_the_format_is_the_ending_of_the_file_or_what_was_asked(
    store: Path, cli: Cli, arguments: tuple[str, ...], start: bytes
):
    assert cli("plot", "trajectory", *arguments).code == 0
    assert store.with_name(arguments[1]).read_bytes().startswith(start)


@pytest.mark.parametrize("name", ["f.pdf", "f.svg", "f.PDF"])
def test_a_file_cannot_end_in_one_format_and_be_another(store: Path, cli: Cli, name: str):
    answer = cli("plot", "trajectory", "-o", name, "--format", "png")
    assert answer.code == 2
    assert f"{name} ends in .{name[2:].lower()}, and --format says png" in answer.err
    assert not store.with_name(name).exists()


def test_a_file_that_nobody_named_ends_as_its_format(store: Path, cli: Cli):
    assert cli("plot", "trajectory", "--format", "svg").code == 0
    assert store.with_name("trajectory.svg").read_bytes().startswith(b"<?xml")
    assert not store.with_name("trajectory.png").exists()


@pytest.mark.parametrize(("width", "pixels"), [("column", 1050), ("page", 2160), ("slide", 1999)])
def test_a_figure_is_as_wide_as_its_place(store: Path, cli: Cli, width: str, pixels: int):
    """3.5 and 7.2 inches at 300 dots, 13.33 inches at 150."""
    cli("plot", "trajectory", "--width", width)
    assert size_of(store.with_name("trajectory.png").read_bytes())[0] == pixels


@pytest.mark.parametrize("form", ["svg", "pdf", "png"])
def test_the_same_store_gives_the_same_bytes(store: Path, cli: Cli, form: str):
    for name in ("one", "two"):
        cli("plot", "trajectory", "-o", f"{name}.{form}")
    assert store.with_name(f"one.{form}").read_bytes() == store.with_name(f"two.{form}").read_bytes()


def test_a_figure_goes_to_stdout_alone_and_needs_neither_display_nor_home(store: Path):
    done = run_ncdiag(
        *("plot", "trajectory", "-o", "-", "--format", "svg", "--run", "deep-0", "--store", str(store)),
        DISPLAY="",
        MPLBACKEND="no_such_backend",
        MPLCONFIGDIR="/dev/null/x",
        HOME="/dev/null",
    )
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.startswith("<?xml")
    assert done.stdout.rstrip().endswith("</svg>")


def test_the_table_behind_the_figure_can_be_had(store: Path, cli: Cli):
    answer = cli("plot", "trajectory", "--data", "-", "--run", "deep-0", "--run", "short")
    rows = list(csv.DictReader(answer.out.splitlines()))
    assert len(rows) == 12 + 8
    assert {row["condition"] for row in rows} == {"depth 5", "depth 3"}
    deep, short = rows[0], rows[-1]
    # NC1 = exp(-epoch / 20) passes 0.01 between 90 and 100, at 20 ln 100.
    assert deep["onset_state"] == "collapsed"
    assert float(deep["onset_epoch"]) == pytest.approx(92.103403719762)
    assert (deep["onset_lo"], deep["onset_hi"], deep["fn_star"]) == ("90.0", "100.0", "1.1")
    assert (short["onset_state"], short["onset_epoch"], short["fn_star"]) == ("censored", "", "")
    assert store.with_name("trajectory.png").exists()


@pytest.mark.usefixtures("store")
def test_the_onset_options_decide_the_onset(cli: Cli):
    answer = cli("plot", "trajectory", "--data", "-", "--run", "deep-0", "--rule", "first", "--eps", "0.05")
    row = next(csv.DictReader(answer.out.splitlines()))
    assert float(row["onset_epoch"]) == 60  # the first tenth after 20 ln 20 = 59.9


@pytest.mark.parametrize("kind", FIGURE_NAMES)
def test_every_kind_says_that_an_empty_store_has_nothing_to_draw(tmp_path: Path, cli: Cli, kind: str):
    path = tmp_path / "empty.db"
    with open_store(str(path), write=True):
        pass
    answer = cli("plot", kind, "--store", str(path), "-o", str(tmp_path / "f.png"))
    assert (answer.code, answer.out) == (2, "")
    assert "holds no runs yet.\n`ncdiag sweep --preset quickstart` trains some" in answer.err
    assert not (tmp_path / "f.png").exists()


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("kind", "reason", "remedy"),
    [
        ("grid", "all runs have one arch (mlp)", "ncdiag sweep --arch mlp,resnet20"),
        ("attractor", "no run had its features rescaled", "ncdiag sweep --preset intervention"),
        ("width", "all runs have one width (128)", "ncdiag analyze claims"),
        ("activation", "no run says its activation", "ncdiag analyze claims"),
        ("weight-decay", "all runs have one weight decay", "ncdiag analyze claims"),
    ],
)
def test_a_figure_that_these_runs_do_not_make_says_which_would(cli: Cli, kind: str, reason: str, remedy: str):
    answer = cli("plot", kind)
    assert answer.code == 2
    assert reason in answer.err
    assert remedy in answer.err
    assert len(answer.err.splitlines()) <= 3
    assert not Path(f"{kind}.png").exists()


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("kind", ["trajectory", "phase-portrait", "threshold", "depth"])
def test_the_data_are_those_of_the_figure(cli: Cli, kind: str):
    answer = cli("plot", kind, "--data", "-", "--where", "depth=5 or run=short or depth=3")
    rows = list(csv.DictReader(answer.out.splitlines()))
    assert {row["run"] for row in rows} == {"deep-0", "deep-1", "shallow-0", "shallow-1", "short"}
    assert Path(f"{kind}.png").read_bytes().startswith(PNG)


@pytest.mark.usefixtures("store")
def test_a_figure_and_its_table_cannot_share_a_file(cli: Cli, here: Path):
    (here / "link").symlink_to("same")
    answer = cli("plot", "threshold", "-o", "same", "--data", "link")
    assert answer.code == 2
    assert "the figure and its table cannot both go to same; give --data another file" in answer.err
    assert not (here / "same").exists()


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("title", ['onset at d="foo-1"', 'norm at x="depth 5"', "url(#p0123456789)", 'style="a: b"'])
def test_any_title_makes_an_svg(cli: Cli, here: Path, title: str):
    assert cli("plot", "threshold", "-o", "f.svg", "--title", title).code == 0
    said = [element.text for element in ElementTree.parse(here / "f.svg").iter()]
    assert title in said


@pytest.mark.usefixtures("store")
def test_by_and_level_reach_the_table(cli: Cli):
    answer = cli("plot", "threshold", "--data", "-", "--by", "depth", "--level", "0.6")
    rows = [row for row in csv.DictReader(answer.out.splitlines()) if row["at"] == "onset" and row["pair"] == "depth 5"]
    assert "depth 3" in answer.out
    # Two norms, 1.1 and 1 / 1.1: a t interval with one degree of freedom, which is Cauchy's distribution.
    assert float(rows[0]["hi"]) == pytest.approx(1.1 ** math.tan(math.pi * 0.3))
    assert rows[0]["level"] == "0.6"


@pytest.mark.usefixtures("store")
def test_repeated_runs_are_counted_once_but_their_trajectories_are_shown(cli: Cli, store: Path):
    with open_store(str(store), write=True) as opened:
        import_runs(opened, [falling("again", depth=5, seed=0, norm=1.1, epochs=110)])
    assert "figure of 6 runs" in cli("plot", "trajectory").err
    answer = cli("plot", "threshold")
    assert "1 run has the settings and the seed of another: not counted." in answer.err
    assert "figure of 5 runs" in answer.err


def test_two_processes_draw_the_same_bytes(store: Path):
    for seed in ("1", "2"):
        name = str(store.with_name(f"{seed}.svg"))
        run_ncdiag("plot", "phase-portrait", "-o", name, "--store", str(store), PYTHONHASHSEED=seed)
    one, two = (store.with_name(f"{seed}.svg").read_bytes() for seed in ("1", "2"))
    assert one == two
    assert b"</svg>" in one


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (("trajektory",), 2, "did you mean trajectory"),
        (("trajectory", "-o", "f.gif"), 2, "expected .png, .svg or .pdf"),
        (("trajectory", "-o", "-", "--data", "-"), 2, "cannot both go to stdout"),
        (("trajectory", "--run", "deep-9"), 4, "no run 'deep-9'"),
        (("trajectory", "--where", "depth=9"), 2, "none of the 5 runs fits"),
        (("trajectory", "--by", "colour"), 2, "no column 'colour'"),
        (("trajectory", "-o", "nowhere/f.png", "--store", "none.db"), 2, "does not exist"),  # before it is read
        (("trajectory", "--data", "nowhere/f.csv", "--store", "none.db"), 2, "does not exist"),
        (("trajectory", "--data", "f.parquet"), 2, "f.parquet ends in .parquet; --data writes CSV"),
        (("trajectory", "--data", "f.csv.gz"), 2, "expected .csv or none"),
    ],
)
def test_what_cannot_be_drawn_is_said(cli: Cli, arguments: tuple[str, ...], code: int, what: str):
    answer = cli("plot", *arguments)
    assert answer.code == code
    assert what in answer.err
    assert not Path("trajectory.png").exists()


def make_rescaled_store(path: Path, rescaled: Sequence[float]) -> None:
    """Make runs that collapse at known epochs, and some whose features were rescaled."""
    changes = [(None, onset) for onset in (40, 44, 47, 53, 58)] + [("3@10", onset) for onset in rescaled]
    runs = []
    for seed, (change, onset) in enumerate(changes):
        falling = [0.1 ** (epoch / onset) for epoch in range(1, 91)]
        epochs = tuple(
            EpochRecord(epoch=epoch, nc1=value**2, feature_norm=1.5 + 3 * value, train_accuracy=1.0)
            for epoch, value in enumerate(falling, start=1)
        )
        config = {"arch": "net", "dataset": "flowers", "seed": seed, "intervention": change}
        runs.append(ImportedRun(name=f"made-{seed}", config=config, epochs=epochs, source="made.csv"))
    with open_store(str(path), write=True) as opened:
        import_runs(opened, runs)


@pytest.mark.parametrize("kind", ["threshold", "lead"])
def test_rescaled_runs_have_no_part_in_a_figure_whose_page_leaves_them_out(tmp_path: Path, cli: Cli, kind: str):
    def table(*rescaled: float, where: str | None = None) -> str:
        url = tmp_path / f"{len(rescaled)}.db"
        if not url.exists():
            make_rescaled_store(url, rescaled)
        chosen = ["--where", where] if where else []
        answer = cli("plot", kind, "--store", str(url), "-o", str(tmp_path / "f.png"), "--data", "-", *chosen)
        assert answer.code == 0, answer.err
        return answer.out

    assert table() == table(70.0, 75.0)
    assert table() != table(70.0, 75.0, where="intervention in (none,3@10)")


def test_pairs_of_which_nothing_can_be_drawn_are_not_counted_and_named(store: Path, cli: Cli):
    alone = falling("alone", depth=5, seed=0, norm=1.0)
    with open_store(str(store), write=True) as opened:
        import_runs(opened, [ImportedRun(**{**vars(alone), "config": {**alone.config, "dataset": "flowers"}})])
    answer = cli("plot", "lead", "--title", "")
    assert answer.err == (
        "ncdiag: note: figure of 5 runs written to lead.png\nncdiag: note: too few runs for this figure: mlp flowers\n"
    )
